"""What a study's objectives depend on, on studies whose answer is known."""

import random
from dataclasses import replace

import pytest

from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.study.importance import importance, importance_within, with_importance

SPACE = {
    "method.width": "tag(log, int(interval(4, 256)))",
    "method.placement": "choice(post_attention, post_ffn, both)",
    "train.lr": "tag(log, interval(1e-4, 1e-2))",
}


def study_of(count: int, space: dict[str, str] | None = None) -> StudyView:
    """Accuracy depends on lr alone, parameters on width, latency on placement; a little noise on each."""
    draw = random.Random(0)
    trials = []
    for number in range(count):
        width, lr = round(4 * 64 ** draw.random()), 10 ** draw.uniform(-4, -2)
        placement = draw.choice(["post_attention", "post_ffn", "both"])
        params = {"method.width": width, "method.placement": placement, "train.lr": lr}
        metrics = {
            "accuracy": 0.7 + (0.1 if lr > 1e-3 else 0) + draw.gauss(0, 0.005),
            "trainable_params": 1_000.0 * width,
            "latency_ratio": 1.05 + (0.1 if placement == "both" else 0) + draw.gauss(0, 0.002),
            "constant": 1.0,
        }
        trials.append(TrialView(number, TrialState.COMPLETE, params, metrics))
    objectives = {"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"}
    return StudyView("s", objectives, space or SPACE, count, tuple(trials))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [24, 1_500])
def test_the_parameter_each_objective_depends_on_comes_first(count: int) -> None:
    shares = importance(study_of(count))
    assert {objective: next(iter(found)) for objective, found in shares.items()} == {
        "accuracy": "train.lr",
        "trainable_params": "method.width",
        "latency_ratio": "method.placement",
    }
    for found in shares.values():
        assert max(found.values()) > 0.8
        assert sum(found.values()) == pytest.approx(1)
        assert found.keys() == SPACE.keys()


def test_a_study_has_one_answer() -> None:
    assert importance(study_of(30)) == importance(study_of(30))


def test_too_few_trials_or_parameters_give_none() -> None:
    assert importance(study_of(19)) == {}
    assert importance(study_of(20)) != {}
    assert importance(study_of(30, {"train.lr": SPACE["train.lr"]})) == {}
    assert importance(study_of(0)) == {}


def test_an_objective_on_which_all_are_alike_is_left_out() -> None:
    study = replace(study_of(20), objectives={"constant": "maximize", "accuracy": "maximize", "absent": "minimize"})
    assert list(importance(study)) == ["accuracy"]


def test_what_is_no_complete_trial_or_has_other_parameters_does_no_harm() -> None:
    study = study_of(20)
    failed = TrialView(20, TrialState.FAILED, {"train.lr": 1e-3})
    assert importance(replace(study, trials=(*study.trials, failed))) == importance(study)
    bare = replace(study.trials[0], params={"train.lr": 1e-3, "method.width": True})
    mixed = importance(replace(study, trials=(*study.trials[1:], bare)))
    assert mixed["accuracy"].keys() == {"train.lr", "method.width"}


def test_a_space_that_cannot_be_read_is_taken_by_its_values() -> None:
    study = study_of(20, {"train.lr": "nonsense(", "method.placement": "choice(post_attention, post_ffn, both)"})
    assert importance(study)["latency_ratio"]["method.placement"] > 0.5


# -- several methods

METHODS = {
    "method": "choice(wide, narrow, head)",
    "wide.method.width": "tag(log, int(interval(64, 256)))",
    "narrow.method.width": "int(interval(1, 8))",
    "train.lr": "tag(log, interval(1e-4, 1e-2))",
}


def study_of_methods(count: int, space: dict[str, str] | None = None) -> StudyView:
    """Accuracy depends on the method; among `wide` trials on the width, among `narrow` ones on lr."""
    draw = random.Random(0)
    trials = []
    for number in range(count):
        method, lr = draw.choice(["wide", "narrow", "narrow", "wide", "head"]), 10 ** draw.uniform(-4, -2)
        params: dict[str, ParamValue] = {"method": method}
        score = {"wide": 0.9, "narrow": 0.7, "head": 0.5}[method] + draw.gauss(0, 0.002)
        if method == "wide":
            params["method.width"] = width = draw.randint(64, 256)
            score += 0.05 if width > 128 else 0
        if method == "narrow":
            params["method.width"] = draw.randint(1, 8)
            score += 0.05 if lr > 1e-3 else 0
        trials.append(TrialView(number, TrialState.COMPLETE, {**params, "train.lr": lr}, {"accuracy": score}))
    return StudyView("s", {"accuracy": "maximize"}, space or METHODS, count, tuple(trials))


def test_over_several_methods_only_what_all_share_is_told() -> None:
    shares = importance(study_of_methods(120))
    assert shares["accuracy"].keys() == {"method", "train.lr"}
    assert shares["accuracy"]["method"] > 0.8


def test_a_range_of_its_own_keeps_a_key_out_of_the_whole() -> None:
    study = study_of_methods(120, METHODS | {"head.train.lr": "interval(1e-4, 1e-2)"})
    assert importance(study) == {}  # the method alone is left, and one parameter has no share of anything
    assert importance_within(study).keys() == {"wide", "narrow"}


def test_within_each_method_its_own_parameters_are_told() -> None:
    study = with_importance(study_of_methods(120))
    assert study.importance == importance(study)
    within = study.importance_within
    assert within.keys() == {"wide", "narrow"}  # of `head` one parameter was searched
    assert next(iter(within["wide"]["accuracy"])) == "method.width"
    assert next(iter(within["narrow"]["accuracy"])) == "train.lr"
    assert all(max(shares["accuracy"].values()) > 0.8 for shares in within.values())


def test_methods_of_few_trials_are_not_told() -> None:
    assert importance_within(study_of_methods(30)) == {}
    assert importance_within(study_of(100)) == {}
