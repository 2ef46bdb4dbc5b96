"""From overrides in Hydra's grammar to a checked configuration. Hydra composes, and nothing more."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from adapter_sweep.config.attainable import check_objectives
from adapter_sweep.config.check import validate
from adapter_sweep.config.choosing import chosen_methods, not_chosen
from adapter_sweep.config.given import GROUPS, Given, option, written
from adapter_sweep.config.loading import options
from adapter_sweep.config.naming import METHOD, key_of, overrides_of, owner_of
from adapter_sweep.config.probing import NOT_SEARCHED, SEARCHED, check_space
from adapter_sweep.config.quoting import quoted
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.config.secrets import misplaced_credentials
from adapter_sweep.config.space import Dimension
from adapter_sweep.credentials import remember_credentials
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue

__all__ = ["Composed", "compose"]


@dataclass(frozen=True)
class Composed:
    """A checked configuration.

    Attributes:
        config: typed and range-checked.
        space: the search space, parsed; empty where nothing is searched. Where methods are chosen between, the ranges
            of each one's keys go by its name, e.g. `lora.method.rank`.
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
        """The same as one configuration: what a sweep searches stands at its defaults, a method at the first choice.

        Raises:
            UserInputError: the user gave a range, or a value of one method's own.
        """
        own = [key for text in self.overrides if owner_of(key := text.partition("=")[0].lstrip("+"))]
        if self.ranges or own:
            raise UserInputError(
                *(
                    f"{key}={text}: a trial takes one value for each key; to search a range use: adapter-sweep run"
                    for key, text in self.ranges.items()
                ),
                *(f"{key}: a trial is of one method; give it as method={owner_of(key)} {key_of(key)}=…" for key in own),
            )
        config = self.config.model_copy(update={"search_space": {}, "methods": {}})
        first = {METHOD: next(iter(self.config.methods), None)}
        overrides = overrides_of(self.overrides, self.values.get("methods", {}), first)
        return replace(self, config=config, space={}, overrides=tuple(overrides))

    def fixed(self) -> dict[str, ParamValue]:
        """What the overrides fix of the method and of the keys that can be searched."""
        values = self.values
        fixed: dict[str, ParamValue] = {}
        for text in self.overrides:
            key = text.partition("=")[0].lstrip("+")
            section, _, name = key.partition(".")
            if section in SEARCHED and name and key not in NOT_SEARCHED:
                fixed[key] = values[section][name]
            elif key == METHOD:
                fixed[METHOD] = option(OverridesParser.create().parse_override(text))
        return fixed


def compose(overrides: list[str], *, config_dir: Path | None = None, default_sweep: str | None = None) -> Composed:
    """Compose and check a configuration.

    Args:
        overrides: in Hydra's override grammar; of two for one key the last holds. A range
            (`method.width=choice(8,64)`) joins the search space, and a fixed value takes its key out of it. A method
            (`method=head`) takes the sweep's ranges out of it that are of another method's keys. Methods can be chosen
            between (`method=choice(bottleneck,head)`): then a value or range of a key is of every chosen method that
            has the key, and one that goes by a method's name (`bottleneck.method.width=8`) is of that method alone.
        config_dir: the user's own configuration, searched before the shipped one (and its `sweeps/` before `./sweeps`
            and the shipped sweeps).
        default_sweep: the sweep where the overrides name none.

    Raises:
        UserInputError: every problem, at once.
    """
    remember_credentials(*overrides)
    if config_dir is not None and not config_dir.is_dir():
        raise UserInputError(f"--config-dir={config_dir}: no such directory")
    parsed, problems = _parse(overrides)
    wrong = _wrong_groups(parsed, config_dir)
    parsed, foreign = _of_one_method(parsed)
    if problems or wrong or foreign:
        sound = [str(o.input_line) for key, o in parsed.items() if key.split(".")[0] not in wrong]
        problems += [*wrong.values(), *foreign]
        try:  # what is wrong in the rest is told at once too
            compose(sound, config_dir=config_dir, default_sweep=None if "sweep" in wrong else default_sweep)
        except UserInputError as error:
            problems += error.problems
        raise UserInputError(*problems)
    ranges = {key: written(o) for key, o in parsed.items() if o.is_sweep_override()}
    fixed = {key: o for key, o in parsed.items() if key not in ranges}
    sweep = option(fixed.pop("sweep")) if "sweep" in fixed else default_sweep
    values, problems = Given(ranges, fixed, sweep, config_dir).compose()
    problems += misplaced_credentials(values)
    config = _checked(values, problems)
    space = check_space(config)
    check_objectives(config)
    held = {key: config.search_space[key] for key in fixed if key in config.search_space}  # choices of one
    kept = tuple(str(o.input_line) for key, o in fixed.items() if key not in held)
    repeating = (f"sweep={quoted(sweep)}", *kept) if sweep else kept
    return Composed(config, space, ranges | held, repeating, sweep, config_dir)


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


def _of_one_method(parsed: dict[str, Override]) -> tuple[dict[str, Override], list[str]]:
    """Where one method is chosen, what goes by its name goes for it; and what goes by the names of others."""
    if METHOD not in parsed or parsed[METHOD].is_sweep_override():
        return parsed, []
    only = option(parsed[METHOD])
    found, foreign = {key: o for key, o in parsed.items() if owner_of(key) is None}, []
    for key in parsed.keys() - found.keys():
        if owner_of(key) == only:
            found[key_of(key)] = OverridesParser.create().parse_override(f"{key_of(key)}={written(parsed[key])}")
        else:
            foreign.append(not_chosen(key, (only,)))
    return found, foreign


def _checked(values: dict[str, Any], problems: list[str]) -> SweepConfig:
    """Check the values with every method that is chosen.

    Raises:
        UserInputError: every problem, those known before among them.
    """
    methods = values.pop("methods", {})
    for settings in methods.values() or [values.get(METHOD)]:
        try:
            validate({**values, METHOD: settings})
        except UserInputError as error:
            problems = [*problems, *error.problems]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    return validate({**values, "methods": methods} if methods else values)


def _wrong_groups(parsed: dict[str, Override], config_dir: Path | None) -> dict[str, str]:
    """What is wrong with the options chosen, by group."""
    wrong = {}
    for group in [key for key in parsed if key in GROUPS]:
        override = parsed[group]
        known = options(group, config_dir)
        name = option(override)
        if override.is_sweep_override() and group == METHOD:
            try:
                chosen_methods(name, known)
            except UserInputError as error:
                wrong[group] = "; ".join(error.problems)
        elif override.is_sweep_override():
            wrong[group] = f"{group}={name}: a group cannot be a range; allowed: {', '.join(known)}"
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            wrong[group] = f"{group}={name}: there is no such {group}; {hint}allowed: {', '.join(known)}"
    return wrong


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
