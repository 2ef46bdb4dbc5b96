"""Trials whose parameters are known beforehand: a grid's, or a list of the user's."""

import random
from collections.abc import Iterable, Mapping, Sequence

from adapter_sweep.config import Dimension, FloatRange
from adapter_sweep.config.naming import key_of
from adapter_sweep.config.space import grid_points
from adapter_sweep.records import ParamValue
from adapter_sweep.study.samplers import tidy

__all__ = ["first_left", "grid_points_in_order", "params_key"]


def grid_points_in_order(space: Mapping[str, Dimension], seed: int) -> list[dict[str, ParamValue]]:
    """Every combination of a space's values, in an order that the seed decides: a part of it is a fair sample."""
    stepped = {key_of(name) for name, dimension in space.items() if isinstance(dimension, FloatRange)}
    points = [
        {key: tidy(value) if key in stepped and isinstance(value, float) else value for key, value in point.items()}
        for point in grid_points(space)
    ]
    random.Random(seed).shuffle(points)
    return points


def first_left(
    points: Sequence[Mapping[str, ParamValue]], begun: Iterable[Mapping[str, ParamValue]]
) -> Mapping[str, ParamValue] | None:
    """The first point that has not begun; None where all have."""
    done = {params_key(params) for params in begun}
    return next((point for point in points if params_key(point) not in done), None)


def params_key(params: Mapping[str, ParamValue]) -> tuple[tuple[str, str], ...]:
    """Parameters as a key that tells 1 from True."""
    return tuple(sorted((key, repr(value)) for key, value in params.items()))
