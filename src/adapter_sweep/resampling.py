"""Each metric of `scores.METRICS`, of a split whose rows count any number of times, and with each row left out.

Shapes: rows = test rows, numbers = what `scores.row_numbers` gives of a row, runs = predictions to score, draws =
weightings of the rows, classes = distinct class indices.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import Prediction
from adapter_sweep.scores import METRICS, Formula, row_numbers

__all__ = ["grain", "left_out", "row_table", "weighted_scores"]

Array = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]

_NOISE = 1e-12  # a variance below this share of the squares it is the rest of is rounding


def row_table(metric: str, predictions: Sequence[Prediction], labels: Sequence[Prediction]) -> Floats:
    """What each row gives to the metric: [rows, numbers].

    Raises:
        AdapterSweepError: no such metric, or predictions or labels are not what it is of.
    """
    if metric not in METRICS:
        raise AdapterSweepError(f"metric {metric!r}: no such metric; there are {', '.join(METRICS)}")
    try:
        pairs = zip(predictions, labels, strict=True)
        table = np.array([row_numbers(metric, prediction, label) for prediction, label in pairs], dtype=np.float64)
    except (TypeError, ValueError, AttributeError) as error:
        raise AdapterSweepError(f"the rows are not what {metric} is of ({error})") from error
    if not np.isfinite(table).all():
        raise AdapterSweepError(f"{metric}: a prediction or a label is not finite")
    return table


def weighted_scores(metric: str, runs: Floats, counts: Array) -> Floats:
    """The score of each run where row r counts `counts[:, r]` times.

    Args:
        metric: one of `METRICS`.
        runs: [runs, rows, numbers], of the same labels.
        counts: [draws, rows], whole numbers, in float32 (exact up to 2^24 rows) or float64.

    Returns:
        [draws, runs].
    """
    formula = METRICS[metric].formula
    if formula is Formula.MEAN:
        means: Floats = (counts @ runs[..., 0].T.astype(counts.dtype)).astype(np.float64)
        means /= counts.sum(axis=1, dtype=np.float64, keepdims=True)
        return means
    if formula is Formula.F1:
        return _f1(*(counts @ runs[..., number].T.astype(counts.dtype) for number in range(3)))
    if metric == "pearson":
        return _pearson(runs, counts.astype(np.float64))
    scores = np.empty((len(counts), len(runs)))
    if metric == "spearman":
        ranks, spread = _ranks(runs[0, :, 1], counts)
        weighted = counts * ranks
        for index, run in enumerate(runs):
            guessed, guessed_spread = _ranks(run[:, 0], counts)
            scores[:, index] = _correlation(np.einsum("dr,dr->d", weighted, guessed), guessed_spread, spread)
        return scores
    classes = np.unique(runs)
    actual = runs[0, :, 1, None] == classes
    of_table = _macro_f1 if metric == "macro_f1" else _matthews
    real = (counts @ actual.astype(counts.dtype)).astype(np.float64)
    for index, run in enumerate(runs):
        said = run[:, 0, None] == classes
        guessed, hits = ((counts @ flags.astype(counts.dtype)).astype(np.float64) for flags in (said, said & actual))
        scores[:, index] = of_table(real, guessed, hits)
    return scores


def left_out(metric: str, table: Floats) -> Floats:
    """The score of one run with each row left out in turn: [rows]; the score itself of a single row.

    For Spearman's correlation to first order only (the infinitesimal jackknife: Efron, The Jackknife, the Bootstrap and
    Other Resampling Plans, 1982, ch. 6), as the rest, which every pair of rows has a part in, is of order 1/rows².

    Args:
        metric: one of `METRICS`.
        table: [rows, numbers].
    """
    rows = len(table)
    if rows < 2:
        score: Floats = weighted_scores(metric, table[None], np.ones((1, rows)))[0]
        return score
    formula = METRICS[metric].formula
    if formula is Formula.MEAN:
        kept: Floats = (table[:, 0].sum() - table[:, 0]) / (rows - 1)
        return kept
    if formula is Formula.F1:
        return _f1(*(table.sum(axis=0) - table).T)
    if metric == "pearson":
        x, y = (_scaled(values) for values in table.T)
        sums = (values.sum() - values for values in (x, y, x * x, y * y, x * y))
        return _pearson_of(rows - 1, *sums)
    if metric == "spearman":
        return _spearman_left_out(*table.T)
    # Rows of one label and one prediction are alike, so each such cell is left out once.
    cells, place = np.unique(table, axis=0, return_inverse=True)
    without = np.bincount(place.ravel()) - np.eye(len(cells))
    by_cell: Floats = weighted_scores(metric, cells[None], without)[place.ravel(), 0]
    return by_cell


def grain(metric: str, table: Floats) -> float:
    """How far one row at most moves a score, about: the range of the metric over the rows that decide it.

    These are the rows with anything to find for an F1 over items; as many as the rarest class has, times the classes,
    for a score of classes; all of them for the others.

    Args:
        metric: one of `METRICS`.
        table: [rows, numbers], of any run: only the labels count.
    """
    known, rows = METRICS[metric], len(table)
    if known.formula is Formula.F1:
        rows = int((table[:, 0] + table[:, 2] > 0).sum()) or rows
    elif known.formula is Formula.CLASSES:
        _, counts = np.unique(table[:, 1], return_counts=True)
        rows = len(counts) * int(counts.min())
    return (1 - known.low) / rows


def _f1(hits: Array, spurious: Array, missed: Array) -> Floats:
    return _ratio(2 * hits, 2 * hits + spurious + missed)


def _ratio(part: Array, whole: Array) -> Floats:
    """`part / whole`; 0 where `whole` is not above 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0, dtype=np.float64)


