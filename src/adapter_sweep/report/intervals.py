"""How far a score may be off, from the number of examples it was counted on."""

import math

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
    """One standard error of a trial's score on the validation split, from the score and the number of its examples.

    The search keeps no predictions, so only some metrics have one, and None is returned for the others (F1 of any kind,
    Matthews correlation), whose error depends on how rare what they look for is:

    - a share of n examples: sqrt(p (1 - p) / n), p keeping half an example's distance from 0 and 1, where the formula
      would claim certainty;
    - a mean of n numbers from 0 to 1 (`answer_f1`): the same, which is the most that it can be (R. Bhatia, C. Davis,
      American Mathematical Monthly 107, 2000);
    - a correlation: (1 - r²) / sqrt(n - 3), Fisher's, for Spearman's times sqrt(1 + r² / 2) (D. Bonett, T. Wright,
      Psychometrika 65, 2000), as if predictions and labels were normal.
    """
    known = _known(study, trial, key)
    if known is None:
        return None
    metric, value, examples = known
    if METRICS[metric].formula is Formula.CORRELATION:
        return (1 - value**2) * _fisher_error(metric, value, examples)
    share = min(max(value, 0.5 / examples), 1 - 0.5 / examples)
    return math.sqrt(share * (1 - share) / examples)


def score_interval(study: StudyView, trial: TrialView, key: str) -> tuple[float, float] | None:
    """The 95 % interval of a trial's score where `standard_error` knows its error, else None.

    Wilson's for a share or a mean; Fisher's for a correlation. It holds for one score looked at alone, not for the best
    of many.
    """
    known = _known(study, trial, key)
    if known is None:
        return None
    metric, value, examples = known
    if METRICS[metric].formula is not Formula.CORRELATION:
        return wilson(value, examples)
    middle, half = math.atanh(value), Z_95 * _fisher_error(metric, value, examples)
    return math.tanh(middle - half), math.tanh(middle + half)


def _fisher_error(metric: str, value: float, examples: float) -> float:
    """One standard error of a correlation's inverse hyperbolic tangent."""
    more = 1 + value**2 / 2 if metric == "spearman" else 1.0
    return math.sqrt(more / (examples - 3))


def _known(study: StudyView, trial: TrialView, key: str) -> tuple[str, float, float] | None:
    """A score as (metric, value, examples); None where that does not give its error."""
    metric = task_metric(study)
    value, examples = trial.metrics.get(key), trial.metrics.get("eval_examples")
    if key not in ("accuracy", metric) or metric not in METRICS or value is None or examples is None:
        return None
    if METRICS[metric].formula is Formula.MEAN and 0 <= value <= 1 and 1 <= examples < math.inf:
        return metric, value, examples
    if METRICS[metric].formula is Formula.CORRELATION and -1 < value < 1 and 3 < examples < math.inf:
        return metric, value, examples
    return None
