"""Labelled rows of any task type, before they are split."""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from adapter_sweep.engine.tasks.pictures import Picture

__all__ = ["Row", "drop_duplicates", "labels_in", "sort_label_names"]

_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One labelled example as it was read.

    Attributes:
        text: of `tokens` the words joined by spaces, of `spans` the question.
        pair: the second text; of `spans` the context.
        label: a class's name; the names of the labels that hold, sorted; a number; entities, each (first word, last
            word, type); accepted answers, each (first character in the context, text).
        group: the document that it must stay together with.
        words: of `tokens` the words.
        language: of multilingual data.
        picture: of images; `text` is its digest.
    """

    text: str
    pair: str | None
    label: Any
    group: str | None = None
    words: tuple[str, ...] | None = None
    language: str | None = None
    picture: Picture | None = None


def labels_in(row: Row) -> set[str]:
    """The names in a row's label: its class, its labels or its entities' types; none of a number or an answer."""
    if isinstance(row.label, str):
        return {row.label}
    if isinstance(row.label, float):
        return set()
    if row.words is not None:
        return {kind for _, _, kind in row.label}
    return {each for each in row.label if isinstance(each, str)}


def drop_duplicates(
    rows: Sequence[Row],
    name: str,
    *,
    key: Callable[[Row], Hashable] = lambda row: (row.text, row.pair),
    level: int = logging.WARNING,
) -> list[Row]:
    """The rows without those whose `key` an earlier row has; logs how many went and how many disagreed."""
    first: dict[Hashable, Row] = {}
    disagree = sum(first.setdefault(key(row), row).label != row.label for row in rows)
    removed = len(rows) - len(first)
    if removed:
        _log.log(level, "%s: removed %d duplicates, %d of them with another label", name, removed, disagree)
    return list(first.values())


def sort_label_names(labels: Iterable[str]) -> list[str]:
    """Label names in order: as numbers when all of them are numbers, else as text."""
    names = sorted(labels)
    try:
        numbers = {label: float(label) for label in names}
    except ValueError:
        return names
    # `nan` is a float too, and has no place among numbers.
    finite = all(map(math.isfinite, numbers.values()))
    return sorted(names, key=numbers.__getitem__) if finite else names
