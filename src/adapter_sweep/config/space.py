"""The search space: Hydra's sweep grammar, read by Hydra's own parser, as plain dimensions.

`choice(a, b)`, `range(start, stop, step)` (stop excluded), `interval(low, high)` (both included), `int(interval(…))`,
and `tag(log, …)` around a range or an interval for a logarithmic scale.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapter_sweep.config.layers import layer_text
from adapter_sweep.config.naming import METHOD, applying
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue

__all__ = ["Choices", "Dimension", "FloatRange", "IntRange", "grid_points", "parse_dimension", "parse_space"]

_MAX_GRID_POINTS = 100_000
_MOST = 2**53  # beyond it floating point misses whole numbers, and databases have no place for them
_GRAMMAR = "choice(a, b), range(start, stop, step), interval(low, high), int(interval(…)) or tag(log, …) around one"


@dataclass(frozen=True)
class Choices:
    """One of these values."""

    values: tuple[ParamValue, ...]


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from low to high, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high, both included; on a grid of `step` where there is one."""

    low: float
    high: float
    step: float | None = None
    log: bool = False


Dimension = Choices | IntRange | FloatRange


def parse_space(texts: Mapping[str, str]) -> dict[str, Dimension]:
    """Parse every entry of a search space.

    Raises:
        UserInputError: every entry that could not be read.
    """
    space: dict[str, Dimension] = {}
    problems: list[str] = []
    for key, text in texts.items():
        try:
            space[key] = parse_dimension(key, text)
        except UserInputError as error:
            problems.extend(error.problems)
    if problems:
        raise UserInputError(*problems)
    return space


def parse_dimension(key: str, text: str) -> Dimension:
    """Read one dimension, e.g. `tag(log, int(interval(4, 256)))`.

    Raises:
        UserInputError: it is not of the grammar, or is empty.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    where = f"search_space.{key}={text!r}"
    try:
        # Not under its own key: a method's name before it may be no word of the grammar.
        value: Any = OverridesParser.create().parse_override(f"range={text}").value()
    except HydraException as error:
        cause = next(iter(str(error).splitlines()), "not of the grammar")
        raise UserInputError(f"{where}: {cause}; allowed: {_GRAMMAR}") from None
    log = "log" in getattr(value, "tags", set())
    other = sorted(getattr(value, "tags", set()) - {"log"})
    if other:
        raise UserInputError(f"{where}: the tag {other[0]!r} is unknown; allowed: log")
    if isinstance(value, ChoiceSweep):
        return _choices(where, value.list, log)
    if isinstance(value, RangeSweep):
        return _range(where, value.start, value.stop, value.step, log)
    if isinstance(value, IntervalSweep):
        return _interval(where, value.start, value.end, log)
    raise UserInputError(
        f"{where}: not a range; allowed: {_GRAMMAR} (a fixed value goes on the command line: {key}={text})"
    )


def grid_points(space: Mapping[str, Dimension]) -> list[dict[str, ParamValue]]:
    """Every combination under Hydra keys, the last dimension varying fastest; method by method where it is searched.

    Raises:
        UserInputError: a dimension has no finite list of values, or there are too many points.
    """
    endless = [key for key, dimension in space.items() if isinstance(dimension, FloatRange) and dimension.step is None]
    if endless:
        raise UserInputError(
            *(
                f"search_space.{key}: the grid sampler needs choice(…), range(…) or int(interval(…)), not an interval"
                for key in endless
            )
        )
    parts = _parts(space)
    count = sum(math.prod(_count(dimension) for dimension in part.values()) for part in parts)
    if count > _MAX_GRID_POINTS:
        raise UserInputError(
            f"search_space: {count:,} points are too many for the grid sampler; at most {_MAX_GRID_POINTS:,}"
        )
    return [
        dict(zip(part, point, strict=True))
        for part in parts
        for point in itertools.product(*(list(_values(dimension)) for dimension in part.values()))
    ]


def _parts(space: Mapping[str, Dimension]) -> list[dict[str, Dimension]]:
    """The space under Hydra keys: one, or one for each method that is searched."""
    methods = space.get(METHOD)
    if not isinstance(methods, Choices):
        return [dict(space)]
    return [
        {key: space[name] for key, name in applying(space, method).items()} | {METHOD: Choices((method,))}
        for method in methods.values
    ]


def _count(dimension: Dimension) -> int:
    if isinstance(dimension, Choices):
        return len(dimension.values)
    if isinstance(dimension, IntRange):
        return (dimension.high - dimension.low) // dimension.step + 1
    assert dimension.step is not None
    return round((dimension.high - dimension.low) / dimension.step) + 1


def _values(dimension: Dimension) -> Iterator[ParamValue]:
    if isinstance(dimension, Choices):
        yield from dimension.values
    elif isinstance(dimension, IntRange):
        yield from range(dimension.low, dimension.high + 1, dimension.step)
    else:
        assert dimension.step is not None
        for i in range(_count(dimension)):
            yield min(dimension.low + i * dimension.step, dimension.high)


def _choices(where: str, values: list[Any], log: bool) -> Choices:
    from hydra.core.override_parser.types import QuotedString

    plain = [value.text if isinstance(value, QuotedString) else value for value in values]
    # A list of layers; a study's database holds single values, so it goes by its text.
    plain = [layer_text(v) if isinstance(v, list) and all(type(i) is int for i in v) else v for v in plain]
    if log:
        raise UserInputError(f"{where}: a choice has no scale; tag(log, …) goes around an interval or a range")
    wrong = [value for value in plain if not isinstance(value, str | int | float | bool)]
    if wrong:
        raise UserInputError(
            f"{where}: {wrong[0]!r} is not a single value; allowed: words, numbers, true and false, and lists of layers"
        )
    if not plain or len(set(map(repr, plain))) != len(plain):
        raise UserInputError(f"{where}: the choices must be distinct, and at least one")
    return Choices(tuple(plain))


def _range(where: str, start: float, stop: float, step: float, log: bool) -> Dimension:
    if log:
        raise UserInputError(
            f"{where}: a range has an even step; for a logarithmic scale use tag(log, int(interval(…)))"
        )
    if not all(map(_is_usable, (start, stop, step))):
        raise UserInputError(f"{where}: endless; start, stop and step must be finite numbers, whole ones within 2**53")
    if step <= 0 or start >= stop:
        raise UserInputError(f"{where}: empty; start must be below stop, and the step above 0")
    if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
        return IntRange(start, start + (stop - 1 - start) // step * step, step)
    steps = (stop - start) / step
    if steps > _MOST:
        raise UserInputError(f"{where}: too many steps; at most 2**53, or give an interval")
    count = max(1, math.ceil(steps - 1e-9))  # 0.1 + 0.2 is a little above 0.3
    return FloatRange(float(start), float(start + (count - 1) * step), float(step))


def _is_usable(number: float) -> bool:
    return abs(number) <= _MOST if isinstance(number, int) else math.isfinite(number)


def _interval(where: str, low: float, high: float, log: bool) -> Dimension:
    if not (_is_usable(low) and _is_usable(high)):
        raise UserInputError(f"{where}: endless; both ends must be finite numbers, whole ones within 2**53")
    if not low < high:
        raise UserInputError(f"{where}: empty; the low end must be below the high end")
    if log and low <= 0:
        raise UserInputError(f"{where}: a logarithmic scale starts above 0")
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(low, high, log=log)
    return FloatRange(float(low), float(high), log=log)
