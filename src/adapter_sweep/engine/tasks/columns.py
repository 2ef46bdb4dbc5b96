"""From a table's values to labelled rows, every problem named by its place; for local files and the hub."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from adapter_sweep.engine.tasks.splits import Row

__all__ = ["Record", "check_columns", "choose_columns", "label_name", "to_rows"]

_SHOWN = 5  # places named in one problem


class Record(NamedTuple):
    """One row of a table as it was read: where it stands, and its values."""

    place: int
    texts: tuple[object, ...]
    label: object


def choose_columns(text_columns: Sequence[str], label_column: str) -> list[str]:
    """What is wrong with the choice of columns itself; empty if nothing is."""
    problems = []
    if isinstance(text_columns, str) or not 1 <= len(text_columns) <= 2:
        problems.append(f"text_columns={text_columns!r}: give one or two column names")
    elif len({*text_columns, label_column}) < len(text_columns) + 1:
        problems.append(f"text_columns={list(text_columns)}, label_column={label_column!r}: a column is named twice")
    return problems


def check_columns(where: str, wanted: Mapping[str, str], present: Sequence[str]) -> list[str]:
    """Problems of `wanted` columns (name -> what it is for) that are not, or not once, in `present`."""
    problems = []
    for column, role in wanted.items():
        count = list(present).count(column)
        if count == 0:
            listed = ", ".join(repr(name) for name in present) or "none"
            problems.append(f"{where}: no column {column!r} for {role}; the columns are {listed}")
        elif count > 1:
            problems.append(f"{where}: {count} columns are called {column!r}; {role} needs one")
    return problems


def to_rows(records: Iterable[Record], where: str, unit: str) -> tuple[list[Row], list[str]]:
    """The rows, texts stripped, and what is wrong with them: one problem a kind, naming the first places.

    Args:
        where: the file or split, for messages.
        unit: what a place counts, `line` or `row`.
    """
    rows: list[Row] = []
    wrong: dict[str, list[int]] = {}
    for place, texts, label in records:
        bad = None
        name = None
        try:
            name = label_name(label)
        except TypeError:
            bad = f"label is {type(label).__name__}, not text, a whole number or true/false"
        else:
            if name is None:
                bad = "label missing"
        for text in texts:
            if text is None or (isinstance(text, str) and not text.strip()):
                bad = "text empty"
            elif not isinstance(text, str):
                bad = f"text is {type(text).__name__}, not a string"
            elif not _encodable(text):
                bad = "text has half of a Unicode surrogate pair"
        if bad is not None or name is None:
            wrong.setdefault(bad or "", []).append(place)
            continue
        stripped = [str(text).strip() for text in texts]
        rows.append(Row(stripped[0], stripped[1] if len(stripped) > 1 else None, name))
    if not rows and not wrong:
        return rows, [f"{where}: there are no rows"]
    return rows, [f"{where}: {what} in {_places(places, unit)}" for what, places in wrong.items()]


def label_name(value: object) -> str | None:
    """A label as text, the same whatever type a format gave it: 1, 1.0, `"1"` and `"1.0"` are all `1`.

    None where the label is missing (empty, null, NaN).

    Raises:
        TypeError: a value that cannot be a class, e.g. a list.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | bool | int | float):
        raise TypeError(type(value).__name__)
    text = str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text) or None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell such a text, no tokenizer takes it
        return False
    return True


def _places(places: Sequence[int], unit: str) -> str:
    shown = ", ".join(str(place) for place in places[:_SHOWN])
    if len(places) > _SHOWN:
        return f"{unit}s {shown}, … ({len(places)} in all)"
    return f"{unit}{'s' if len(places) > 1 else ''} {shown}"
