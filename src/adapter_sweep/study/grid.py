"""The grid: every combination of a search space's values, once."""

import random
from collections.abc import Iterable, Mapping

from adapter_sweep.config import Dimension, FloatRange
from adapter_sweep.config.space import grid_points
from adapter_sweep.records import ParamValue
from adapter_sweep.study.samplers import tidy

__all__ = ["Grid"]


class Grid:
    """The points of a search space, in an order that the seed decides: a part of the grid is a fair sample of it."""

    def __init__(self, space: Mapping[str, Dimension], seed: int) -> None:
        stepped = {key for key, dimension in space.items() if isinstance(dimension, FloatRange)}
        self._points = [
            {key: tidy(value) if key in stepped and isinstance(value, float) else value for key, value in point.items()}
            for point in grid_points(space)
        ]
        random.Random(seed).shuffle(self._points)

    def next(self, begun: Iterable[Mapping[str, ParamValue]]) -> dict[str, ParamValue] | None:
        """The first point that has not begun; None where all have."""
        done = {_key(params) for params in begun}
        return next((point for point in self._points if _key(point) not in done), None)


def _key(params: Mapping[str, ParamValue]) -> tuple[tuple[str, str], ...]:
    """Parameters as a key that tells 1 from True."""
    return tuple(sorted((key, repr(value)) for key, value in params.items()))
