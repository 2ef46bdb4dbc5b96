"""From overrides in Hydra's grammar to a checked configuration. Hydra composes, and nothing more."""

import difflib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from adapter_sweep.config.check import keys_of, validate, with_params
from adapter_sweep.config.loading import load, options
from adapter_sweep.config.quoting import quoted
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.config.space import Choices, Dimension, IntRange, grid_points, parse_space
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue

__all__ = ["Composed", "compose"]

_GROUPS = ("backbone", "task", "method", "train", "latency", "workers", "tracking", "sweep")
_SEARCHED = ("method", "train")
_NOT_SEARCHED = (
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


@dataclass(frozen=True)
class Composed:
    """A checked configuration.

    Attributes:
        config: typed and range-checked.
        space: the search space, parsed; empty where nothing is searched.
        ranges: those of the space that the user's overrides gave, as written.
        overrides: the user's other overrides: with a trial's parameters they reproduce it.
        sweep: the sweep's name; None where there is none.
        config_dir: the user's own configuration, where there is one.
    """

    config: SweepConfig
    space: dict[str, Dimension]
    ranges: dict[str, str]
    overrides: tuple[str, ...]
    sweep: str | None
    config_dir: Path | None

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return self.config.model_dump()

    def for_sweep(self) -> "Composed":
        """The same, where there is something to search.

        Raises:
            UserInputError: there is nothing.
        """
        if not self.space:
            raise UserInputError(
                "search_space: nothing to search; give a range, e.g. method.width=choice(8,64), or use: "
                "adapter-sweep trial"
            )
        return self

    def for_trial(self) -> "Composed":
        """The same as one configuration: what a sweep searches stands at its defaults.

        Raises:
            UserInputError: the user gave a range.
        """
        if self.ranges:
            raise UserInputError(
                *(
                    f"{key}={text}: a trial takes one value for each key; to search a range use: adapter-sweep run"
                    for key, text in self.ranges.items()
                )
            )
        return replace(self, config=self.config.model_copy(update={"search_space": {}}), space={})

    def fixed(self) -> dict[str, ParamValue]:
        """What the overrides fix of the method and of the keys that can be searched."""
        values = self.values
        fixed: dict[str, ParamValue] = {}
        for text in self.overrides:
            key = text.partition("=")[0].lstrip("+")
            section, _, name = key.partition(".")
            if section in _SEARCHED and name and key not in _NOT_SEARCHED:
                fixed[key] = values[section][name]
            elif key == "method":
                fixed["method.kind"] = values["method"]["kind"]
        return fixed


def compose(overrides: list[str], *, config_dir: Path | None = None, default_sweep: str | None = None) -> Composed:
    """Compose and check a configuration.

    Args:
        overrides: in Hydra's override grammar; of two for one key the last holds. A range
            (`method.width=choice(8,64)`) joins the search space, and a fixed value takes its key out of it. A method
            (`method=head`) takes the sweep's ranges out of it that are of another method's keys.
        config_dir: the user's own configuration, searched before the shipped one (and its `sweeps/` before `./sweeps`
            and the shipped sweeps).
        default_sweep: the sweep where the overrides name none.

    Raises:
        UserInputError: every problem, at once.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise UserInputError(f"--config-dir={config_dir}: no such directory")
    parsed, problems = _parse(overrides)
    wrong = _wrong_groups(parsed, config_dir)
    if problems or wrong:
        sound = [str(o.input_line) for key, o in parsed.items() if key.split(".")[0] not in wrong]
        problems += wrong.values()
        try:  # what is wrong in the rest is told at once too
            compose(sound, config_dir=config_dir, default_sweep=None if "sweep" in wrong else default_sweep)
        except UserInputError as error:
            problems += error.problems
        raise UserInputError(*problems)
    ranges = {key: _text(o) for key, o in parsed.items() if o.is_sweep_override()}
    fixed = {key: o for key, o in parsed.items() if key not in ranges}
    chosen = _option(fixed["sweep"]) if "sweep" in fixed else default_sweep
    arguments = [_argument(o) for key, o in fixed.items() if key != "sweep"]
    values = load(arguments, chosen, config_dir)
    space = values.get("search_space")
    if isinstance(space, dict):
        gone = {*fixed, *(_keys_of_other_methods(values) if "method" in fixed else ())}
        values["search_space"] = {str(k): str(v) for k, v in space.items() if k not in gone} | ranges
    config = validate(values)
    dimensions = _check_space(config)
    kept = tuple(str(o.input_line) for key, o in fixed.items() if key != "sweep")
    return Composed(
        config, dimensions, ranges, (f"sweep={quoted(chosen)}", *kept) if chosen else kept, chosen, config_dir
    )


def _parse(overrides: list[str]) -> tuple[dict[str, Override], list[str]]:
    """The last override of each key, in the order they were given, and what cannot be one."""
    parser = OverridesParser.create()
    parsed: dict[str, Override] = {}
    problems = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            problems.append(f"{text!r}: {_first_line(error)}; expected key=value in Hydra's override grammar")
            continue
        key = override.key_or_group
        if not key:
            problems.append(f"{text!r}: the key is missing; expected key=value")
        elif key.split(".")[0].split("/")[0] == "hydra":
            problems.append(f"{text!r}: Hydra only composes here, so its own settings have no effect")
        elif key.split(".")[0] == "search_space":
            problems.append(f"{text!r}: set the range of a key by the key itself, e.g. method.width=choice(8,64)")
        elif override.package is not None:
            problems.append(f"{text!r}: a group has one place here; leave out @{override.package}")
        elif override.is_delete() and not key.startswith("objectives."):
            problems.append(f"{text!r}: a key cannot be deleted; set it to null, or fix it: key=value")
        else:
            parsed.pop(key, None)
            parsed[key] = override
    return parsed, problems


def _text(override: Override) -> str:
    """The value as it was written."""
    return str(override.input_line).partition("=")[2]


def _option(override: Override) -> str:
    """A group's option as it was written: `007` is no number here."""
    value = override.value()
    return value if isinstance(value, str) else _text(override)


def _argument(override: Override) -> str:
    """Let Hydra accept any key: the schema names the unknown ones, all at once and with what is near."""
    if override.key_or_group in _GROUPS:
        return f"{override.key_or_group}={quoted(_option(override))}"
    if override.is_delete():
        return str(override.input_line)
    return "++" + str(override.input_line).lstrip("+")


def _wrong_groups(parsed: dict[str, Override], config_dir: Path | None) -> dict[str, str]:
    """What is wrong with the options chosen, by group."""
    wrong = {}
    for group in [key for key in parsed if key in _GROUPS]:
        override = parsed[group]
        known = options(group, config_dir)
        name = _option(override)
        if override.is_sweep_override():
            wrong[group] = f"{group}={name}: a group cannot be a range; allowed: {', '.join(known)}"
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            wrong[group] = f"{group}={name}: there is no such {group}; {hint}allowed: {', '.join(known)}"
    return wrong


def _check_space(config: SweepConfig) -> dict[str, Dimension]:
    """Parse the search space and check points of it, the ends among them, against the schema."""
    values = config.model_dump()
    problems = [problem for key in config.search_space if (problem := _unsearchable(key, values))]
    if problems:
        raise UserInputError(*problems)
    space = parse_space(config.search_space)
    for key, dimension in space.items():
        for end in _probes(dimension):
            try:
                validate(with_params(values, {key: end}))
            except UserInputError as error:
                problems += [f"search_space.{problem}" for problem in error.problems]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    if config.study.sampler == "grid":
        grid_points(space)
    return space


def _keys_of_other_methods(values: dict[str, Any]) -> set[str]:
    """Keys that the chosen method has not, and another one has."""
    chosen = keys_of(["method"], values.get("method"))
    return {f"method.{name}" for name in keys_of(["method"], None) if name not in chosen}


def _unsearchable(key: str, values: dict[str, Any]) -> str | None:
    """Why a key cannot be searched; None where it can."""
    keys = [f"{section}.{name}" for section in _SEARCHED for name in values[section]]
    allowed = [name for name in keys if name not in _NOT_SEARCHED]
    if key in allowed:
        return None
    near = difflib.get_close_matches(key, allowed, n=1) if key not in _NOT_SEARCHED else []
    hint = f"did you mean {near[0]}? " if near else ""
    return f"search_space.{key}: this key cannot be searched; {hint}allowed: {', '.join(allowed)}"


def _probes(dimension: Dimension) -> tuple[ParamValue, ...]:
    if isinstance(dimension, Choices):
        return dimension.values
    if isinstance(dimension, IntRange):
        return dimension.low, dimension.high
    # A point between the ends shows where whole numbers are wanted.
    return dimension.low, dimension.low + (dimension.high - dimension.low) / math.e, dimension.high


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
