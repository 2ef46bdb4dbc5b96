"""Test scores of runs, and what they would have been on other test rows drawn from the same source.

Shapes: rows = test rows, numbers = what a row gives to the metric, runs = predictions to score, draws = resamples.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from adapter_sweep.resampling import weighted_scores

__all__ = ["resampled_scores", "run_scores"]

Floats = npt.NDArray[np.float64]

_CELLS = 4_000_000  # draws times rows held at once: up to some 200 MB, for Spearman's correlation


def run_scores(metric: str, runs: Floats) -> Floats:
    """The score of each run, as the task's own metric computes it.

    Args:
        metric: one of `scores.METRICS`.
        runs: [runs, rows, numbers], one row or more (see `metrics.row_table`).

    Returns:
        [runs].
    """
    scores: Floats = weighted_scores(metric, runs, np.ones((1, runs.shape[1])))[0]
    return scores


def resampled_scores(metric: str, runs: Floats, draws: int, random: np.random.Generator) -> Floats:
    """The score of each run on `draws` bootstrap samples of the test rows (Efron and Tibshirani 1993, ch. 6).

    A draw takes the same rows for every run: that is what pairs the runs. Each score is what the metric gives on a test
    split of the draw's rows: a class without a row and without a prediction has no part in the macro F1, ranks are
    those among the draw's rows, and an F1 with nothing to find and nothing found is 0.

    Returns:
        [draws, runs]. The arguments are those of `run_scores`.
    """
    parts = [weighted_scores(metric, runs, counts) for counts in _row_counts(runs.shape[1], draws, random)]
    return np.concatenate(parts)


def _row_counts(rows: int, draws: int, random: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
    """How often each draw takes each row, [some draws, rows], until there were `draws`."""
    most = max(1, _CELLS // rows)
    for start in range(0, draws, most):
        here = min(most, draws - start)
        taken = random.integers(rows, size=(here, rows))
        taken += rows * np.arange(here)[:, None]
        yield np.bincount(taken.ravel(), minlength=here * rows).reshape(here, rows).astype(np.float32)
