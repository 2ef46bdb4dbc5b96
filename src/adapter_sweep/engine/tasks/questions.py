"""Rows of `spans`: when two are one question on one context, and all of its accepted answers."""

import logging
from collections.abc import Sequence

from adapter_sweep.engine.tasks.labels import Answer
from adapter_sweep.engine.tasks.rows import Row

__all__ = ["context_key", "merge_answers"]

_log = logging.getLogger(__name__)


def context_key(row: Row) -> str:
    """The context, the same whatever its white space."""
    return " ".join((row.pair or "").split())


def merge_answers(rows: Sequence[Row], where: str) -> list[Row]:
    """One row for each question and context (see `context_key`), the first, with the answers of all, each once.

    Answers come in the order of the rows; their places are counted in the first row's context. A merge is logged as a
    warning with the number of rows that went.
    """
    merged: dict[tuple[str, str], Row] = {}
    for row in rows:
        first = merged.setdefault((row.text, context_key(row)), row)
        if first is not row:
            moved = [_moved(answer, row.pair or "", first.pair or "") for answer in row.label]
            label = tuple(dict.fromkeys([*first.label, *moved]))
            merged[row.text, context_key(row)] = first._replace(label=label)
    if removed := len(rows) - len(merged):
        _log.warning("%s: merged the answers of %d rows into earlier ones with their question", where, removed)
    return list(merged.values())


def _moved(answer: Answer, source: str, target: str) -> Answer:
    """The answer where it stands in a context that differs from its own in white space alone."""
    if source == target:
        return answer
    start, text = answer
    places = [place for place, letter in enumerate(target) if not letter.isspace()]
    before, letters = ("".join(part.split()) for part in (source[:start], text))
    first, last = places[len(before)], places[len(before) + len(letters) - 1]
    return first, target[first : last + 1]
