"""The schema: types, ranges, and how a problem is put into words."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.config.compose import compose
from adapter_sweep.config.methods import METHOD_CLASSES
from adapter_sweep.config.schema import SECTIONS
from adapter_sweep.config.tasks import LocalTask
from adapter_sweep.engine.backbone import POOLINGS
from adapter_sweep.engine.methods import METHODS, spec_of
from adapter_sweep.engine.tasks.builtin import BUILTIN_TASKS
from adapter_sweep.errors import UserInputError

CONF = Path(__file__).parents[2] / "conf"
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(PLAIN, PLAIN, max_size=3)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return compose([]).values


def problems(values: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(UserInputError) as caught:
        validate(values)
    return caught.value.problems


def test_plain_values_and_the_typed_configuration_are_the_same(values: dict[str, Any]) -> None:
    assert validate(values).model_dump() == values


def test_the_configuration_cannot_be_changed(values: dict[str, Any]) -> None:
    config = validate(values)
    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0  # type: ignore[misc]


def test_with_params_sets_a_copy(values: dict[str, Any]) -> None:
    changed = with_params(values, {"method.width": 8, "train.lr": 0.5})
    assert (changed["method"]["width"], changed["train"]["lr"]) == (8, 0.5)
    assert (values["method"]["width"], values["train"]["lr"]) == (64, 1e-3)


def test_every_section_names_its_keys() -> None:
    sections = {
        name
        for name, field in SweepConfig.model_fields.items()
        if any(
            isinstance(part, type) and issubclass(part, BaseModel)
            for kind in (field.annotation, *get_args(field.annotation))
            for part in (kind, *get_args(kind))  # a kind may carry a tag
        )
    }
    assert set(SECTIONS) == sections


def test_a_missing_section_and_a_section_that_is_none(values: dict[str, Any]) -> None:
    broken = {key: value for key, value in values.items() if key != "budget"} | {"study": None, "task": {}}
    assert problems(broken) == (
        "task.kind: missing; give it as task.kind=VALUE",
        "study=None: input should be a valid dictionary or instance of StudyConfig",
        "budget: missing; give it as budget=VALUE",
    )


def test_the_schema_allows_what_the_engine_knows(values: dict[str, Any]) -> None:
    """The engine knows no configuration, so its words are repeated in the schema."""
    for pooling in POOLINGS:
        validate(with_params(values, {"backbone.pooling": pooling}))
    for task in BUILTIN_TASKS:
        validate(with_params(values, {"task.name": task}))
    kinds = {get_args(model.model_fields["kind"].annotation)[0]: model for model in METHOD_CLASSES}
    assert set(kinds) == set(METHODS)
    for kind, spec in METHODS.items():
        assert set(kinds[kind].model_fields) - {"kind"} == {field.name for field in dataclasses.fields(spec)}


@pytest.mark.parametrize("path", sorted(CONF.glob("method/*.yaml")), ids=lambda path: path.stem)
def test_every_method_that_ships_is_the_engines_and_each_of_its_keys_is_explained(path: Path) -> None:
    method = compose([f"method={path.stem}"]).config.method
    spec = spec_of(method.kind, method.plain())
    assert {field.name for field in dataclasses.fields(spec)} == set(method.plain())
    keys = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(("#", "kind:"))]
    assert all(" # " in line for line in keys)
    assert {line.partition(":")[0] for line in keys} == set(method.plain())


@pytest.mark.parametrize("scaling", [0, -1.0, 1001, "large", True, float("nan")])
def test_a_scaling_is_a_number_or_learned(values: dict[str, Any], scaling: object) -> None:
    for allowed in (0.5, 1000, "learned"):
        validate(with_params(values, {"method.scaling": allowed}))
    (problem,) = problems(with_params(values, {"method.scaling": scaling}))  # type: ignore[dict-item]
    assert problem.startswith(f"method.scaling={scaling!r}: must be learned, or a number over 0 and up to 1000")


@pytest.mark.parametrize("targets", [[], [""], ["query", "query"], "", None, 5, ["query", 5], {"query": 1}])
def test_targets_are_distinct_names(values: dict[str, Any], targets: object) -> None:
    lora = {"kind": "lora", "rank": 2}
    for allowed in ("attention", "all_linear", "query", ["query", "output.dense"]):
        validate(values | {"method": lora | {"targets": allowed}})
    (problem,) = problems(values | {"method": lora | {"targets": targets}})
    assert problem.startswith(f"method.targets={targets!r}: must be attention, all_linear, or a list of distinct names")


def test_layers_that_a_method_would_not_look_at_are_refused() -> None:
    for layers in ("top:1", "choice(all,top:1)"):
        with pytest.raises(
            UserInputError, match=r"method\.layers='top:1': .* allowed: all, or layer_norms=layers"
        ) as caught:
            compose(["method=layernorm", f"method.layers={layers}"])
        assert len(caught.value.problems) == 1
        compose(["method=layernorm", "method.layer_norms=layers", f"method.layers={layers}"])


@pytest.mark.parametrize(("text", "columns"), [("a", ("a",)), (["a"], ("a",)), (["a", "b"], ("a", "b")), (1, ("1",))])
def test_text_columns(text: object, columns: tuple[str, ...]) -> None:
    task = LocalTask.model_validate({"kind": "local", "path": "x.csv", "label": "y", "text": text})
    assert task.text_columns == columns


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("method.width", (1, 65536), (0, 65537)),
        ("method.init_std", (1e-9, 1.0), (0.0, 1.1)),
        ("train.epochs", (1, 1000), (0, 1001)),
        ("train.lr", (1e-9, 10.0), (0.0, 10.1)),
        ("train.max_length", (4, 131072), (3, 131073)),
        ("train.warmup_fraction", (0, 1), (-0.1, 1.1)),
        ("train.seed", (0, 2**31 - 1), (-1, 2**31)),
        ("latency.pairs", (5, 100_000), (4, 100_001)),
        ("study.n_trials", (1, 10_000_000), (0, 10_000_001)),
        ("task.max_train_examples", (10, None), (9, -1)),
        ("budget.max_latency_ratio", (0.1, None), (0.0, float("inf"))),
        ("study.name", ("a", "A" + "b" * 99), ("", "b" * 101)),
    ],
)
def test_ranges(values: dict[str, Any], key: str, inside: tuple[Any, Any], outside: tuple[Any, Any]) -> None:
    for value in inside:
        validate(with_params(values, {key: value}))
    for value in outside:
        (problem,) = problems(with_params(values, {key: value}))
        assert problem.startswith(f"{key}={value!r}: ")


@settings(max_examples=60, deadline=None)
@given(
    section=st.sampled_from([*SECTIONS, "objectives", "search_space", "results_dir", "zzz"]),
    value=ANYTHING,
    nested=st.none() | st.text(max_size=6) | st.sampled_from(["kind", "name", "text", "lr", "width"]),
)
def test_anything_is_valid_or_a_list_of_problems(
    values: dict[str, Any], section: str, value: object, nested: str | None
) -> None:
    given_ = dict(values)
    inner = given_.get(section)
    given_[section] = {**inner, nested: value} if nested is not None and isinstance(inner, dict) else value
    with contextlib.suppress(UserInputError):
        validate(given_)


def test_the_names_of_a_study_and_a_task_can_be_folders(values: dict[str, Any], tmp_path: Path) -> None:
    for name in ("..", "a/b", "a\\b", " a", "a\n", "-a", "é", "con:"):
        assert problems(with_params(values, {"study.name": name}))


@pytest.mark.parametrize(
    ("option", "kinds"), [("label_smoothing", "multi_label regression spans"), ("class_weights", "regression spans")]
)
def test_options_of_the_loss_are_for_types_of_task_that_have_such_a_loss(option: str, kinds: str) -> None:
    task = ["task=local", "task.path=x.csv", "task.text=[a,b]", "task.label=c"]
    value, every = {"label_smoothing": ("0.1", "0,0.1"), "class_weights": ("balanced", "none,balanced")}[option]
    for kind in kinds.split():
        for option_given in (f"train.{option}={value}", f"train.{option}=choice({every})"):
            with pytest.raises(UserInputError) as caught:
                compose([*task, f"task.type={kind}", option_given])
            (problem,) = caught.value.problems
            assert f"train.{option}" in problem
            assert f"a {kind} task has no classes" in problem
            assert "allowed: " in problem
    compose([*task, f"train.{option}={value}"])
