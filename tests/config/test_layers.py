"""The layers that hold adapters: one spelling each, whatever way it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_sweep.config.compose import compose
from adapter_sweep.config.layers import layer_text, parsed_layers, read_layers
from adapter_sweep.config.methods import BottleneckMethod
from adapter_sweep.config.quoting import literal
from adapter_sweep.config.space import Choices
from adapter_sweep.errors import UserInputError

ALLOWED = "allowed: all, top:K (the K layers nearest the output), or a list of indices from 0 at the input, e.g. [0,3]"


def layers(*overrides: str) -> str:
    method = compose(list(overrides)).config.method
    assert isinstance(method, BottleneckMethod)
    return method.layers


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("all", "all"),
        ("top:3", "top:3"),
        ("'top:3'", "top:3"),
        ("[0,3,5]", "[0,3,5]"),
        ("[5, 0, 3]", "[0,3,5]"),
        ("'[0,3,5]'", "[0,3,5]"),
        ("'[ 5 , 0 ]'", "[0,5]"),
        ("[0]", "[0]"),
    ],
)
def test_one_spelling_however_it_is_written(written: str, text: str) -> None:
    assert layers(f"method.layers={written}") == text


def test_adapters_are_in_all_layers_unless_a_layer_is_named() -> None:
    assert layers() == "all"
    assert BottleneckMethod.model_fields["layers"].default == "all"


@pytest.mark.parametrize(
    ("written", "given_", "cause"),
    [
        ("top:0", "'top:0'", ""),
        ("top:-1", "'top:-1'", ""),
        ("top:", "'top:'", ""),
        ("top:x", "'top:x'", ""),
        ("top", "'top'", ""),
        ("bottom:2", "'bottom:2'", ""),
        ("3", "3", ""),
        ("null", "None", ""),
        ("true", "True", ""),
        ("{a:1}", "{'a': 1}", ""),
        ("[-1]", "[-1]", ""),
        ("[0.5]", "[0.5]", ""),
        ("[true]", "[True]", ""),
        ("[a]", "['a']", ""),
        ("[[0]]", "[[0]]", ""),
        ("'[0,]'", "'[0,]'", ""),
        ("'0,1'", "'0,1'", ""),
        ("[]", "[]", "no layer is listed; "),
        ("'[]'", "'[]'", "no layer is listed; "),
        ("[0,0]", "[0, 0]", "a layer is listed twice; "),
        ("'[0,0]'", "'[0,0]'", "a layer is listed twice; "),
    ],
)
def test_what_no_backbone_has_is_told_before_one_is_loaded(written: str, given_: str, cause: str) -> None:
    with pytest.raises(UserInputError) as caught:
        compose([f"method.layers={written}"])
    assert caught.value.problems == (f"method.layers={given_}: {cause}{ALLOWED}",)


@given(st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=6, unique=True))
def test_a_list_keeps_its_indices(indices: list[int]) -> None:
    text = read_layers(indices)
    assert text == layer_text(indices) == read_layers(text) == read_layers(tuple(indices))
    assert parsed_layers(text) == tuple(sorted(indices))


def test_depth_is_searched_as_words_and_as_lists() -> None:
    space = compose(["method.layers=choice(all,top:1,[5,4],'[0,1]')"]).space
    assert space == {"method.layers": Choices(("all", "top:1", "[4,5]", "[0,1]"))}
    assert compose(["method.layers=[0],[1]"]).space == {"method.layers": Choices(("[0]", "[1]"))}


@pytest.mark.parametrize("text", ["all", "top:2", "[0,1]"])
def test_a_searched_value_reproduces_itself(text: str) -> None:
    assert layers(f"method.layers={literal(text)}") == text


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("choice([0,0],all)", f"search_space.method.layers='[0,0]': a layer is listed twice; {ALLOWED}"),
        ("choice(all,[])", f"search_space.method.layers='[]': no layer is listed; {ALLOWED}"),
        ("choice(all,top:0)", f"search_space.method.layers='top:0': {ALLOWED}"),
        ("range(0,2)", f"search_space.method.layers=0: {ALLOWED}"),
    ],
)
def test_a_range_of_what_is_no_choice_of_layers(written: str, problem: str) -> None:
    with pytest.raises(UserInputError) as caught:
        compose([f"method.layers={written}"])
    assert problem in caught.value.problems


def test_the_same_list_twice_is_one_choice_too_many() -> None:
    with pytest.raises(UserInputError, match="the choices must be distinct"):
        compose(["method.layers=choice([0,1],[1,0])"])
