"""Test scores of runs, and what they would have been on other test rows drawn from the same source.

Shapes: rows = test rows, runs = predictions to score, draws = resamples, classes = distinct class indices.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from adapter_sweep.errors import AdapterSweepError

__all__ = ["METRICS", "grain", "resampled_scores", "run_scores"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

METRICS: tuple[str, ...] = ("accuracy", "macro_f1")
_CELLS = 4_000_000  # draws times rows held at once: some 50 MB


def run_scores(labels: Ints, predictions: Ints, metric: str) -> Floats:
    """The score of each run, as the task's own metric computes it.

    Args:
        labels: [rows], one row or more.
        predictions: [runs, rows].
        metric: `accuracy`, or `macro_f1`: the unweighted mean of F1 over the classes that occur in the labels or
            the run's predictions.

    Returns:
        [runs], each from 0 to 1.

    Raises:
        AdapterSweepError: another metric.
    """
    once = np.ones((1, len(labels)), dtype=np.float32)
    scores: Floats = _scores(once, labels, predictions, metric)[0]
    return scores


def resampled_scores(labels: Ints, predictions: Ints, metric: str, draws: int, random: np.random.Generator) -> Floats:
    """The score of each run on `draws` bootstrap samples of the test rows (Efron and Tibshirani 1993, ch. 6).

    A draw takes the same rows for every run: that is what pairs the runs. A class that a draw leaves without a row
    and without a prediction does not count in its macro F1, as it would not on a test split of those rows.

    Returns:
        [draws, runs]. Shapes of the arguments and errors are those of `run_scores`.
    """
    parts = [_scores(counts, labels, predictions, metric) for counts in _row_counts(len(labels), draws, random)]
    return np.concatenate(parts)


def grain(labels: Ints, metric: str) -> float:
    """How far one test row at most moves a score, about: 1/rows, for macro F1 1/(classes x rows of the rarest one)."""
    if metric == "accuracy":
        return 1 / len(labels)
    _, counts = np.unique(labels, return_counts=True)
    return float(1 / (len(counts) * counts.min()))


def _row_counts(rows: int, draws: int, random: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
    """How often each draw takes each row, [some draws, rows], until there were `draws`."""
    most = max(1, _CELLS // rows)
    for start in range(0, draws, most):
        here = min(most, draws - start)
        taken = random.integers(rows, size=(here, rows))
        taken += rows * np.arange(here)[:, None]
        yield np.bincount(taken.ravel(), minlength=here * rows).reshape(here, rows).astype(np.float32)


def _scores(counts: npt.NDArray[np.float32], labels: Ints, predictions: Ints, metric: str) -> Floats:
    """Scores where row r counts `counts[:, r]` times: [draws, runs]. Counts in float32 are exact up to 2^24 rows."""
    if metric == "accuracy":
        right: Floats = (counts @ (predictions == labels).T.astype(np.float32)).astype(np.float64)
        return right / len(labels)
    if metric != "macro_f1":
        raise AdapterSweepError(f"metric {metric!r}: no such metric; there are {', '.join(METRICS)}")
    classes = np.union1d(labels, predictions)
    actual = labels[:, None] == classes
    real = counts @ actual.astype(np.float32)
    scores = np.empty((len(counts), len(predictions)))
    for index, run in enumerate(predictions):
        guessed = run[:, None] == classes
        hits = counts @ (guessed & actual).astype(np.float32)
        either = real + counts @ guessed.astype(np.float32)
        f1 = np.divide(2 * hits, either, out=np.zeros(hits.shape), where=either > 0, dtype=np.float64)
        scores[:, index] = f1.sum(axis=1) / (either > 0).sum(axis=1)
    return scores
