"""Who is on the front of the confirmed finalists, who is not, and of whom that is not known.

A finalist is dominated if another costs no more in any respect and scores higher, or scores as high and costs less in
some respect. Costs are exact; latency counts as different only beyond the noise floor. Scores are known by draws.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from adapter_sweep.records import Direction
from adapter_sweep.report.evidence.intervals import middle_95

__all__ = ["compare_costs", "front_probabilities", "surely_higher"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_SURE = 0.95  # the share of studies without any false claim


def compare_costs(
    costs: Sequence[Mapping[str, float]], floors: Sequence[Mapping[str, float]], ways: Mapping[str, Direction]
) -> tuple[Flags, Flags]:
    """Who costs no more than whom, and who costs less.

    Args:
        costs: per configuration, cost -> value; one that was not measured is absent.
        floors: per configuration, cost -> how far apart two readings may be by chance; absent is 0. Between two
            configurations, the larger floor counts.
        ways: the costs to compare -> whether less or more is better.

    Returns:
        Two arrays [configurations, configurations], row over column, false on the diagonal: whether row is no worse
        in any cost (to within the floor), and whether it is better in some (beyond the floor). A configuration with
        an absent cost is in no relation to any.
    """
    no_worse = ~np.eye(len(costs), dtype=bool)
    better = np.zeros_like(no_worse)
    for key, way in ways.items():
        sign = 1.0 if way == "minimize" else -1.0
        losses = np.array([sign * each.get(key, np.nan) for each in costs])
        floor = np.array([each.get(key, 0.0) for each in floors])
        gap = losses[:, None] - losses[None, :]
        apart = np.maximum(floor[:, None], floor[None, :])
        no_worse &= gap <= apart
        better |= gap < -apart
    return no_worse, better & no_worse


def front_probabilities(draws: Floats, rivals: Flags) -> Floats:
    """The share of draws in which nobody dominates a configuration: [configurations].

    With several rivals that are its equals this is low although nothing tells it from them, as one of many is
    always ahead: a low value alone does not show that a configuration is dominated (see `surely_higher`).

    Args:
        draws: [draws, configurations], higher is better, no two alike.
        rivals: [configurations, configurations], whether row dominates column if it scores higher.
    """
    free = [~(draws[:, rivals[:, one]] > draws[:, [one]]).any(axis=1) for one in range(draws.shape[1])]
    return np.array([each.mean() for each in free])


def surely_higher(scores: Floats, draws: Floats, rivals: Flags) -> Flags:
    """Which rivals score higher, so that all of these claims together are wrong in at most 5 % of studies.

    The step-down method of Romano and Wolf (2005), balanced as in Beran (1988): the lead of each rival
    over each configuration, in units of its own 95 % interval's half width, against the 95 % quantile of the largest
    error among all leads in the draws; leads beyond it are claimed, and the rest is tried again without them.

    Args:
        scores: [configurations], higher is better.
        draws: [draws, configurations], spread about `scores` as `scores` are about the truth.
        rivals: [configurations, configurations], the pairs to look at.

    Returns:
        [configurations, configurations], whether row is claimed to score higher than column.
    """
    row, column = np.nonzero(rivals)
    claimed = np.zeros_like(rivals)
    if not len(row):
        return claimed
    leads = scores[row] - scores[column]
    drawn = draws[:, row] - draws[:, column]
    low, high = middle_95(drawn)
    half = (high - low) / 2
    errors, leads = (drawn - leads) / half, leads / half
    left = np.ones(len(row), dtype=bool)
    while left.any():
        found = left & (leads > np.quantile(errors[:, left].max(axis=1), _SURE))
        if not found.any():
            break
        left &= ~found
    claimed[row[~left], column[~left]] = True
    return claimed
