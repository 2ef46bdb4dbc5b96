"""Names where methods are chosen between: each method may have ranges of its own.

`method.rank` and `train.lr` are Hydra keys. In a space that searches `method`, a range that belongs to one method goes
by that method's name before the key, `lora.method.rank`; one without is of every method that has none of its own.
"""

import re
from collections.abc import Iterable, Mapping

from adapter_sweep.records import ParamValue

__all__ = ["METHOD", "applying", "key_of", "named_params", "overrides_of", "own_name", "owner_of", "plain_params"]

METHOD = "method"
_OWN = re.compile(r"(.+)\.((?:method|train)\.[^.]+)")


def owner_of(name: str) -> str | None:
    """The one method that a range is of; None where its name has none."""
    found = _OWN.fullmatch(name)
    return found[1] if found else None


def key_of(name: str) -> str:
    """The Hydra key that a range sets."""
    found = _OWN.fullmatch(name)
    return found[2] if found else name


def own_name(method: str, key: str) -> str:
    """The name of one method's own range for a key."""
    return f"{method}.{key}"


def applying(names: Iterable[str], method: ParamValue) -> dict[str, str]:
    """Of a space's ranges those of one method's trials, Hydra key -> name: its own, and those that all share.

    Without a searched method, `method` is None and all apply.
    """
    found: dict[str, str] = {}
    for name in names:
        owner = owner_of(name)
        if owner is None:
            found.setdefault(name, name)
        elif owner == method:
            found[key_of(name)] = name
    return found


def plain_params(params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Values under the names of their ranges as those of a trial, under Hydra keys: what its method has no part in is
    left out."""
    return {key: params[name] for key, name in applying(params, params.get(METHOD)).items()}


def named_params(names: Iterable[str], params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """A trial's values under Hydra keys as those of the ranges that they are of."""
    found = applying(names, params.get(METHOD))
    return {found.get(key, key): value for key, value in params.items()}


def overrides_of(
    overrides: Iterable[str], methods: Mapping[str, Mapping[str, object]], params: Mapping[str, ParamValue]
) -> list[str]:
    """Of a study's fixed overrides those that a trial needs: all where no method is searched.

    Else what another method has, or alone has, is left out, and so is what the trial's parameters say. A text of its
    own comes before one of every method, whichever was given last.

    Args:
        overrides: the study's, in Hydra's grammar.
        methods: every method that is searched, and its settings.
        params: the trial's.
    """
    method = params.get(METHOD)
    if not methods or not isinstance(method, str):
        return list(overrides)
    given = [(text, text.partition("=")) for text in overrides]
    named = [(text, name.lstrip("+~").strip(), equals + value) for text, (name, equals, value) in given]
    own = {key_of(name) for _, name, _ in named if owner_of(name) == method}
    kept = []
    for text, name, value in named:
        owner, key = owner_of(name), key_of(name)
        overruled = owner is None and key in own
        section, _, field = key.partition(".")
        foreign = section == METHOD and field != "" and field not in methods[method]
        if owner in (None, method) and not foreign and not overruled and key not in params:
            kept.append(text if owner is None else f"{key}{value}")
    return kept
