"""Which layers hold adapters, as one text: the database of a study holds single values, and no lists."""

import re
from collections.abc import Iterable

__all__ = ["layer_text", "parsed_layers", "read_layers"]

_ALLOWED = "allowed: all, top:K (the K layers nearest the output), or a list of indices from 0 at the input, e.g. [0,3]"
_TOP = re.compile(r"top:[1-9][0-9]{0,8}")
_LIST = re.compile(r"\[ *([0-9]{1,9} *(, *[0-9]{1,9} *)*)?\]")


def layer_text(indices: Iterable[int]) -> str:
    """A list of indices as its text, ascending: `[0,3]`."""
    return f"[{','.join(map(str, sorted(indices)))}]"


def read_layers(value: object) -> str:
    """The one spelling of a value: `all`, `top:K` or `[0,3]`.

    Raises:
        ValueError: it is none of these, whatever the backbone.
    """
    if isinstance(value, str):
        if value == "all" or _TOP.fullmatch(value):
            return value
        if not _LIST.fullmatch(value):
            raise ValueError(_ALLOWED)
        value = _indices(value)
    if not isinstance(value, list | tuple) or not all(type(index) is int and index >= 0 for index in value):
        raise ValueError(_ALLOWED)
    if not value:
        raise ValueError(f"no layer is listed; {_ALLOWED}")
    if len(set(value)) < len(value):
        raise ValueError(f"a layer is listed twice; {_ALLOWED}")
    return layer_text(value)


def parsed_layers(text: str) -> str | tuple[int, ...]:
    """What `read_layers` returned, as the engine takes it: a list's text as its indices."""
    return _indices(text) if text.startswith("[") else text


def _indices(text: str) -> tuple[int, ...]:
    return tuple(int(index) for index in re.findall(r"[0-9]+", text))
