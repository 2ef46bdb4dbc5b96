"""What a configuration scores, and how sure that is: on validation from the search, on test from a confirmation."""

import functools
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from adapter_sweep.records import Confirmation, ConfirmedRun, ParamValue, Prediction, StudyView, TrialState, TrialView
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.intervals import standard_error
from adapter_sweep.report.wording import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

__all__ = [
    "SEEDS",
    "Score",
    "anchor_scores",
    "configuration",
    "confirmed_score",
    "confirmed_scores",
    "outdone_trials",
    "paired_difference",
    "score_words",
    "unpaired_error",
    "validation_score",
]

SEEDS = ("train.seed", "train.data_seed")  # what a configuration is tried with, and no part of it


@dataclass(frozen=True)
class Score:
    """The primary metric of one configuration.

    Attributes:
        value: the metric; the mean over `seeds` where there are several.
        error: one standard error of `value`; None where it is not known.
        source: the split that was scored.
        seeds: training runs behind it.
        examples: examples scored in each of them; None where not recorded.
    """

    value: float
    error: float | None
    source: Literal["validation", "test"] = "validation"
    seeds: int = 1
    examples: int | None = None


def configuration(params: Mapping[str, ParamValue]) -> Hashable:
    """What trials of one configuration have in common, whatever their study, number and seed."""
    return frozenset((key, value) for key, value in params.items() if key not in SEEDS)


def validation_score(study: StudyView, *trials: TrialView) -> Score:
    """The score in the search of a trial, or of several seeds of one configuration.

    The error is that of `intervals.standard_error`, for several seeds of the least sure one; their spread adds to it.
    """
    key = primary_objective(study)
    values = [trial.metrics[key] for trial in trials]
    errors = [standard_error(study, trial, key) for trial in trials]
    known = [error for error in errors if error is not None]
    error = math.hypot(max(known), _seed_error(values)) if len(known) == len(trials) else None
    counted = {trial.metrics.get("eval_examples", math.nan) for trial in trials}
    examples = int(min(counted)) if len(counted) == 1 and math.isfinite(min(counted)) else None
    return Score(statistics.fmean(values), error, seeds=len(trials), examples=examples or None)


def confirmed_scores(study: StudyView) -> dict[int, Score]:
    """Trial number -> test score of each configuration of this study that was confirmed.

    Empty where nothing was confirmed, or where the study's first aim is not the task's primary metric, which alone
    is scored on test.
    """
    confirmation = study.confirmation
    if confirmation is None or primary_objective(study) not in ("accuracy", confirmation.metric):
        return {}
    return {trial: _mean(confirmation, found) for trial, found in _runs_by_trial(confirmation).items()}


def confirmed_score(study: StudyView, params: Mapping[str, ParamValue]) -> Score | None:
    """The test score of a configuration, from whichever study it comes; None where it was not confirmed here."""
    runs = _runs_of(study.confirmation, params)
    return _mean(study.confirmation, runs) if study.confirmation is not None and runs else None


def paired_difference(
    study: StudyView, params: Mapping[str, ParamValue], other: Mapping[str, ParamValue]
) -> tuple[float, float] | None:
    """What `params` scores above `other` on the test split, and one standard error of that.

    Pairs by example and by seed: only seeds on which both were scored count. The error is that of `confirmed_score`,
    of the differences. None where the two share no seed with predictions.
    """
    confirmation = study.confirmation
    if confirmation is None:
        return None
    mine = {run.seed: run for run in _runs_of(confirmation, params) if run.predictions}
    theirs = {run.seed: run for run in _runs_of(confirmation, other) if run.predictions}
    seeds = sorted(mine.keys() & theirs.keys())
    if not seeds:
        return None
    differences = [mine[s].metrics["test_accuracy"] - theirs[s].metrics["test_accuracy"] for s in seeds]
    left_out = _mean_left_out(confirmation, [mine[seed].predictions for seed in seeds])
    left_out = left_out - _mean_left_out(confirmation, [theirs[seed].predictions for seed in seeds])
    return statistics.fmean(differences), math.hypot(_jackknife(left_out), _seed_error(differences))


def outdone_trials(study: StudyView) -> frozenset[int]:
    """The confirmed trials that a reference point outdoes beyond chance: by a t test of 5 %, two-sided.

    Differences are paired by example. Few seeds tell little of their spread, so the degrees of freedom are those of
    B. L. Welch, *The generalization of "Student's" problem*, Biometrika 1947, over examples and seeds. A trial of one
    seed is none of them: another seed may have done better.
    """
    confirmation, anchors = study.confirmation, anchor_scores(study)
    if confirmation is None or not confirmed_scores(study):
        return frozenset()
    found = set()
    for trial, runs in _runs_by_trial(confirmation).items():
        if len(runs) < 2 or not all(len(run.predictions) == len(confirmation.labels) for run in runs):
            continue
        values = [run.metrics["test_accuracy"] for run in runs]
        left_out = _mean_left_out(confirmation, [run.predictions for run in runs])
        for name, score in anchors.items():
            beside = _leave_one_out(confirmation, confirmation.anchors[name])
            parts = _jackknife(left_out - beside), _seed_error(values)
            if score - statistics.fmean(values) > _reach(parts, (len(left_out) - 1, len(values) - 1)):
                found.add(trial)
    return frozenset(found)


