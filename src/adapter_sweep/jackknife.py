"""How far a score may be off by which examples it was counted on, from what is predicted for each of them."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from adapter_sweep.records import Prediction
from adapter_sweep.resampling import grain, left_out, row_table
from adapter_sweep.scores import METRICS, Formula

__all__ = ["is_defined", "jackknife_error", "least_error", "score_error"]

Floats = npt.NDArray[np.float64]


def score_error(
    metric: str,
    predictions: Sequence[Prediction],
    labels: Sequence[Prediction],
    groups: Sequence[Hashable] | None = None,
) -> float | None:
    """One standard error of a score: the jackknife's, and never less than `least_error`.

    Args:
        metric: one of `METRICS`.
        predictions: of each row.
        labels: of each row.
        groups: which rows are not independent of each other, those of the same group; of a mean over rows alone. Whole
            groups are left out (the delete-a-group jackknife: P. S. Kott, Journal of Official Statistics 17, 2001).

    Returns:
        None where the score is not defined, or one row or one group is all there is.

    Raises:
        AdapterSweepError: no such metric, or predictions or labels are not what it is of.
        ValueError: groups are given for a metric that is no mean.
    """
    table = row_table(metric, predictions, labels)
    constant = METRICS[metric].low < 0 and bool((table[:, 0] == table[0, 0]).all())
    if constant or not is_defined(metric, labels):
        return None
    if groups is None:
        without, step = left_out(metric, table), grain(metric, table)
    elif METRICS[metric].formula is Formula.MEAN:
        without = _groups_left_out(table[:, 0], groups)
        step = 1 / max(1, len(without))
    else:
        raise ValueError(f"{metric} is no mean over rows, so no groups of them are left out")
    return max(jackknife_error(without), least_error(metric, step)) if len(without) > 1 else None


def is_defined(metric: str, labels: Sequence[Prediction]) -> bool:
    """Whether a metric means something for these labels, whatever is predicted.

    A correlation does not where all labels are alike, nor does an F1 over items where there is nothing to find.
    """
    if METRICS[metric].low < 0:
        return len(set(labels)) > 1  # numbers
    if METRICS[metric].formula is Formula.F1:
        return any(label == 1 if metric == "f1" else bool(label) for label in labels)
    return bool(labels)


def jackknife_error(without: Floats) -> float:
    """One standard error from the values with each example, or each group of them, left out (Efron and Stein, 1981)."""
    count = len(without)
    return math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))


def least_error(metric: str, step: float) -> float:
    """Half an example's distance from the best: where all or none is right the jackknife would claim certainty.

    Args:
        metric: one of `METRICS`.
        step: how far one row at most moves the score, see `grain`.
    """
    width = 1 - METRICS[metric].low
    rows = width / step
    return width * math.sqrt(0.5 / rows * (1 - 0.5 / rows) / rows)


def _groups_left_out(values: Floats, groups: Sequence[Hashable]) -> Floats:
    """The mean without each group in turn: [groups]."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    place = np.array([numbers[group] for group in groups])
    sums, counts = np.bincount(place, values), np.bincount(place)
    if len(counts) < 2:
        return np.empty(0)
    kept: Floats = (values.sum() - sums) / (len(values) - counts)
    return kept
