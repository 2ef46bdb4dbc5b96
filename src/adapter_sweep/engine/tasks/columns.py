"""From a table's values to labelled rows, every problem named by its place; for local files and the hub."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from adapter_sweep.engine.tasks.entities import count_malformed, entities
from adapter_sweep.engine.tasks.labels import (
    BadValueError,
    answers,
    class_name,
    encodable,
    label_set,
    number,
    tagged_words,
)
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.engine.tasks.pictures import picture_of
from adapter_sweep.engine.tasks.rows import Row

__all__ = ["Record", "check_columns", "record", "to_rows"]

_SHOWN = 5  # places named in one problem
_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One row of a table as it was read: where it stands, and its values."""

    place: int | str
    texts: tuple[object, ...]
    labels: tuple[object, ...]
    language: object = None


def record(place: int | str, values: Sequence[object], layout: Layout) -> Record:
    """A record of the values of `layout.columns`, in their order."""
    texts, labels = len(layout.texts), len(layout.labels)
    language = values[-1] if layout.language is not None else None
    return Record(place, tuple(values[:texts]), tuple(values[texts : texts + labels]), language)


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


def to_rows(
    records: Iterable[Record],
    where: str,
    unit: str,
    layout: Layout,
    *,
    language: str | None = None,
    folder: Path | None = None,
) -> tuple[list[Row], list[str]]:
    """The rows, texts stripped, and what is wrong with them: one problem a kind, naming the first places.

    Contexts of `spans` and words of `tokens` are left as they are. Tags that break their scheme are read as conlleval
    reads them, with a warning.

    Args:
        where: the file or split, for messages.
        unit: what a place counts, `line`, `row` or `file`.
        language: of all rows, where no column names it.
        folder: what images' paths are relative to.
    """
    rows: list[Row] = []
    wrong: dict[str, list[int | str]] = {}
    shown: dict[str, str] = {}
    tags: list[tuple[str, ...]] = []
    for each in records:
        try:
            row = _image_row(each, layout, folder) if layout.images else _row(each, layout, tags)
            rows.append(row._replace(language=_language(each.language) if layout.language is not None else language))
        except BadValueError as error:
            wrong.setdefault(error.what, []).append(each.place)
            if error.shown:
                shown.setdefault(error.what, f"; the first: {error.shown}")
    if malformed := count_malformed(tags):
        _log.warning(
            "%s: %d entities do not begin or end as the tags' scheme says; they are read as conlleval does",
            where,
            malformed,
        )
    for note, count in Counter(row.picture.note for row in rows if row.picture is not None).items():
        if note:
            _log.warning("%s: %d images %s", where, count, note)
    if not rows and not wrong:
        return rows, [f"{where}: there are no rows"]
    return rows, [f"{where}: {what} in {_places(places, unit)}{shown.get(what, '')}" for what, places in wrong.items()]


def _row(each: Record, layout: Layout, tags: list[tuple[str, ...]]) -> Row:
    """A row without its language; the tags of `tokens` are added to `tags`."""
    if layout.type == "tokens":
        words, own = tagged_words(each.texts[0], each.labels[0])
        tags.append(own)
        return Row(" ".join(words), None, entities(own), words=words)
    texts = [_text(text) for text in each.texts]
    first = texts[0].strip()
    if layout.type == "spans":  # the answers count from the context's first character
        return Row(first, texts[1], answers(each.labels[0], texts[1]))
    return Row(first, texts[1].strip() if len(texts) > 1 else None, _label(each, layout))


def _image_row(each: Record, layout: Layout, folder: Path | None) -> Row:
    label = _label(each, layout)  # first: it is cheaper to see that it is wrong
    picture = picture_of(each.texts[0], folder)
    return Row(picture.digest, None, label, picture=picture)


def _label(each: Record, layout: Layout) -> tuple[str, ...] | float | str:
    if layout.type == "multi_label":
        return label_set(each.labels, layout.labels, layout.separator)
    return number(each.labels[0]) if layout.type == "regression" else class_name(each.labels[0])


def _text(value: object) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadValueError("text empty")
    if not isinstance(value, str):
        raise BadValueError(f"text is {type(value).__name__}, not a string")
    if not encodable(value):
        raise BadValueError("text has half of a Unicode surrogate pair")
    return value


def _language(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadValueError("language missing, or not text")
    return value.strip()


def _places(places: Sequence[int | str], unit: str) -> str:
    listed = ", ".join(str(place) for place in places[:_SHOWN])
    if len(places) > _SHOWN:
        return f"{unit}s {listed}, … ({len(places)} in all)"
    return f"{unit}{'s' if len(places) > 1 else ''} {listed}"
