"""Samplers by name, and the search space as Optuna is asked for it."""

import random
from collections.abc import Mapping

import optuna

from adapter_sweep.config import Choices, Dimension, FloatRange, IntRange

__all__ = ["make_sampler", "suggest", "tidy"]


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of that name, `tpe`, `nsga2`, `gp`, `random` or `grid`, for the trial of that number.

    Its random state depends on the seed and the trial's number alone, so neither a resumption nor a second process
    suggests again what was suggested before.

    The first three learn from the constraints that the ledger sets on a trial. The grid's points are queued by the
    ledger, so its sampler is never asked.
    """
    state = random.Random(f"{seed}:{number}").getrandbits(32)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=state, multivariate=True)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=state)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=state)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=state)
    raise ValueError(f"no sampler is named {name!r}")


def suggest(trial: optuna.Trial, space: Mapping[str, Dimension]) -> None:
    """Give a trial its parameters: those it was queued with, else what its study's sampler suggests."""
    for key, dimension in space.items():
        if isinstance(dimension, Choices):
            trial.suggest_categorical(key, dimension.values)
        elif isinstance(dimension, IntRange):
            trial.suggest_int(key, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
        else:
            assert isinstance(dimension, FloatRange)
            high = tidy(dimension.high) if dimension.step else dimension.high
            trial.suggest_float(key, dimension.low, high, step=dimension.step, log=dimension.log)


def tidy(value: float) -> float:
    """A number without the last digits that adding steps leaves: Optuna warns of 0.1 + 2 · 0.1 as no step of 0.1."""
    return float(f"{value:.12g}")
