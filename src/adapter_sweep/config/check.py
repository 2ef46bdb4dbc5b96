"""Checking a composed configuration against the schema: every problem at once, each in the user's words."""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from adapter_sweep.config.naming import METHOD
from adapter_sweep.config.schema import SECTIONS, SweepConfig
from adapter_sweep.errors import UserInputError
from adapter_sweep.losses import smoothing_problems, weight_problems
from adapter_sweep.records import ParamValue
from adapter_sweep.scores import TaskType

__all__ = ["keys_of", "validate", "with_params"]

_MISSING = "???"  # OmegaConf's mark of a value the user has to give


def validate(values: Mapping[str, Any]) -> SweepConfig:
    """Check a composed configuration.

    Raises:
        UserInputError: every problem at once, each naming the key, the value and what is allowed.
    """
    problems = [f"{key}: missing; give it as {key}=VALUE" for key in _missing(values)]
    try:
        config = SweepConfig.model_validate(values)
    except ValidationError as error:
        problems += [_problem(detail, values) for detail in error.errors() if detail["input"] != _MISSING]
    else:
        problems += _unfit_loss(config)
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    return config


def with_params(values: Mapping[str, Any], params: Mapping[str, ParamValue]) -> dict[str, Any]:
    """A copy of a configuration's plain values with some of them set under their Hydra keys.

    The name of one of the searched methods under `method` puts that one's settings in place of the section, before any
    other key is set.

    Raises:
        KeyError: that method is not among those searched.
    """
    changed = deepcopy(dict(values))
    method = params.get(METHOD)
    if isinstance(method, str):
        changed[METHOD] = deepcopy(changed["methods"][method])
    for key, value in params.items():
        if key == METHOD and isinstance(method, str):
            continue
        *parents, last = key.split(".")
        section = changed
        for parent in parents:
            section = section[parent]
        section[last] = value
    return changed


def _unfit_loss(config: SweepConfig) -> list[str]:
    """Options of the loss that mean nothing for the task: told before a study has its name, not trial by trial."""
    kind: TaskType = getattr(config.task, "type", "classification")
    problems = smoothing_problems(kind, config.train.label_smoothing)
    return problems if config.train.class_weights == "none" else problems + weight_problems(kind)


def _missing(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            keys += _missing(value, f"{prefix}{key}.")
        elif value == _MISSING:
            keys.append(f"{prefix}{key}")
    return keys


def _problem(detail: Any, values: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: key, value, what is allowed."""
    location = _location(detail)
    key = ".".join(location)
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in ("missing", "union_tag_not_found"):
        key = f"{key}.kind" if kind == "union_tag_not_found" else key
        return f"{key}: missing; give it as {key}=VALUE"
    if kind == "union_tag_invalid":
        return f"{key}.kind={context['tag']!r}: allowed: {context['expected_tags']}"
    if kind == "extra_forbidden":
        return f"{key}={given!r}: there is no such key{_near(location, values)}"
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "literal_error":
        message = f"allowed: {context['expected']}"
    if kind == "string_pattern_mismatch":
        message = f"must match {context['pattern']}"
    if kind == "string_type" and isinstance(given, int | float):
        message += f"; quote it, in the shell as {key}=\"'TEXT'\""
    return f"{key}={given!r}: {message[0].lower()}{message[1:]}"


def _location(detail: Any) -> list[str]:
    """The user's key: without the tags that pydantic adds for a union."""
    location = [str(part) for part in detail["loc"]]
    if len(location) > 1 and location[0] in ("backbone", "task", "method"):
        location = [location[0], *location[2:]]
    return location[:2] if location[0] == "task" else location  # no key of a task has keys of its own


def _near(location: list[str], values: Mapping[str, Any]) -> str:
    section: Any = values
    for part in location[:-1]:
        section = section.get(part, {}) if isinstance(section, Mapping) else {}
    known = keys_of(location[:-1], section)
    near = difflib.get_close_matches(location[-1], known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"


def keys_of(path: list[str], section: Any) -> list[str]:
    """The keys a section can have; of a section that comes in kinds, those of its kind, or of all where it has none."""
    if not path:
        return [name for name in SweepConfig.model_fields if name != "methods"]
    models = SECTIONS.get(".".join(path), ())
    kind = section.get("kind") if isinstance(section, Mapping) else None
    matching = [model for model in models if kind in _kinds(model)] or models
    return list(dict.fromkeys(name for model in matching for name in model.model_fields))


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()
