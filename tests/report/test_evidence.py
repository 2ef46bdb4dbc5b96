"""What is found in confirmed studies made by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from confirmed_studies import Truth, confirmed_study, guesses, make_run
from report_studies import make_study

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import ConfirmedRun, StudyView, TrialState
from adapter_sweep.report.evidence import Evidence, Label, evidence
from adapter_sweep.report.intervals import wilson

LABELS = [0, 1] * 200


def finalist(name: str, wrong: Sequence[Sequence[int]], params: float, ratio: float = 1.02) -> list[ConfirmedRun]:
    """A configuration that errs on the rows `wrong[seed]`."""
    return [
        make_run(name, seed, guesses(LABELS, rows), trainable_params=params, latency_ratio=ratio, **FLOOR)
        for seed, rows in enumerate(wrong)
    ]


FLOOR = {"latency_noise_floor": 0.005}
GOOD = [range(0, 40), range(2, 42), range(1, 43)]  # 40, 40 and 42 of 400 rows wrong
POOR = [range(0, 120), range(2, 124), range(1, 119)]
LIKE_GOOD = [range(0, 41), range(3, 42), range(1, 43)]


def found_in(study: StudyView) -> Evidence:
    found = evidence(study)
    assert found is not None
    return found


def test_scores_spread_and_labels_of_a_clear_case() -> None:
    runs = [*finalist("7", POOR, 5e4), *finalist("3", GOOD, 1e4), *finalist("5", LIKE_GOOD, 1e5)]
    found = found_in(confirmed_study(LABELS, runs))
    assert [each.configuration for each in found.finalists] == ["3", "7", "5"]
    good, poor, like = found.finalists
    assert good.score.value == pytest.approx(1 - (40 + 40 + 42) / 1200)
    assert good.seed_sd == pytest.approx(np.std([0.9, 0.9, 0.895], ddof=1))
    assert good.score.low < wilson(0.9, 400)[0] + 0.01
    assert (good.trial, good.seeds, good.metrics["trainable_params"]) == (3, (0, 1, 2), 1e4)
    assert (good.label, good.front_probability) == (Label.ON_FRONT, 1.0)
    assert (poor.label, poor.dominated_by) == (Label.DOMINATED, ("3",))
    assert poor.front_probability == 0.0
    assert like.label is Label.INDISTINGUISHABLE
    assert like.front_probability is not None
    assert 0.05 < like.front_probability < 0.95
    assert (found.rows, found.metric, found.seeds_known) == (400, "accuracy", True)


def test_the_same_study_gives_the_same_figures() -> None:
    study = confirmed_study(LABELS, [*finalist("0", GOOD, 1), *finalist("1", POOR, 2)])
    assert evidence(study) == evidence(study)


def test_no_confirmation_is_no_evidence() -> None:
    assert evidence(make_study()) is None
    failed = make_run("0", 1, state=TrialState.FAILED, reason="out of memory")
    assert evidence(confirmed_study(LABELS, [failed])) is None


def test_pairing_takes_the_shared_rows_out_of_a_difference() -> None:
    """One run each, discordant on 10 + 4 rows: the paired variance is (14 - 6²/n) / n², plus one row's."""
    one, two = guesses(LABELS, range(0, 100)), guesses(LABELS, [*range(0, 90), *range(200, 204)])
    found = found_in(confirmed_study(LABELS, [make_run("0", 0, one), make_run("1", 0, two)]))
    gain = found.difference("1", "0").gain
    expected = 1.96 * np.sqrt((14 - 36 / 400) / 400**2 + 1 / 400**2)
    assert gain.value == pytest.approx(6 / 400)
    assert (gain.high - gain.low) / 2 == pytest.approx(expected, rel=0.05)
    unpaired = np.hypot(*(each.score.high - each.score.low for each in found.finalists)) / 2
    assert unpaired > 2.5 * expected
    assert found.difference("1", "0").probability == pytest.approx(1 - found.difference("0", "1").probability)
    with pytest.raises(KeyError):
        found.difference("0", "9")


