"""Reading a user's files, each row with its place: CSV, TSV, JSON lines, Parquet, plain lines, CoNLL, SQuAD.

CSV goes through the standard library's reader, not pandas: it knows the line a row starts on, `NA` and `null`
stay text, and a row with a missing or spare cell is an error instead of being filled up.
"""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_sweep.engine.tasks.columns import Record, check_columns, record
from adapter_sweep.engine.tasks.conll import read_conll
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.engine.tasks.squad import is_squad, read_squad
from adapter_sweep.errors import UserInputError

__all__ = ["EXTENSIONS", "read_files"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_LINES = ".txt"
EXTENSIONS = (*_DELIMITERS, *_JSON_LINES, ".parquet", _LINES)


def read_files(
    paths: Sequence[Path], layout: Layout, *, delimiter: str | None = None, header: bool = True
) -> tuple[list[Record], str]:
    """The records of a file, or of text files side by side, and what their places count: `line`, `row` or `question`.

    `tokens` are read as CoNLL from any file that is no JSON or Parquet, `spans` as SQuAD from a `.json` file that is
    one object with `data`. A `.txt` file is a column, a value a line; several are columns `1`, `2`, … in their order.

    Args:
        delimiter: of CSV and TSV files, where it is not the usual one.
        header: whether the first line of CSV and TSV files names the columns; else they are `1`, `2`, ….

    Raises:
        UserInputError: every problem of the file as a whole: missing, malformed, not UTF-8, without a column.
    """
    problems = [problem for path in paths if (problem := _unreadable(path, layout, len(paths) > 1))]
    if problems:
        raise UserInputError(*problems)
    path = paths[0]
    extension = path.suffix.lower()
    separated = extension in _DELIMITERS and layout.type != "tokens"
    if delimiter is not None and not separated:
        raise UserInputError(f"delimiter={delimiter!r}: only .csv and .tsv files have one, not {path}")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UserInputError(f"delimiter={delimiter!r}: give one character, and no quotation mark or line break")
    try:
        if extension == ".parquet":
            return _parquet(path, layout), "row"
        texts = [_text(each) for each in paths]
    except OSError as error:
        raise UserInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if extension in _JSON_LINES:
        document = _document(texts[0]) if layout.type == "spans" else None
        if document is not None and is_squad(document):
            return read_squad(path, document, layout), "question"
        return _json_lines(path, texts[0], layout), "line"
    if layout.type == "tokens":
        return read_conll(path, texts[0], layout), "line"
    if extension == _LINES:
        return _lines(paths, texts, layout), "line"
    return _csv(path, texts[0], layout, delimiter or _DELIMITERS[extension], header), "line"


def _unreadable(path: Path, layout: Layout, beside: bool) -> str | None:
    """Why a file cannot be read, by its name and by what lies there."""
    extension = path.suffix.lower()
    if beside and extension != _LINES:
        return f"{path}: only {_LINES} files are read side by side, a column each"
    if layout.type == "tokens":
        if extension == ".csv":
            return f"{path}: words and tags are read from JSON lines, Parquet or CoNLL files, not from CSV"
    elif extension not in EXTENSIONS:
        return f"{path}: unknown extension {extension!r}; it may be {', '.join(EXTENSIONS)}"
    if not path.is_file():
        return f"{path}: " + ("this is not a file" if path.exists() else "no such file")
    return None


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserInputError(
            f"{path}: not UTF-8: byte 0x{error.object[error.start]:02x} in line {line} "
            f"(byte {error.start + len(data) - len(error.object)}); save the file as UTF-8"
        ) from error
    if not text.strip():
        raise UserInputError(f"{path}: the file is empty")
    return text


def _document(text: str) -> Any:
    """The text as one JSON document; None where it is none, as JSON lines are."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(paths: Sequence[Path], texts: Sequence[str], layout: Layout) -> list[Record]:
    columns = [[line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] for text in texts]
    names = [str(number) for number in range(1, len(paths) + 1)]
    problems = check_columns(", ".join(map(str, paths)), layout.roles(), names)
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{path} has {len(column)}" for path, column in zip(paths, columns, strict=True))
        problems.append(f"files side by side need as many lines each: {counts}")
    if problems:
        raise UserInputError(*problems)
    chosen = [columns[names.index(name)] for name in layout.columns]
    return [record(line, values, layout) for line, values in enumerate(zip(*chosen, strict=True), start=1)]


def _csv(path: Path, text: str, layout: Layout, delimiter: str, header: bool) -> list[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # a long document is no error
    started = 1
    table: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if cells:  # a blank line is no row
                table.append((started, cells))
            started = reader.line_num + 1
    except csv.Error as error:
        raise UserInputError(
            f"{path}: malformed row that starts in line {started}: {error} (a text with a quotation mark, "
            "the delimiter or a line break must be in quotation marks, those inside it doubled)"
        ) from error
    finally:
        csv.field_size_limit(limit)
    first = table[0][1]
    names = [cell.strip() for cell in first] if header else [str(number) for number in range(1, len(first) + 1)]
    hint = f"; is the delimiter {delimiter!r}?" if len(names) == 1 else ""
    if header and all(column.isdecimal() for column in layout.columns):
        hint += "; columns without names are 1, 2, … with header=false"
    problems = [problem + hint for problem in check_columns(str(path), layout.roles(), names)]
    problems += [
        f"{path}: line {line} has {len(cells)} cells, the {'header' if header else 'first line'} has {len(names)}"
        for line, cells in table[1:]
        if len(cells) != len(names)
    ][:5]
    if problems:
        raise UserInputError(*problems)
    at = [names.index(column) for column in layout.columns]
    return [record(line, [cells[i] for i in at], layout) for line, cells in table[header:]]


def _json_lines(path: Path, text: str, layout: Layout) -> list[Record]:
    objects: list[tuple[int, dict[str, object]]] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: JSON may hold U+2028
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{path}: line {number} is not JSON: {error}")
            continue
        if isinstance(value, dict):
            objects.append((number, value))
        else:
            problems.append(f"{path}: line {number} is a {type(value).__name__}, not a JSON object")
    present = list(dict.fromkeys(key for _, value in objects for key in value))
    if problems:
        document = _document(text)
        if document is not None:
            kind = "an array" if isinstance(document, list) else "one document"
            problems = [f"{path}: {kind} of JSON over several lines; one JSON object a line is expected"]
        raise UserInputError(*problems[:5])
    problems = check_columns(str(path), layout.roles(), present)
    if problems:
        raise UserInputError(*problems)
    return [record(line, [value.get(column) for column in layout.columns], layout) for line, value in objects]


def _parquet(path: Path, layout: Layout) -> list[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            problems = check_columns(str(path), layout.roles(), file.schema_arrow.names)
            if problems:
                raise UserInputError(*problems)
            table = file.read(columns=list(layout.columns))
        columns = [table.column(column).to_pylist() for column in layout.columns]
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # those after the first: a damaged value
        raise UserInputError(f"{path}: not a Parquet file: {error}") from error
    values = zip(*columns, strict=True)
    return [record(row, value, layout) for row, value in enumerate(values, start=1)]
