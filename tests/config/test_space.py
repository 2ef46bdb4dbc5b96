"""The grammar of a search space, and its points."""

import contextlib
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapter_sweep.config.space import (
    Choices,
    Dimension,
    FloatRange,
    IntRange,
    grid_points,
    parse_dimension,
    parse_space,
)
from adapter_sweep.errors import UserInputError

FINITE = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False).map(lambda x: x or 0.0)
WHOLE = st.integers(-(10**9), 10**9)


def problem(text: str, key: str = "method.width") -> str:
    with pytest.raises(UserInputError) as caught:
        parse_dimension(key, text)
    (only,) = caught.value.problems
    return only


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("choice(8, 64, 256)", Choices((8, 64, 256))),
        ("8,64,256", Choices((8, 64, 256))),
        ("choice(post_attention,both)", Choices(("post_attention", "both"))),
        ("choice('a b', \"c,d\")", Choices(("a b", "c,d"))),
        ("choice(true, 1, 1.0, x)", Choices((True, 1, 1.0, "x"))),
        ("choice(3e-5)", Choices((3e-5,))),
        ("choice([1, 0], [4])", Choices(("[0,1]", "[4]"))),
        ("range(3)", IntRange(0, 2)),
        ("range(1, 10, 3)", IntRange(1, 7, 3)),
        ("range(1, 11, 3)", IntRange(1, 10, 3)),
        ("range(start=2, stop=5)", IntRange(2, 4)),
        ("range(0, 1, 0.25)", FloatRange(0.0, 0.75, 0.25)),
        ("range(0.1, 0.3, 0.1)", FloatRange(0.1, 0.2, 0.1)),
        ("interval(0, 1)", FloatRange(0.0, 1.0)),
        ("interval(1e-4, 1e-2)", FloatRange(1e-4, 1e-2)),
        ("tag(log, interval(1e-4, 1e-2))", FloatRange(1e-4, 1e-2, log=True)),
        ("int(interval(4, 256))", IntRange(4, 256)),
        ("tag(log, int(interval(4, 256)))", IntRange(4, 256, log=True)),
        ("int(tag(log, interval(4, 256)))", IntRange(4, 256, log=True)),
        ("float(range(1, 3))", FloatRange(1.0, 2.0, 1.0)),
    ],
)
def test_the_grammar(text: str, dimension: Dimension) -> None:
    assert parse_dimension("method.width", text) == dimension


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("8", "not a range; allowed: choice(a, b), range("),
        ("", "not a range"),
        ("None", "not a range"),
        ("[8, 64]", "not a range"),
        ("glob(*)", "not a range"),
        ("choice()", "allowed: choice(a, b), range("),
        ("choice(8", "allowed: choice(a, b), range("),
        ("choise(8, 64)", "Unknown function 'choise'"),
        ("choice(8, 8)", "must be distinct"),
        ("choice(8, [a])", "['a'] is not a single value"),
        ("choice({a: 1}, 2)", "is not a single value"),
        ("choice(8, null)", "allowed: choice(a, b), range("),
        ("tag(log, choice(8, 64))", "a choice has no scale"),
        ("tag(linear, interval(8, 64))", "the tag 'linear' is unknown; allowed: log"),
        ("tag(log, range(1, 9))", "a range has an even step"),
        ("range(5, 5)", "empty; start must be below stop"),
        ("range(5, 1, -1)", "empty; start must be below stop"),
        ("range(0, 5, 0)", "the step above 0"),
        ("range(0, inf)", "endless"),
        ("range(0, 1, nan)", "endless"),
        ("interval(64, 8)", "empty; the low end must be below the high end"),
        ("interval(8, 8)", "empty; the low end must be below the high end"),
        ("int(interval(0.1, 0.9))", "empty; the low end must be below the high end"),
        ("interval(1, inf)", "endless"),
        ("interval(nan, 1)", "endless"),
        ("tag(log, interval(0, 1))", "a logarithmic scale starts above 0"),
        ("interval(a, b)", "allowed: choice(a, b), range("),
        ("int(interval(1, inf))", "allowed: choice(a, b), range("),
    ],
)
def test_what_is_not_of_the_grammar_is_named_with_its_key(text: str, cause: str) -> None:
    found = problem(text)
    assert found.startswith(f"search_space.method.width={text!r}: ")
    assert cause in found
    assert "\n" not in found