def test_one_finalist_leans_on_its_own_seeds_only() -> None:
    (only,) = found_in(confirmed_study(LABELS, finalist("0", GOOD, 1))).finalists
    assert (only.label, only.front_probability) == (Label.ON_FRONT, 1.0)
    assert only.score.low < only.score.value < only.score.high


def test_one_seed_says_nothing_of_other_seeds() -> None:
    runs = [*finalist("0", POOR[:1], 2e4), *finalist("1", GOOD[:1], 1e4)]
    found = found_in(confirmed_study(LABELS, runs))
    good, poor = found.finalists
    assert not found.seeds_known
    assert (good.seed_sd, poor.seed_sd) == (None, None)
    assert (good.score.low, good.score.high) == wilson(0.9, 400)
    assert (poor.label, poor.front_probability, poor.dominated_by) == (Label.INDISTINGUISHABLE, None, ())
    assert (good.label, good.front_probability) == (Label.ON_FRONT, 1.0)  # nobody is as cheap


def test_a_failed_run_is_left_out_and_named() -> None:
    runs = [
        *finalist("0", [GOOD[0], range(70)], 1e4),
        make_run("0", 2, state=TrialState.FAILED, reason="the loss is not finite"),
    ]
    runs += [*finalist("1", GOOD[:1], 2e4), make_run("1", 1, state=TrialState.RUNNING)]
    runs += [make_run("2", 0, state=TrialState.FAILED, reason="out of memory")]
    found = found_in(confirmed_study(LABELS, runs))
    both, single = found.finalists
    assert (both.seeds, both.lost) == ((0, 1), {2: "the loss is not finite"})
    assert (single.seeds, single.lost, single.seed_sd) == ((0,), {1: "running"}, None)
    assert found.lost == {"2": "out of memory"}
    assert single.score.high - single.score.low > both.score.high - both.score.low


def test_no_errors_at_all_are_no_certainty() -> None:
    runs = [*finalist("0", [[], [], []], 1e4), *finalist("1", [[], [], []], 2e4)]
    found = found_in(confirmed_study(LABELS, runs))
    assert (found.finalists[0].score.low, found.finalists[0].score.high) == wilson(1.0, 400)
    (pair,) = found.differences
    assert pair.gain.value == 0
    assert -0.004 < pair.gain.low < -0.002
    assert 0.002 < pair.gain.high < 0.004
    assert pair.probability == pytest.approx(0.5, abs=0.05)
    assert found.finalists[1].label is Label.INDISTINGUISHABLE


def test_equal_predictions_and_equal_costs_are_told_apart_in_neither_direction() -> None:
    found = found_in(confirmed_study(LABELS, [*finalist("0", GOOD, 1e4), *finalist("1", GOOD, 1e4)]))
    assert [each.label for each in found.finalists] == [Label.INDISTINGUISHABLE] * 2


def test_latency_within_the_noise_floor_does_not_save_a_finalist() -> None:
    for apart, label in ((0.004, Label.DOMINATED), (0.006, Label.ON_FRONT)):
        runs = [*finalist("0", GOOD, 1e4, 1.02 + apart), *finalist("1", POOR, 2e4, 1.02)]
        assert found_in(confirmed_study(LABELS, runs)).finalists[1].label is label


def test_objectives_decide_who_competes() -> None:
    runs = [*finalist("0", POOR, 1e4, 1.01), *finalist("1", GOOD, 2e4, 1.05)]
    labels = {}
    for way in (
        {"accuracy": "maximize"},
        {"accuracy": "maximize", "trainable_params": "minimize"},
        {"accuracy": "maximize", "trainable_params": "maximize"},
        {"trainable_params": "minimize", "latency_ratio": "minimize"},
    ):
        found = found_in(confirmed_study(LABELS, runs, objectives=way))
        labels[tuple(way.items())] = {each.configuration: each.label for each in found.finalists}
    on, off = Label.ON_FRONT, Label.DOMINATED
    assert [(each["0"], each["1"]) for each in labels.values()] == [(off, on), (on, on), (off, on), (on, off)]


