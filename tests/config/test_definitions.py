"""What a study's definition is, whichever version began it."""

from copy import deepcopy
from typing import Any

import pytest

from adapter_sweep.config.compose import compose
from adapter_sweep.config.definitions import EFFORT, as_defined_now

FIRST = ("task", "backbone", "train", "latency", "budget", "objectives", "search_space")
LATER = {
    "method": ("scaling", "shared", "layers"),
    "train": ("early_stopping", "label_smoothing", "class_weights", "data_seed"),
    "task": ("type", "language", "separator", "header"),
}
LOCAL = ["task=local", "task.path=a.csv", "task.text=text", "task.label=label"]


def defined(*overrides: str) -> dict[str, Any]:
    values = compose([*LOCAL, *overrides]).values
    return {key: values[key] for key in (*FIRST, "method", *(["methods"] if "methods" in values else []))}


def test_a_key_that_came_later_has_its_default() -> None:
    now = defined()
    first = deepcopy(now)
    for section, keys in LATER.items():
        for key in keys:
            del first[section][key]
    assert first != now
    assert as_defined_now(first) == as_defined_now(now)
    for changed in ("method.scaling=2", "train.label_smoothing=0.1", "train.early_stopping=2", "task.type=tokens"):
        assert as_defined_now(first) != as_defined_now(defined(changed))


def test_so_has_one_of_each_method_that_is_chosen() -> None:
    now = defined("method=choice(bottleneck,parallel)", "train.lr=1e-3,1e-2")
    first = deepcopy(now)
    del first["methods"]["bottleneck"]["shared"], first["methods"]["parallel"]["layers"]
    assert as_defined_now(first) == as_defined_now(now)


@pytest.mark.parametrize("objective", [(), ("objectives.peak_train_memory_mb=minimize",)])
def test_what_leaves_the_updates_as_they_are_may_change_unless_memory_is_an_objective(
    objective: tuple[str, ...],
) -> None:
    before = as_defined_now(defined(*objective))
    for changed in ("train.micro_batches=4", "train.gradient_checkpointing=true"):
        assert (as_defined_now(defined(*objective, changed)) == before) == (not objective)
    assert as_defined_now(defined(*objective, "train.threads=3", "train.cache_gb=2")) == before
    assert not {"threads", "cohort", "cache_gb", "score_epochs"} & before["train"].keys()
    assert set(EFFORT) - before["train"].keys() == set(EFFORT) - (
        {"micro_batches", "gradient_checkpointing"} if objective else set()
    )


def test_what_is_no_section_stays() -> None:
    assert as_defined_now({"task": {"name": "movies"}, "new": 1}) == {"task": {"name": "movies"}, "new": 1}