def test_a_space_names_all_its_problems() -> None:
    with pytest.raises(UserInputError) as caught:
        parse_space({"a": "8", "b": "choice(1, 2)", "c": "interval(2, 1)"})
    assert [text.split("=")[0] for text in caught.value.problems] == ["search_space.a", "search_space.c"]


def test_a_tiny_step_over_a_long_range_is_read_at_once() -> None:
    assert parse_dimension("train.lr", "range(0, 1, 1e-12)") == FloatRange(0.0, pytest.approx(1.0), 1e-12)


def test_grid_points_are_every_combination_the_last_varying_fastest() -> None:
    space = parse_space({"a": "choice(x, y)", "b": "range(1, 6, 2)", "c": "range(0, 0.3, 0.1)"})
    points = grid_points(space)
    assert len(points) == 2 * 3 * 3
    assert [point["c"] for point in points[:3]] == pytest.approx([0.0, 0.1, 0.2])
    assert [(point["a"], point["b"]) for point in points[::3]] == [(a, b) for a in "xy" for b in (1, 3, 5)]
    assert grid_points({}) == [{}]


def test_grid_points_are_counted_before_they_are_made() -> None:
    with pytest.raises(UserInputError, match="1,000,000,000,000 points are too many"):
        grid_points({"a": IntRange(1, 10**6), "b": IntRange(1, 10**6)})
    with pytest.raises(UserInputError, match="grid sampler needs"):
        grid_points({"a": FloatRange(0.0, 1.0)})


# -- whatever is written, a dimension's values lie inside its bounds


@settings(max_examples=40, deadline=None)
@given(start=WHOLE, length=st.integers(1, 500), step=st.integers(1, 600))
def test_whole_ranges_agree_with_python(start: int, length: int, step: int) -> None:
    dimension = parse_dimension("k", f"range({start},{start + length},{step})")
    assert isinstance(dimension, IntRange)
    values = [point["k"] for point in grid_points({"k": dimension})]
    assert values == list(range(start, start + length, step))
    assert (dimension.low, dimension.high) == (values[0], values[-1])


@settings(max_examples=40, deadline=None)
@given(start=FINITE, length=st.floats(1e-3, 1e3), step=st.floats(0.1, 1e3))
def test_ranges_of_fractions_stay_below_their_stop(start: float, length: float, step: float) -> None:
    stop = start + length
    assume(start < stop)
    dimension = parse_dimension("k", f"range({start!r},{stop!r},{step!r})")
    assert isinstance(dimension, FloatRange)
    assert dimension.low == start
    values = [float(str(point["k"])) for point in grid_points({"k": dimension})]
    slack = 1e-6 * max(step, abs(start) * 1e-6)
    assert all(dimension.low <= value <= dimension.high for value in values)
    assert dimension.high < stop + slack
    assert dimension.high + step >= stop - slack
    assert len(values) <= math.ceil(length / step) + 1


@settings(max_examples=40, deadline=None)
@given(low=FINITE, high=FINITE, log=st.booleans())
def test_intervals_hold_their_ends(low: float, high: float, log: bool) -> None:
    text = f"interval({low!r},{high!r})"
    text = f"tag(log,{text})" if log else text
    if low < high and (low > 0 or not log):
        assert parse_dimension("k", text) == FloatRange(low, high, log=log)
    else:
        problem(text)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers() | st.booleans() | st.sampled_from(["a", "b c", "x"]), min_size=1, max_size=6))
def test_choices_are_what_was_written(values: list[object]) -> None:
    text = ",".join(f"'{v}'" if isinstance(v, str) else str(v).lower() for v in values)
    if len(set(map(repr, values))) == len(values):
        assert parse_dimension("k", f"choice({text})") == Choices(tuple(values))  # type: ignore[arg-type]
    else:
        assert "distinct" in problem(f"choice({text})")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"(tag\(log,)?(int\()?(choice|range|interval)\([^)]{0,15}\)?\)?\)?"))
def test_any_text_is_a_dimension_or_a_problem(text: str) -> None:
    with contextlib.suppress(UserInputError):
        dimension = parse_dimension("method.width", text)
        if isinstance(dimension, IntRange | FloatRange):
            assert -math.inf < dimension.low <= dimension.high < math.inf
        else:
            assert dimension.values


@pytest.mark.parametrize("text", ["range(1" + "0" * 400 + ")", "range(0, 1.5, 1e-320)", "range(-1e308, 1e308, 0.5)"])
def test_numbers_that_no_computer_counts_to_are_refused(text: str) -> None:
    with pytest.raises(UserInputError, match=r"2\*\*53"):
        parse_dimension("method.width", text)