def test_without_a_measured_cost_nobody_is_labelled() -> None:
    bare = [make_run("1", seed, guesses(LABELS, rows), trainable_params=1.0) for seed, rows in enumerate(GOOD)]
    unknown, known = found_in(confirmed_study(LABELS, [*finalist("0", POOR, 2e4), *bare])).finalists
    assert (unknown.configuration, unknown.label, unknown.front_probability) == ("1", None, None)
    assert known.label is Label.ON_FRONT


def test_anchors_are_paired_with_every_finalist() -> None:
    anchors = {"majority class": [0] * 400, "like 0": guesses(LABELS, GOOD[0])}
    found = found_in(confirmed_study(LABELS, [*finalist("0", GOOD, 1e4), *finalist("1", POOR, 2e4)], anchors=anchors))
    assert [(each.name, each.score.value) for each in found.anchors] == [("majority class", 0.5), ("like 0", 0.9)]
    assert (found.anchors[0].score.low, found.anchors[0].score.high) == wilson(0.5, 400)
    assert len(found.over_anchors) == 4
    assert found.difference("0", "majority class").gain.low > 0.3
    assert found.difference("0", "majority class").probability == 1
    near = found.difference("0", "like 0").gain
    assert near.low < 0 < near.high


def test_macro_f1_counts_a_rare_class_as_much_as_a_common_one() -> None:
    labels = [0] * 95 + [1] * 5
    runs = [make_run("0", seed, [0] * 95 + [1] * 4 + [0], trainable_params=1.0) for seed in range(3)]
    runs += [make_run("1", seed, [0] * 100, trainable_params=2.0) for seed in range(3)]
    ways = {"accuracy": "maximize", "trainable_params": "minimize"}
    found = found_in(
        confirmed_study(labels, runs, metric="macro_f1", anchors={"majority class": [0] * 100}, objectives=ways)
    )
    first, second = found.finalists
    assert first.score.value == pytest.approx((2 * 95 / (95 + 96) + 2 * 4 / (5 + 4)) / 2)
    assert second.score.value == pytest.approx(found.anchors[0].score.value)
    assert first.score.low < 0.75  # four of five rows of a class: little is known
    assert second.label is Label.DOMINATED


def test_a_confirmation_that_is_not_whole_is_refused_in_a_line() -> None:
    short = [make_run("4", 11, [0, 1]), make_run("4", 12, [0, 1, 0])]
    with pytest.raises(AdapterSweepError, match="trial 4, seed 12: 3 predictions for 2 test rows"):
        evidence(confirmed_study([0, 1], short))
    with pytest.raises(AdapterSweepError, match="anchor 'majority class': 1 predictions for 2 test rows"):
        evidence(confirmed_study([0, 1], short[:1], anchors={"majority class": [0]}))
    with pytest.raises(AdapterSweepError, match="no test rows"):
        evidence(confirmed_study([], [make_run("4", 11)]))
    with pytest.raises(AdapterSweepError, match="metric 'f2'"):
        evidence(confirmed_study([0, 1], short[:1], metric="f2"))


def test_the_simulations_truth_is_what_its_studies_show() -> None:
    """The mean over many drawn studies is the expected score by formula, for both metrics."""
    for metric, classes in (("accuracy", (0.5, 0.5)), ("macro_f1", (0.6, 0.3, 0.1))):
        truth = Truth((0.8, 0.9), (0.03, 0.0), (1, 2), (1, 1), rows=4_000, seeds=5, metric=metric, classes=classes)
        random = np.random.default_rng(0)
        drawn = [found_in(truth.study(random)).finalists for _ in range(12)]
        means = [np.mean([each[index].score.value for each in drawn]) for index in (0, 1)]
        assert means == pytest.approx(truth.scores(), abs=0.01)
