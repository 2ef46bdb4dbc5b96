"""Reading CoNLL files: a token a line, its tag in a column beside it, a blank line between sentences."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from adapter_sweep.engine.tasks.columns import Record
from adapter_sweep.engine.tasks.entities import is_tag
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.errors import UserInputError

__all__ = ["read_conll"]

_SHOWN = 5


def read_conll(path: Path, text: str, layout: Layout) -> list[Record]:
    """The sentences, each placed at its first line.

    Columns are parted by tabs, in a line without any by spaces. Lines that begin with `-DOCSTART-` are left out, and so
    are comments: lines that begin with `#` and are no token with a tag.

    Raises:
        UserInputError: lines with another number of columns than most, or without a token or a tag; or the columns that
            are asked for are not there, or count the words.
    """
    lines = [(number, _cells(line)) for number, line in enumerate(text.split("\n"), start=1)]
    counts = Counter(len(cells) for _, cells in lines if cells and not cells[0].startswith(("#", "-DOCSTART-")))
    width = counts.most_common(1)[0][0] if counts else 0
    if width < 2:
        raise UserInputError(f"{path}: no lines with a token and a tag, parted by a tab or by spaces")
    word_at, tag_at = _columns(path, layout, width)
    records: list[Record] = []
    words: list[str] = []
    tags: list[str] = []
    problems = []
    started = 1
    for number, cells in [*lines, (len(lines) + 1, [])]:
        if not cells or cells[0].startswith("-DOCSTART-"):
            if words:
                records.append(Record(started, (words,), (tags,)))
            words, tags = [], []
            continue
        told = cells[tag_at] if len(cells) == width else None
        if cells[0].startswith("#") and (told is None or not is_tag(told)):
            continue
        if told is None:
            problems.append(f"{path}: line {number} has {len(cells)} columns, the others have {width}")
        elif not cells[word_at]:
            problems.append(f"{path}: line {number} has no token")
        elif not is_tag(told):
            problems.append(f"{path}: line {number}: the tag {told!r} is neither O nor B-, I-, E- or S- and a type")
        else:
            started = started if words else number
            words.append(cells[word_at])
            tags.append(told)
    if not problems and _counts(records):
        raise UserInputError(
            f"{path}: column {word_at + 1} counts the words of each sentence; name the columns by their numbers, "
            f"1 to {width}: task.text=2 for the words, and task.label for the tags, if you mean those"
        )
    if problems:
        more = [f"{path}: … {len(problems) - _SHOWN} more such lines"] if len(problems) > _SHOWN else []
        raise UserInputError(*problems[:_SHOWN], *more)
    return records


def _counts(records: Sequence[Record]) -> bool:
    """Whether the words of every sentence are 1, 2, 3, … or 0, 1, 2, …, as beside the words of GermEval 2014."""
    longest = max((len(cast(list[str], each.texts[0])) for each in records), default=0)
    return longest > 1 and any(
        all(each.texts[0] == [str(n) for n, _ in enumerate(cast(list[str], each.texts[0]), start)] for each in records)
        for start in (0, 1)
    )


def _cells(line: str) -> list[str]:
    """The columns of a line; none of a blank one. Only tab and space part them: a token may be another white space."""
    if not line.strip():
        return []
    if "\t" in line:
        return [cell.strip(" \r") for cell in line.rstrip("\r\t").split("\t")]
    return [cell for cell in line.strip(" \r").split(" ") if cell]


def _columns(path: Path, layout: Layout, width: int) -> tuple[int, int]:
    """Where the token and the tag stand, from 0."""
    chosen = []
    named = (layout.text_columns or ("1",))[0], (layout.label_columns or (str(width),))[0]
    for column in named:
        if not column.isdecimal() or not 1 <= int(column) <= width:
            raise UserInputError(
                f"{path}: no column {column!r}; columns of a CoNLL file are numbers, here 1 to {width}"
            )
        chosen.append(int(column) - 1)
    if layout.language is not None:
        raise UserInputError(
            f"{path}: a CoNLL file has no column {layout.language!r} for the language; give one file each"
        )
    return chosen[0], chosen[1]
