"""Choosing between methods: which ones a search takes, each one's settings, and whose every range is."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from adapter_sweep.config.check import keys_of
from adapter_sweep.config.naming import METHOD, key_of, own_name, owner_of
from adapter_sweep.config.space import Choices, parse_dimension
from adapter_sweep.errors import UserInputError

__all__ = ["chosen_methods", "not_chosen", "settings_of", "spread", "unknown_method"]


def chosen_methods(text: str, known: Sequence[str], where: str = METHOD) -> tuple[str, ...]:
    """The methods that a range of `method` chooses between.

    Raises:
        UserInputError: it is no choice, or of what is not there.
    """
    if text.startswith("{"):
        raise UserInputError(f"{where}={text}: each range goes by its whole key, e.g. method.width: choice(8, 64)")
    dimension = parse_dimension(METHOD, text)
    if not isinstance(dimension, Choices):
        raise UserInputError(f"{where}={text}: methods are chosen by name: method=choice({', '.join(known[:2])})")
    names = [value if isinstance(value, str) else str(value) for value in dimension.values]
    problems = [unknown_method(f"{where}={text}", name, known) for name in names if name not in known]
    if problems:
        raise UserInputError(*problems)
    return tuple(names)


def unknown_method(given: str, name: str, known: Sequence[str]) -> str:
    """What is wrong with a method that is not there."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{given}: there is no such method as {name}; {hint}allowed: {', '.join(known)}"


def not_chosen(name: str, methods: Collection[str]) -> str:
    """What is wrong with a value or range of a method that is not chosen."""
    owner = owner_of(name)
    if not methods:
        return f"{name}: only a method that is chosen has ranges of its own; choose with method=choice({owner}, …)"
    return f"{name}: {owner} is not among the methods chosen; allowed: {', '.join(methods)}"


def settings_of(
    methods: Sequence[str],
    section: Callable[[str], dict[str, Any]],
    given: Mapping[str, str],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Each chosen method's settings, and what is wrong with what was given for all of them.

    Args:
        methods: those chosen.
        section: a method's composed section, with all that was given in it.
        given: what the command line and the sweep fix for all methods, field -> as it was written.
    """
    found = {method: section(method) for method in methods}
    known = {method: {*keys_of([METHOD], settings)} for method, settings in found.items()}
    lacking = [name for name in given if not any(name in keys for keys in known.values())]
    every = list(dict.fromkeys(key for settings in found.values() for key in keys_of([METHOD], settings)))
    problems = []
    for name in lacking:
        near = difflib.get_close_matches(name, every, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(every)}"
        problems.append(f"method.{given[name]}: none of {', '.join(methods)} has this key; {hint}")
    return {
        method: {key: value for key, value in settings.items() if key in known[method] or key not in given}
        for method, settings in found.items()
    }, problems


def spread(
    ranges: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]], fixed: Collection[str], asked: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """The search space in which every range of a method's key goes by its method, and what is wrong.

    A range of a method's key becomes one for each chosen method that has the key and none of its own: the best width of
    one method says little of another's. Ranges of training stay one for all methods that have none of their own.

    Args:
        ranges: as given, `method` among them.
        settings: the chosen methods' settings.
        fixed: the names of methods' own fixed values.
        asked: the ranges that no method may lack altogether; the others give way.
    """
    known = {method: {*keys_of([METHOD], own), *own} for method, own in settings.items()}
    space, problems = {METHOD: ranges[METHOD]}, []
    for name, text in ranges.items():
        section, _, field = name.partition(".")
        free = [m for m in settings if own_name(m, name) not in ranges and own_name(m, name) not in fixed]
        if owner_of(name) is not None:
            space[name] = text
        elif section != METHOD:
            space |= {name: text} if free else {}
        elif field and not any(field in keys for keys in known.values()):
            if name in asked:
                problems.append(f"search_space.{name}: none of {', '.join(settings)} has this key")
        elif field:
            space |= {own_name(method, name): text for method in free if field in known[method]}
    # What is trained, then how: the order of every table's columns.
    return dict(
        sorted(space.items(), key=lambda item: (item[0] != METHOD, key_of(item[0]).startswith("train.")))
    ), problems
