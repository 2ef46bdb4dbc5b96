"""How many trials go through the backbone together."""

from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import torch

from adapter_sweep.bench import Bench
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.naming import applying, key_of
from adapter_sweep.config.space import Choices, parse_dimension
from adapter_sweep.engine.adapters import AdaptedModel, MethodSpec
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.memory import cohort_bound
from adapter_sweep.errors import UserInputError
from adapter_sweep.trial import method_spec

__all__ = ["cohort_size"]

# More at once only takes memory. On a CPU tests/benchmark/engine.py shows 1.02 times one trial's rate for four: not
# worth a worker that trains the last trials while the others wait. The GPU's bound has not been measured.
_MOST = {"cpu": 1, "cuda": 32}
_LEARNING_SAMPLERS = ("tpe", "nsga2", "gp")


def cohort_size(config: SweepConfig, bench: Bench) -> int:
    """How many trials a worker trains together: `train.cohort`, or what `auto` comes to.

    `auto` is as many as pay on the device, within the free memory by an estimate of what one trial keeps for its
    backward pass, and no more than the worker's share of the trials. A sampler that learns has at most a tenth of its
    trials under way at once: what is under way it cannot learn from.
    """
    if config.train.cohort != "auto":
        return config.train.cohort
    workers = config.workers.count or 1
    study = config.study
    most = min(_MOST[bench.device.type], -(-study.n_trials // workers))
    if study.sampler in _LEARNING_SAMPLERS:
        most = min(most, study.n_trials // (10 * workers))
    if most <= 1:
        return 1
    bounds = {
        "batch_size": _largest(config, "train.batch_size", config.train.batch_size),
        "max_tokens": _largest(config, "train.max_tokens_per_batch", config.train.max_tokens_per_batch),
    }
    length = _largest(config, "train.max_length", config.train.max_length)
    devices = torch.cuda.device_count() if bench.device.type == "cuda" else 1
    share = 1 / -(-workers // devices)
    found = []
    with training_step():
        split = bench.encoded(bench.data.train, length)
        for method in _largest_methods(config):
            with suppress(UserInputError):  # its own trials will say what is wrong with it
                model = AdaptedModel(bench.backbone, method, bench.data.outputs, seed=0, per_token=bench.per_token)
                found.append(cohort_bound(model, split, **bounds, share=share))
    return min(most, *found) if found else 1


def _largest_methods(config: SweepConfig) -> list[MethodSpec]:
    """Of each method the study may train, about the settings that take most memory."""
    if not config.methods:
        return _largest_of(config, None)
    chosen = [(config.model_copy(update={"method": own}), method) for method, own in config.methods.items()]
    return [spec for alone, method in chosen for spec in _largest_of(alone, method)]


def _largest_of(config: SweepConfig, method: str | None) -> list[MethodSpec]:
    spec = method_spec(config)
    searched = applying(config.search_space, method)
    own = {f.name for f in fields(spec) if f"method.{f.name}" in searched}
    changes: dict[str, Any] = {
        name: _largest(config, searched[f"method.{name}"], getattr(spec, name))
        for name in own & {"width", "rank", "length"}
    }
    changes |= {name: value for name, value in (("placement", "both"), ("layers", "all")) if name in own}
    largest = replace(spec, **changes)
    if "targets" not in own:
        return [largest]
    targets = parse_dimension("method.targets", config.search_space[searched["method.targets"]])
    assert isinstance(targets, Choices)  # of names
    named = ("all_linear",) if "all_linear" in targets.values else targets.values
    widest: Any = replace  # mypy does not know which of the dataclasses has them
    return [widest(largest, targets=each) for each in named]


def _largest(config: SweepConfig, name: str, value: int) -> int:
    """The largest value the study may set a key to, by its range's name and those of methods' own for the same key.

    It is the value it has where no range is of every method.
    """
    found = [] if name in config.search_space else [value]
    for own in (own for own in config.search_space if name in (own, key_of(own))):
        dimension = parse_dimension(own, config.search_space[own])
        values = dimension.values if isinstance(dimension, Choices) else (dimension.high,)
        found += [int(number) for number in values if isinstance(number, int | float)]
    return max(found)
