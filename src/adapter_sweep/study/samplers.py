"""Samplers by name, and the search space as Optuna's distributions."""

import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from adapter_sweep.config import Choices, Dimension, FloatRange, IntRange

__all__ = ["distributions", "make_sampler"]


def distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each dimension."""
    return {key: _distribution(dimension) for key, dimension in space.items()}


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of that name: `tpe`, `nsga2`, `gp`, `random` or `grid`.

    The first three learn from the constraints that the ledger sets on a trial over its budget. The grid's points are
    queued by the ledger, so its sampler is never asked.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    raise ValueError(f"no sampler is named {name!r}")


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    assert isinstance(dimension, FloatRange)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
