"""Samplers by name, and the search space as Optuna is asked for it."""

import random
import warnings
from collections.abc import Iterable, Mapping

import optuna

from adapter_sweep.config import Choices, Dimension, FloatRange, IntRange
from adapter_sweep.config.naming import METHOD, applying

__all__ = ["make_sampler", "suggest", "tidy"]


def make_sampler(name: str, seed: int, number: int, *, choosing: bool = False) -> optuna.samplers.BaseSampler:
    """The sampler of that name, `tpe`, `nsga2`, `gp`, `random` or `grid`, for the trial of that number.

    Its random state depends on the seed and the trial's number alone, so neither a resumption nor a second process
    suggests again what was suggested before.

    The first three learn from the constraints that the ledger sets on a trial. The grid's points are queued by the
    ledger, so its sampler is never asked.

    Where methods are chosen between (`choosing`), trials of two methods have few parameters in common. TPE then learns
    from every group of parameters that occur together; without it, it would learn from what all trials have alone.
    """
    state = random.Random(f"{seed}:{number}").getrandbits(32)
    if name == "tpe" and not choosing:
        return optuna.samplers.TPESampler(seed=state, multivariate=True)
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=state, multivariate=True, group=True)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=state)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=state)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=state)
    raise ValueError(f"no sampler is named {name!r}")


def suggest(trial: optuna.Trial, space: Mapping[str, Dimension]) -> None:
    """Give a trial its parameters: those it was queued with, else what its study's sampler suggests.

    Where methods are chosen between, the method is suggested first, then what its trials have. A genetic sampler has a
    value for every range, those of other methods among them: a child inherits them for when it takes that method again
    (D. Dasgupta, D. McGregor, Nonstationary function optimization using the structured genetic algorithm, 1992). Else
    it could cross only what all trials have in common.
    """
    names: Iterable[str] = space
    if METHOD in space:
        _suggest(trial, METHOD, space[METHOD])
        if not isinstance(trial.study.sampler, optuna.samplers.NSGAIISampler):
            names = applying(space, trial.params[METHOD]).values()
    for name in names:
        if name not in trial.params:
            _suggest(trial, name, space[name])


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> None:
    if isinstance(dimension, Choices):
        trial.suggest_categorical(name, dimension.values)
    elif isinstance(dimension, IntRange):
        trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    else:
        assert isinstance(dimension, FloatRange)
        high = tidy(dimension.high) if dimension.step else dimension.high
        trial.suggest_float(name, dimension.low, high, step=dimension.step, log=dimension.log)


def tidy(value: float) -> float:
    """A number without the last digits that adding steps leaves: Optuna warns of 0.1 + 2 · 0.1 as no step of 0.1."""
    return float(f"{value:.12g}")
