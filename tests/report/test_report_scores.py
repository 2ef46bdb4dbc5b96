import math
import random
import statistics

import pytest
from report_studies import make_study, make_trial
from sklearn.metrics import f1_score

from adapter_sweep.records import Confirmation, ConfirmedRun, TrialState
from adapter_sweep.report.scores import (
    Score,
    configuration,
    confirmed_score,
    confirmed_scores,
    paired_difference,
    score_words,
    unpaired_error,
    validation_score,
)

LABELS = tuple(i % 3 for i in range(300))


def guesses(right: float, seed: int) -> tuple[int, ...]:
    rng = random.Random(seed)
    return tuple(label if rng.random() < right else (label + 1) % 3 for label in LABELS)


def scored(metric: str, predictions: tuple[int, ...]) -> float:
    if metric == "macro_f1":
        return float(f1_score(LABELS, predictions, average="macro", zero_division=0.0))
    return statistics.fmean(a == b for a, b in zip(LABELS, predictions, strict=True))


def run(trial: int, seed: int, predictions: tuple[int, ...], *, metric: str = "accuracy", width: int = 0):
    return ConfirmedRun(
        configuration=str(trial),
        trial=trial,
        params={"method.width": width or 8 + trial},
        seed=seed,
        state=TrialState.COMPLETE,
        metrics={"test_accuracy": scored(metric, predictions), "test_examples": len(LABELS)},
        predictions=predictions,
    )


def confirmed(*runs: ConfirmedRun, metric: str = "accuracy"):
    trials = [make_trial(i, 0.8, 10 + i, 1.0, swept={"method.width": 8 + i}) for i in range(3)]
    confirmation = Confirmation(metric, LABELS, tuple({r.seed for r in runs}), tuple(runs))
    return make_study(*trials, confirmation=confirmation, config={"task": {"metric": metric}})


def test_validation_of_one_run_and_of_several_seeds() -> None:
    study = make_study(make_trial(0, 0.80, 10, 1.0), make_trial(1, 0.84, 10, 1.0))
    one = validation_score(study, study.trials[0])
    assert one == Score(0.8, pytest.approx(math.sqrt(0.8 * 0.2 / 408)), "validation", 1, 408)
    both = validation_score(study, *study.trials)
    spread = statistics.stdev([0.80, 0.84]) / math.sqrt(2)
    assert both.value == pytest.approx(0.82)
    assert both.error == pytest.approx(math.hypot(one.error or 0, spread))
    assert both.seeds == 2
    other = make_study(make_trial(0, 0.8, 10, 1.0), config={"task": {"metric": "macro_f1"}})
    assert validation_score(other, other.trials[0]).error is None


def test_a_seed_is_no_part_of_a_configuration() -> None:
    assert configuration({"a": 1, "train.seed": 3}) == configuration({"train.seed": 4, "a": 1.0})
    assert configuration({"a": 1}) != configuration({"a": 2})


def test_one_seed_has_the_binomial_error() -> None:
    study = confirmed(run(1, 0, guesses(0.9, 0)))
    score = confirmed_scores(study)[1]
    p = score.value
    assert score.error == pytest.approx(math.sqrt(p * (1 - p) / (len(LABELS) - 1)), rel=1e-6)
    assert (score.source, score.seeds, score.examples) == ("test", 1, 300)


def test_the_spread_over_seeds_adds_to_the_error() -> None:
    predictions = [guesses(right, seed) for seed, right in enumerate((0.95, 0.90, 0.70))]
    study = confirmed(*(run(0, seed, made) for seed, made in enumerate(predictions)))
    score = confirmed_scores(study)[0]
    values = [scored("accuracy", made) for made in predictions]
    assert score.value == pytest.approx(statistics.fmean(values))
    shares = [statistics.fmean(p[i] == label for p in predictions) for i, label in enumerate(LABELS)]
    over_examples = statistics.stdev(shares) / math.sqrt(len(LABELS))
    over_seeds = statistics.stdev(values) / math.sqrt(3)
    assert score.error == pytest.approx(math.hypot(over_examples, over_seeds), rel=1e-6)


def test_macro_f1_leaves_each_example_out_as_sklearn_does() -> None:
    made = guesses(0.7, 3)
    study = confirmed(run(0, 0, made, metric="macro_f1"), metric="macro_f1")
    score = confirmed_scores(study)[0]
    left_out = [
        float(f1_score(LABELS[:i] + LABELS[i + 1 :], made[:i] + made[i + 1 :], average="macro", zero_division=0.0))
        for i in range(len(LABELS))
    ]
    n, mean = len(LABELS), statistics.fmean(left_out)
    assert score.error == pytest.approx(math.sqrt((n - 1) / n * sum((v - mean) ** 2 for v in left_out)))


def test_all_right_is_not_certain() -> None:
    score = confirmed_scores(confirmed(run(0, 0, LABELS)))[0]
    assert score.value == 1
    assert (score.error or 0) > 0.001


def test_a_paired_difference_is_sharper_and_signed() -> None:
    base = guesses(0.8, 1)
    better = tuple(label if i < 30 else guess for i, (label, guess) in enumerate(zip(LABELS, base, strict=True)))
    study = confirmed(run(0, 0, base), run(1, 0, better))
    found = paired_difference(study, {"method.width": 9}, {"method.width": 8})
    assert found is not None
    gain, error = found
    assert gain == pytest.approx(scored("accuracy", better) - scored("accuracy", base))
    scores = confirmed_scores(study)
    assert 0 < error < 0.6 * (unpaired_error(scores[0], scores[1]) or 0)
    back = paired_difference(study, {"method.width": 8}, {"method.width": 9})
    assert back == (pytest.approx(-gain), pytest.approx(error))


def test_only_common_seeds_are_paired() -> None:
    study = confirmed(run(0, 0, guesses(0.5, 0)), run(0, 1, guesses(0.8, 1)), run(1, 1, guesses(0.8, 1)))
    assert paired_difference(study, {"method.width": 8}, {"method.width": 9}) == (0.0, 0.0)
    apart = confirmed(run(0, 0, guesses(0.5, 0)), run(1, 1, guesses(0.8, 1)))
    assert paired_difference(apart, {"method.width": 8}, {"method.width": 9}) is None
    assert paired_difference(make_study(), {}, {}) is None


def test_only_complete_runs_of_this_study_are_its_scores() -> None:
    elsewhere = ConfirmedRun("other:3", None, {"method.width": 99}, 0, TrialState.COMPLETE, {"test_accuracy": 0.7})
    failed = ConfirmedRun("0", 0, {"method.width": 8}, 0, TrialState.FAILED, reason="out of memory")
    study = confirmed(elsewhere, failed)
    assert confirmed_scores(study) == {}
    assert confirmed_score(study, {"method.width": 99}) == Score(0.7, None, "test", 1, 300)
    assert confirmed_score(study, {"method.width": 8}) is None
    costs = make_study(confirmation=study.confirmation, objectives={"trainable_params": "minimize"})
    assert confirmed_scores(costs) == {}


def test_words() -> None:
    assert score_words("accuracy", Score(0.8123, 0.02)) == "0.812 ± 0.020"
    assert score_words("accuracy", Score(0.8123, None)) == "0.812"
    assert unpaired_error(Score(1, 0.3), Score(1, 0.4)) == pytest.approx(0.5)
    assert unpaired_error(Score(1, 0.3), Score(1, None)) is None
