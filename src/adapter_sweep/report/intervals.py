"""How far a score may be off by which examples it was counted on."""

import math
from typing import NamedTuple

from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.report.wording import task_metric
from adapter_sweep.scores import METRICS, Formula

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
    """One standard error of a trial's score on the validation split.

    It is the recorded one (`accuracy_stderr`). A trial without it, as older ones are, has what follows from the score
    and the number of its examples, or None where that does not give it (F1 of any kind, Matthews correlation), as the
    error depends on how rare what they look for is:

    - a share of n examples: sqrt(p (1 - p) / n), p keeping half an example's distance from 0 and 1, where the formula
      would claim certainty;
    - a mean of n numbers from 0 to 1 (`answer_f1`): the same, which is the most that it can be (R. Bhatia, C. Davis,
      American Mathematical Monthly 107, 2000);
    - a correlation: (1 - r²) / sqrt(n - 3), Fisher's, for Spearman's times sqrt(1 + r² / 2) (D. Bonett, T. Wright,
      Psychometrika 65, 2000), as if predictions and labels were normal.
    """
    known = _known(study, trial, key)
    return None if known is None else known.error or _formula_error(known)


def score_interval(study: StudyView, trial: TrialView, key: str) -> tuple[float, float] | None:
    """The 95 % interval of a trial's score where `standard_error` knows its error, else None.

    Wilson's for a share, a mean or an F1, with as many examples as give the recorded error; Fisher's for a correlation.
    It holds for one score looked at alone, not for the best of many.
    """
    known = _known(study, trial, key)
    if known is None:
        return None
    error = known.error or _formula_error(known)
    if error is None:
        return None
    if METRICS[known.metric].low < 0:
        if not -1 < known.value < 1:
            return None
        middle, half = math.atanh(known.value), Z_95 * error / (1 - known.value**2)
        return math.tanh(middle - half), math.tanh(middle + half)
    rows = known.examples if known.error is None else _share_variance(known) / error**2
    return wilson(known.value, rows)


class _Known(NamedTuple):
    """A score, the examples it was counted on, and its recorded error."""

    metric: str
    value: float
    examples: float
    error: float | None


def _known(study: StudyView, trial: TrialView, key: str) -> _Known | None:
    """What is known of a score; None where it is none of the task's metric, or out of the metric's range."""
    metric = task_metric(study)
    value, examples = trial.metrics.get(key), trial.metrics.get("eval_examples")
    if key not in ("accuracy", metric) or metric not in METRICS or value is None or examples is None:
        return None
    if not (METRICS[metric].low <= value <= 1 and 1 <= examples < math.inf):
        return None
    error = trial.metrics.get("accuracy_stderr", math.nan)
    return _Known(metric, value, examples, error if 0 < error < math.inf else None)


def _formula_error(known: _Known) -> float | None:
    """One standard error from the score and the number of its examples; None where they do not give it."""
    formula, value = METRICS[known.metric].formula, known.value
    if formula is Formula.MEAN:
        return math.sqrt(_share_variance(known) / known.examples)
    if formula is Formula.CORRELATION and -1 < value < 1 and known.examples > 3:
        more = 1 + value**2 / 2 if known.metric == "spearman" else 1.0
        return (1 - value**2) * math.sqrt(more / (known.examples - 3))
    return None


def _share_variance(known: _Known) -> float:
    """The variance of one example of a share."""
    share = min(max(known.value, 0.5 / known.examples), 1 - 0.5 / known.examples)
    return share * (1 - share)
