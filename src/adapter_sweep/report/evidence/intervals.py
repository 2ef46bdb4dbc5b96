"""95 % intervals of scores between 0 and 1."""

import numpy as np
import numpy.typing as npt

from adapter_sweep.report.intervals import Z_95, wilson

__all__ = ["middle_95", "score_interval"]

Floats = npt.NDArray[np.float64]


def middle_95(draws: Floats) -> tuple[Floats, Floats]:
    """The 2.5 % and 97.5 % quantiles of each column of `draws` [draws, columns], each [columns]."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return low, high


def score_interval(score: float, half_width: float, grain: float) -> tuple[float, float]:
    """95 % interval of an expected score whose draws reach `half_width` to either side.

    Wilson's interval at the effective sample size, the number of independent rows that would leave as much doubt (for
    clustered samples: Franco, Little, Louis and Slud 2019): it stays within 0 and 1, and is not empty where every run
    is perfect or none is right, for which 1/grain rows are taken.
    """
    spread = score * (1 - score)
    return wilson(score, spread * (Z_95 / half_width) ** 2 if spread > 0 else 1 / grain)
