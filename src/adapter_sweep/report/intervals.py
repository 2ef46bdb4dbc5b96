"""How far a score may be off, from the number of examples it was counted on."""

import math
from collections.abc import Mapping

from adapter_sweep.records import StudyView, TrialView

__all__ = ["score_interval", "standard_error"]

_Z = 1.959963984540054  # the normal distribution's 97.5 % point


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
    """The 95 % interval of a trial's score, where the score is a share of n examples; else None.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927): it stays
    within 0 and 1, and keeps its coverage near them. It holds for one score looked at alone, not for the best of many.
    """
    counted = _counted(study, trial, key)
    if counted is None:
        return None
    share, examples = counted
    spread = _Z * math.sqrt(share * (1 - share) / examples + _Z**2 / (4 * examples**2))
    middle, shrink = share + _Z**2 / (2 * examples), 1 + _Z**2 / examples
    return max(0.0, (middle - spread) / shrink), min(1.0, (middle + spread) / shrink)


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