def _macro_f1(real: Floats, guessed: Floats, hits: Floats) -> Floats:
    """Of the classes that occur; each argument is [draws, classes]: rows of, predicted as, and rightly of a class."""
    either = real + guessed
    f1: Floats = _ratio(2 * hits, either).sum(axis=1) / np.maximum(1, (either > 0).sum(axis=1))
    return f1


def _matthews(real: Floats, guessed: Floats, hits: Floats) -> Floats:
    """For any number of classes: J. Gorodkin, Computational Biology and Chemistry 28, 2004, eq. 8."""
    rows = real.sum(axis=1)
    both = hits.sum(axis=1) * rows - (real * guessed).sum(axis=1)
    return _correlation(both, *(rows**2 - (each**2).sum(axis=1) for each in (guessed, real)))


def _correlation(both: Floats, first: Floats, second: Floats) -> Floats:
    """A covariance over two variances, all in one unit; 0 where one of them is 0."""
    return np.clip(_ratio(both, np.sqrt(np.maximum(0.0, first) * np.maximum(0.0, second))), -1.0, 1.0)


def _pearson(runs: Floats, counts: Floats) -> Floats:
    y = _scaled(runs[0, :, 1])[:, None]
    x = np.stack([_scaled(run[:, 0]) for run in runs], axis=1)
    sums = (counts @ values for values in (x, y, x * x, y * y, x * y))
    return _pearson_of(counts.sum(axis=1, keepdims=True), *sums)


def _scaled(values: Floats) -> Floats:
    """Moved and scaled to within 1 of 0, so that squares lose no digits; exactly 0 where all are alike."""
    moved: Floats = values - values[0]
    moved -= moved.mean()
    moved /= np.abs(moved).max() or 1.0
    return moved


def _pearson_of(rows: Floats | int, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    """Pearson's correlation from sums."""
    first, second = (np.where((v := rows * s - t**2) > _NOISE * rows * s, v, 0.0) for s, t in ((xx, x), (yy, y)))
    return _correlation(rows * xy - x * y, first, second)


def _ranks(values: Floats, counts: Array) -> tuple[Floats, Floats]:
    """Ranks in each draw, ties sharing the middle one, less their mean: [draws, rows]; and their sum of squares.

    A rank depends on which rows a draw has, and that is part of the doubt about the correlation: ranks in the whole
    split, kept in every draw, would leave it out.
    """
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    sums = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64)
    ranks = np.cumsum(sums, axis=1)
    ranks -= sums / 2 + ranks[:, -1:] / 2
    return ranks[:, place], np.einsum("dk,dk,dk->d", sums, ranks, ranks)


def _spearman_left_out(guessed: Floats, labels: Floats) -> Floats:
    """Spearman's correlation, less what it changes by the weight of each row, scaled as it is for a mean: [rows]."""
    (x, first), (y, second) = (_ranks(values, np.ones((1, len(values)))) for values in (guessed, labels))
    x, y = x[0], y[0]
    score = float(_correlation(np.array([x @ y]), first, second)[0])
    if not first[0] * second[0]:
        return np.zeros(len(x))
    both = x * y + _sum_above(x, y) + _sum_above(y, x)
    own = sum((each**2 + 2 * _sum_above(each, each)) / total for each, total in ((x, first), (y, second)))
    left: Floats = score - (both / np.sqrt(first * second) - score / 2 * own) * len(x) / (len(x) - 1)
    return left


def _sum_above(ranks: Floats, values: Floats) -> Floats:
    """For each row the sum of `values` over the rows with higher ranks, and half of those with the same."""
    _, place = np.unique(ranks, return_inverse=True)
    sums = np.bincount(place, values)
    above: Floats = (sums.sum() - np.cumsum(sums) + sums / 2)[place]
    return above
