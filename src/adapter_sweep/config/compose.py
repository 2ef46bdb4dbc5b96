"""From overrides in Hydra's grammar to a checked configuration. Hydra composes, and nothing more."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adapter_sweep.config.schema import SweepConfig, validate, with_params
from adapter_sweep.config.space import Choices, Dimension, IntRange, grid_points, parse_space
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue

__all__ = ["Composed", "compose", "options"]

_GROUPS = ("backbone", "task", "method", "train", "latency", "tracking")
_SEARCHED = ("method.", "train.")
_NOT_SEARCHED = ("method.kind", "train.threads", "train.precision", "train.device")


@dataclass(frozen=True)
class Composed:
    """A checked configuration.

    Attributes:
        config: typed and range-checked.
        values: the same as plain values, resolved.
        space: the search space, parsed; empty where nothing is searched.
        overrides: the user's overrides less those that are ranges: with a trial's parameters they reproduce it.
        sweep: the sweep's name; None where there is none.
    """

    config: SweepConfig
    values: dict[str, Any]
    space: dict[str, Dimension]
    overrides: tuple[str, ...]
    sweep: str | None

    def without_space(self) -> "Composed":
        """The same with nothing searched: one configuration."""
        values = {**self.values, "search_space": {}}
        return replace(self, config=validate(values), values=values, space={})

    def fixed(self) -> dict[str, ParamValue]:
        """What the overrides fix of the keys that can be searched."""
        fixed: dict[str, ParamValue] = {}
        for text in self.overrides:
            key = text.partition("=")[0].lstrip("+")
            if key.startswith(_SEARCHED) and key not in _NOT_SEARCHED:
                section, name = key.split(".", 1)
                fixed[key] = self.values[section][name]
        return fixed


def compose(overrides: list[str], *, config_dir: Path | None = None, default_sweep: str | None = None) -> Composed:
    """Compose and check a configuration.

    Args:
        overrides: in Hydra's override grammar; a range (`method.width=choice(8,64)`) joins the search space, and a
            fixed value takes its key out of it.
        config_dir: the user's own configuration, searched before the shipped one (and its `sweeps/` before `./sweeps`
            and the shipped sweeps).
        default_sweep: the sweep where the overrides name none.

    Raises:
        UserInputError: every problem, at once.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise UserInputError(f"--config-dir={config_dir}: no such directory")
    parsed, problems = _parse(overrides)
    if problems:
        raise UserInputError(*problems)
    ranges = {o.key_or_group: _range_text(o) for o in parsed if o.is_sweep_override()}
    fixed = [o for o in parsed if not o.is_sweep_override()]
    groups = [o for o in fixed if o.key_or_group in (*_GROUPS, "sweep") and not o.is_delete()]
    problems = _check_groups(groups, config_dir)
    problems += [
        f"{key}={text}: a group cannot be a range" for key, text in ranges.items() if key in (*_GROUPS, "sweep")
    ]
    if problems:
        raise UserInputError(*problems)
    chosen = next((str(o.value()) for o in reversed(groups) if o.key_or_group == "sweep"), default_sweep)
    arguments = [_forced(o) for o in fixed if o not in groups]
    arguments += [str(o.input_line) for o in groups if o.key_or_group != "sweep"]
    values = _compose(arguments, chosen, config_dir)
    space = values.get("search_space")
    if isinstance(space, dict):
        pinned = {o.key_or_group for o in fixed}
        values["search_space"] = {k: str(v) for k, v in space.items() if k not in pinned} | ranges
    config = validate(values)
    dimensions = _check_space(config, values)
    kept = tuple(str(o.input_line) for o in fixed if o.key_or_group != "sweep")
    return Composed(config, values, dimensions, (f"sweep={chosen}", *kept) if chosen else kept, chosen)


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """The names a group can take, the user's own among them."""
    if group == "sweep":
        return sorted(_sweep_files(config_dir))
    roots = [root for root in (config_dir, _shipped("conf")) if root is not None]
    return sorted({path.stem for root in roots for path in (root / group).glob("*.yaml")})


def _parse(overrides: list[str]) -> tuple[list[Override], list[str]]:
    parser = OverridesParser.create()
    parsed, problems = [], []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            problems.append(f"{text!r}: {str(error).splitlines()[0]}; expected key=value in Hydra's override grammar")
            continue
        if override.key_or_group.split(".")[0] in ("hydra", "search_space"):
            problems.append(f"{text!r}: set the range of a key by the key itself, e.g. method.width=choice(8,64)")
        elif override.is_delete() and not override.key_or_group.startswith("objectives."):
            problems.append(f"{text!r}: a key cannot be deleted; set it to null, or fix it: key=value")
        else:
            parsed.append(override)
    return parsed, problems


def _range_text(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


def _forced(override: Override) -> str:
    """Let Hydra accept any key: the schema names the unknown ones, all at once and with what is near."""
    if override.is_delete():
        return str(override.input_line)
    return "++" + str(override.input_line).lstrip("+")


def _check_groups(groups: list[Override], config_dir: Path | None) -> list[str]:
    problems = []
    for override in groups:
        group, name = override.key_or_group, override.value()
        known = options(group, config_dir)
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            problems.append(f"{group}={name}: there is no such {group}; {hint}allowed: {', '.join(known)}")
    return problems


def _shipped(folder: str) -> Path:
    """A folder that ships with the product: inside the package when installed, at the top of the tree in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent.parent / folder


def _sweep_files(config_dir: Path | None) -> dict[str, Path]:
    roots = [_shipped("sweeps"), Path("sweeps").absolute()]
    if config_dir is not None:
        roots.append(config_dir / "sweeps")
    return {path.stem: path for root in roots for path in sorted(root.glob("*.yaml"))}


def _compose(arguments: list[str], sweep: str | None, config_dir: Path | None) -> dict[str, Any]:
    shipped = _shipped("conf")
    if config_dir is not None:
        arguments = [*arguments, f"hydra.searchpath=[{shipped.as_uri()}]"]
    main = config_dir.absolute() if config_dir is not None else shipped
    if sweep is not None:
        path = _sweep_files(config_dir)[sweep]
        try:
            node = OmegaConf.load(path)
        except Exception as error:  # yaml has its own family of exceptions
            raise UserInputError(f"{path}: not valid YAML: {_flat(error)}") from None
        ConfigStore.instance().store(group="sweep", name=sweep, node=node, package="_global_")
        arguments = [f"+sweep={sweep}", *arguments]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(main), version_base=hydra.__version__):
            composed = hydra_compose("config", overrides=arguments)
            values: Any = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserInputError(_flat(error)) from None
    result: dict[str, Any] = values
    return result


def _check_space(config: SweepConfig, values: dict[str, Any]) -> dict[str, Dimension]:
    """Parse the search space and check points of it, the ends among them, against the schema."""
    problems = [
        f"search_space.{key}: only keys of method and train can be searched, not {', '.join(_NOT_SEARCHED)}"
        for key in config.search_space
        if not key.startswith(_SEARCHED) or key in _NOT_SEARCHED
    ]
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
    if config.study.sampler == "grid" and space:
        grid_points(space)
    return space


def _probes(dimension: Dimension) -> tuple[ParamValue, ...]:
    if isinstance(dimension, Choices):
        return dimension.values
    if isinstance(dimension, IntRange):
        return dimension.low, dimension.high
    # A point between the ends shows where whole numbers are wanted.
    between = dimension.low + (dimension.high - dimension.low) / 2.7182818
    return dimension.low, between, dimension.high


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
