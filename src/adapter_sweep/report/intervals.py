"""How far a score may be off, from the number of examples it was counted on."""

import math
from collections.abc import Mapping

from adapter_sweep.records import StudyView, TrialView

__all__ = ["Z_95", "score_interval", "standard_error", "wilson"]

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of independent rows; it stays within 0 and 1, and keeps its coverage near them.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).

    Args:
        share: from 0 to 1.
        rows: above 0; not a whole number where rows only count as so many.
    """
    shrink = 1 + Z_95**2 / rows
    middle = (share + Z_95**2 / (2 * rows)) / shrink
    half = Z_95 / shrink * math.sqrt(share * (1 - share) / rows + Z_95**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def standard_error(study: StudyView, trial: TrialView, key: str) -> float | None:
    """One standard error of a trial's score, sqrt(p (1 - p) / n), where the score is a share of n examples.

    None for other metrics than plain accuracy: the record's `accuracy` is the task's primary metric, which
    `task.metric` names. At 0 or 1 the formula would claim certainty, so p keeps half an example's distance.
    """
    counted = _counted(study, trial, key)
    if counted is None:
        return None
    share, examples = counted
    share = min(max(share, 0.5 / examples), 1 - 0.5 / examples)
    return math.sqrt(share * (1 - share) / examples)


def score_interval(study: StudyView, trial: TrialView, key: str) -> tuple[float, float] | None:
    """The 95 % interval (Wilson's) of a trial's score, where the score is a share of n examples; else None.

    It holds for one score looked at alone, not for the best of many.
    """
    counted = _counted(study, trial, key)
    return None if counted is None else wilson(*counted)


def _counted(study: StudyView, trial: TrialView, key: str) -> tuple[float, float] | None:
    """A score as (share, examples); None where it is not a share of examples, or not known to be one."""
    task = study.config.get("task")
    metric = task.get("metric", "accuracy") if isinstance(task, Mapping) else "accuracy"
    share, examples = trial.metrics.get(key), trial.metrics.get("eval_examples")
    if key != "accuracy" or metric != "accuracy" or share is None or examples is None:
        return None
    if not (0 <= share <= 1 and math.isfinite(examples) and examples >= 1):
        return None
    return share, examples
