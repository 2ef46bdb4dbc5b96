"""95 % intervals of scores between 0 and 1."""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["middle_95", "score_interval", "wilson"]

Floats = npt.NDArray[np.float64]

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `rows` independent rows (Wilson 1927; Brown, Cai and DasGupta 2001).

    Args:
        share: from 0 to 1.
        rows: above 0; not a whole number where rows only count as so many.
    """
    shrink = 1 + _Z**2 / rows
    middle = (share + _Z**2 / (2 * rows)) / shrink
    half = _Z / shrink * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)


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
    return wilson(score, spread * (_Z / half_width) ** 2 if spread > 0 else 1 / grain)
