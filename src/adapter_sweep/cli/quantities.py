"""Numbers as people write them on the command line: `100k`, `1.5M`, `1e5`, `100_000`."""

import math
import re

from adapter_sweep.errors import UserInputError

__all__ = ["read_accuracy", "read_count", "read_ratio"]

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_NUMBER = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)([kmgb]?)", re.ASCII | re.IGNORECASE)


def read_count(option: str, text: str) -> float:
    """A whole number of things, at least 1.

    Raises:
        UserInputError: it is not one.
    """
    value = _read(text, units=True)
    if value is None or value < 1 or not value.is_integer():
        raise UserInputError(f"{option}={text}: not a number of parameters; allowed: e.g. 100k, 1.5M, 1e5, 100_000")
    return value


def read_ratio(option: str, text: str) -> float:
    """A ratio above 0.

    Raises:
        UserInputError: it is not one.
    """
    value = _read(text)
    if not value:
        raise UserInputError(f"{option}={text}: not a ratio; allowed: a number above 0, e.g. 1.05")
    return value


def read_accuracy(option: str, text: str) -> float:
    """A score by whichever metric: from 0 to 1, of a correlation from -1.

    Raises:
        UserInputError: it is not one.
    """
    bare = text.strip().removeprefix("-")
    value = _read(bare)
    if value is None or value > 1:
        allowed = "a number from 0 to 1, e.g. 0.8; of a correlation from -1 to 1"
        raise UserInputError(f"{option}={text}: not an accuracy; allowed: {allowed}")
    return value if bare == text.strip() else -value


def _read(text: str, *, units: bool = False) -> float | None:
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (found[2] and not units):
        return None
    # 1.1M is 1.1 * 1e6 = 1100000.0000000002 in binary: what was meant is the nearest number of few digits.
    value = float(f"{float(found[1].replace('_', '')) * _UNITS[found[2].lower()]:.12g}")
    return value if math.isfinite(value) else None
