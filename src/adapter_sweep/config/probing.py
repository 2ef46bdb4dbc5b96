"""Whether a search space may be searched: every key, and points of every range with every method it is of."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from adapter_sweep.config.check import validate, with_params
from adapter_sweep.config.naming import METHOD, applying, key_of, owner_of
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.config.space import Choices, Dimension, IntRange, grid_points, parse_space
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue

__all__ = ["NOT_SEARCHED", "SEARCHED", "check_space"]

SEARCHED = (METHOD, "train")  # sections
NOT_SEARCHED = (
    "method.kind",
    "train.threads",
    "train.precision",
    "train.device",
    "train.cohort",
    "train.cache_gb",
    "train.score_epochs",
    "train.micro_batches",
    "train.gradient_checkpointing",
)


def check_space(config: SweepConfig) -> dict[str, Dimension]:
    """Parse the search space and check points of it, the ends among them, against the schema.

    Raises:
        UserInputError: every key that cannot be searched; else every range that cannot be read; else every point that
            the schema refuses, and a space that the sampler cannot search.
    """
    values = config.model_dump()
    settings: dict[str | None, dict[str, Any]] = {
        method: with_params(values, {METHOD: method}) for method in config.methods
    }
    settings = settings or {None: values}
    names = [name for name in config.search_space if name != METHOD or not config.methods]
    of = {name: _methods_of(name, config, settings) for name in names}
    problems = [
        problem
        for name, methods in of.items()
        for method in methods
        if (problem := _unsearchable(name, settings[method]))
    ]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    space = parse_space(config.search_space)
    for name, methods in of.items():
        for end in _probes(space[name]):
            for method in methods:
                try:
                    validate(with_params(settings[method], {key_of(name): end}))
                except UserInputError as error:
                    problems += [_of_owner(name, problem) for problem in error.problems]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    if config.study.sampler == "grid":
        grid_points(space)
    own = [name for name in space if owner_of(name) is not None]
    if config.study.sampler == "gp" and own:
        raise UserInputError(
            f"study.sampler='gp': cannot learn ranges that one method alone has ({', '.join(own)}); "
            "allowed where such are searched: tpe, nsga2, random or grid"
        )
    return space


def _methods_of(name: str, config: SweepConfig, settings: Mapping[str | None, object]) -> list[str | None]:
    """The methods whose trials have a range."""
    key = key_of(name)
    return [method for method in settings if applying(config.search_space, method).get(key) == name]


def _of_owner(name: str, problem: str) -> str:
    owner = owner_of(name)
    return f"search_space.{problem}" if owner is None else f"search_space.{owner}.{problem}"


def _unsearchable(name: str, values: Mapping[str, Any]) -> str | None:
    """Why a key cannot be searched; None where it can."""
    keys = [f"{section}.{field}" for section in SEARCHED for field in values[section]]
    allowed = [key for key in keys if key not in NOT_SEARCHED]
    key, owner = key_of(name), owner_of(name)
    if key in allowed:
        return None
    near = difflib.get_close_matches(key, allowed, n=1) if key not in NOT_SEARCHED else []
    hint = f"did you mean {near[0]}? " if near else ""
    what = "this key cannot be searched" if owner is None else f"no key that {owner} can have of its own"
    return f"search_space.{name}: {what}; {hint}allowed: {', '.join(allowed)}"


def _probes(dimension: Dimension) -> tuple[ParamValue, ...]:
    if isinstance(dimension, Choices):
        return dimension.values
    if isinstance(dimension, IntRange):
        return dimension.low, dimension.high
    # A point between the ends shows where whole numbers are wanted.
    return dimension.low, dimension.low + (dimension.high - dimension.low) / math.e, dimension.high