def anchor_scores(study: StudyView) -> dict[str, float]:
    """The test score of each reference point; empty where nothing was confirmed."""
    confirmation = study.confirmation
    if confirmation is None or not confirmation.labels:
        return {}
    from adapter_sweep.report.evidence.scores import run_scores
    from adapter_sweep.resampling import row_table

    metric, labels = confirmation.metric, confirmation.labels
    return {
        name: float(run_scores(metric, row_table(metric, predictions, labels)[None])[0])
        for name, predictions in confirmation.anchors.items()
    }


def unpaired_error(first: Score, second: Score) -> float | None:
    """One standard error of a difference of two scores taken as independent.

    On the same examples two scores rise and fall together, so this is more than the truth: careful, not sharp.
    """
    return None if first.error is None or second.error is None else math.hypot(first.error, second.error)


def score_words(key: str, score: Score) -> str:
    """A score with one standard error where that is known: `0.812 ± 0.020`."""
    text = number(key, score.value)
    return text if score.error is None else f"{text} ± {score.error:.3f}"


def _runs_by_trial(confirmation: Confirmation) -> dict[int, list[ConfirmedRun]]:
    runs: dict[int, list[ConfirmedRun]] = {}
    for run in confirmation.runs:
        if run.trial is not None and _scored(run):
            runs.setdefault(run.trial, []).append(run)
    return runs


def _runs_of(confirmation: Confirmation | None, params: Mapping[str, ParamValue]) -> list[ConfirmedRun]:
    wanted = configuration(params)
    runs = confirmation.runs if confirmation is not None else ()
    return [run for run in runs if _scored(run) and configuration(run.params) == wanted]


def _scored(run: ConfirmedRun) -> bool:
    return run.state is TrialState.COMPLETE and math.isfinite(run.metrics.get("test_accuracy", math.nan))


def _mean(confirmation: Confirmation, runs: Sequence[ConfirmedRun]) -> Score:
    """The mean over seeds, and its standard error over both examples and seeds.

    The error is sqrt(e² + s² / k): e the jackknife's error over the examples of the mean over k seeds, s the standard
    deviation over seeds. Examples and seeds are crossed, and each of the two terms holds their interaction once, so
    the sum is a little more than the truth (A. B. Owen, *The pigeonhole bootstrap*, Annals of Applied Statistics
    2007, section 3). With one seed the spread over seeds is unknown, and e stands alone.
    """
    values = [run.metrics["test_accuracy"] for run in runs]
    value = statistics.fmean(values)
    examples = len(confirmation.labels)
    over_examples: float | None = None
    if examples and all(len(run.predictions) == examples for run in runs):
        left_out = _mean_left_out(confirmation, [run.predictions for run in runs])
        over_examples = max(_jackknife(left_out), _least_error(confirmation, runs[0].predictions))
    error = None if over_examples is None else math.hypot(over_examples, _seed_error(values))
    return Score(value, error, "test", len(runs), examples or None)


def _least_error(confirmation: Confirmation, predictions: Sequence[Prediction]) -> float:
    from adapter_sweep.jackknife import least_error

    return least_error(confirmation.metric, _grain(confirmation.metric, _Same(predictions), _Same(confirmation.labels)))


def _jackknife(left_out: "Values") -> float:
    from adapter_sweep.jackknife import jackknife_error

    return jackknife_error(left_out)


def _seed_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _reach(errors: tuple[float, float], degrees: tuple[int, int]) -> float:
    """How far a sum of two independent errors reaches to either side, in 95 of 100 cases."""
    from scipy.special import stdtrit

    error = math.hypot(*errors)
    if not error:
        return 0.0
    each = sum(part**4 / free for part, free in zip(errors, degrees, strict=True) if free)
    return float(stdtrit(error**4 / each, 0.975)) * error


def _mean_left_out(confirmation: Confirmation, runs: Sequence[Sequence[Prediction]]) -> "Values":
    """The mean over runs of the metric with each example left out in turn: [examples]."""
    import numpy as np

    left_out = np.array([_leave_one_out(confirmation, predictions) for predictions in runs], dtype=np.float64)
    mean: Values = left_out.mean(axis=0)
    return mean


def _leave_one_out(confirmation: Confirmation, predictions: Sequence[Prediction]) -> "Values":
    """The metric with each example left out in turn: [examples]."""
    return _left_out(confirmation.metric, _Same(predictions), _Same(confirmation.labels))


class _Same:
    """Rows as a key: by identity, as they are many and what is in them may not be hashable."""

    def __init__(self, rows: Sequence[Prediction]) -> None:
        self.rows = rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.rows is self.rows

    def __hash__(self) -> int:
        return id(self.rows)


@functools.lru_cache(maxsize=512)  # every sentence and table of a report asks for the same few runs
def _left_out(metric: str, predictions: _Same, labels: _Same) -> "Values":
    from adapter_sweep.resampling import left_out, row_table

    return left_out(metric, row_table(metric, predictions.rows, labels.rows))


@functools.lru_cache(maxsize=64)
def _grain(metric: str, predictions: _Same, labels: _Same) -> float:
    from adapter_sweep.resampling import grain, row_table

    return grain(metric, row_table(metric, predictions.rows, labels.rows))
