"""The knee of a front: where more parameters stop paying."""

import math
from collections.abc import Sequence

__all__ = ["knee"]

_EPSILON = 1e-9


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """The point of a front that lies farthest above the line between its ends.

    Cost is taken as its logarithm, and both axes are scaled to the front's own extent, so that the ends are (0, 0)
    and (1, 1); the knee is the point with the largest score minus cost. That is the bulge of I. Das (*On characterizing
    the "knee" of the Pareto curve based on Normal-Boundary Intersection*, Structural Optimization 1999), and for a
    concave front the knee of V. Satopää et al. (*Finding a "Kneedle" in a Haystack*, ICDCSW 2011). The cheapest of
    equals is taken.

    Args:
        points: (cost, score), higher scores better; in any order, equal ones allowed.

    Returns:
        The knee's place in `points`; None where no point lies above the line: fewer than three costs above zero, all
        scores alike, or a front that is straight or bends the other way.
    """
    usable = [(math.log(cost), score, place) for place, (cost, score) in enumerate(points) if cost > 0]
    if len(usable) < 3:
        return None
    usable.sort(key=lambda point: (point[0], -point[1], point[2]))
    low, high = usable[0], usable[-1]
    width, height = high[0] - low[0], high[1] - low[1]
    if width <= 0 or height <= 0:
        return None
    above = [(score - low[1]) / height - (cost - low[0]) / width for cost, score, _ in usable]
    most = max(above)
    return None if most <= _EPSILON else usable[next(i for i, gap in enumerate(above) if gap >= most - _EPSILON)][2]
