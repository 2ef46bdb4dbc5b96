"""95 % intervals of scores between a least value and 1."""

import numpy as np
import numpy.typing as npt

from adapter_sweep.report.intervals import Z_95, wilson

__all__ = ["middle_95", "score_interval"]

Floats = npt.NDArray[np.float64]


def middle_95(draws: Floats) -> tuple[Floats, Floats]:
    """The 2.5 % and 97.5 % quantiles of each column of `draws` [draws, columns], each [columns]."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return low, high


def score_interval(score: float, half_width: float, grain: float, low: float = 0.0) -> tuple[float, float]:
    """95 % interval of an expected score whose draws reach `half_width` to either side.

    Wilson's interval of where the score lies between `low` and 1, at the effective sample size, the number of
    independent rows that would leave as much doubt (for clustered samples: Franco, Little, Louis and Slud 2019): it
    stays within `low` and 1, is skewed towards the middle as the doubt of a correlation is, and is not empty where
    every run is perfect or none is right, for which the range over `grain` is taken.
    """
    width = 1 - low
    share = min(1.0, max(0.0, (score - low) / width))
    spread = share * (1 - share)
    ends = wilson(share, spread * (width * Z_95 / half_width) ** 2 if spread > 0 else width / grain)
    return low + width * ends[0], low + width * ends[1]
