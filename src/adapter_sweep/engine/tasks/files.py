"""Reading a user's table: CSV, TSV, JSON lines or Parquet, by extension, each row with its place in the file.

CSV goes through the standard library's reader, not pandas: it knows the line a row starts on, `NA` and `null`
stay text, and a row with a missing or spare cell is an error instead of being filled up.
"""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from adapter_sweep.engine.tasks.columns import Record, check_columns
from adapter_sweep.errors import UserInputError

__all__ = ["EXTENSIONS", "read_table"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
EXTENSIONS = (*_DELIMITERS, *_JSON_LINES, ".parquet")


def read_table(
    path: Path, text_columns: Sequence[str], label_column: str, delimiter: str | None
) -> tuple[list[Record], str]:
    """The records of a table and what their places count: `line` (of the file, from 1) or `row`.

    Raises:
        UserInputError: every problem of the file as a whole: missing, malformed, not UTF-8, without a column.
    """
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise UserInputError(f"{path}: unknown extension {extension!r}; it may be {', '.join(EXTENSIONS)}")
    if not path.is_file():
        raise UserInputError(f"{path}: " + ("this is not a file" if path.exists() else "no such file"))
    if delimiter is not None and extension not in _DELIMITERS:
        raise UserInputError(f"delimiter={delimiter!r}: only .csv and .tsv files have one, not {path}")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UserInputError(f"delimiter={delimiter!r}: give one character, and no quotation mark or line break")
    try:
        if extension == ".parquet":
            return _parquet(path, text_columns, label_column), "row"
        text = _text(path)
    except OSError as error:
        raise UserInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if extension in _JSON_LINES:
        return _json_lines(path, text, text_columns, label_column), "line"
    return _csv(path, text, text_columns, label_column, delimiter or _DELIMITERS[extension]), "line"


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


def _roles(text_columns: Sequence[str], label_column: str) -> dict[str, str]:
    return {**dict.fromkeys(text_columns, "text"), label_column: "the label"}


def _csv(path: Path, text: str, text_columns: Sequence[str], label_column: str, delimiter: str) -> list[Record]:
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
    header = [cell.strip() for cell in table[0][1]]
    hint = f"; is the delimiter {delimiter!r}?" if len(header) == 1 else ""
    problems = [problem + hint for problem in check_columns(str(path), _roles(text_columns, label_column), header)]
    problems += [
        f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}"
        for line, cells in table[1:]
        if len(cells) != len(header)
    ][:5]
    if problems:
        raise UserInputError(*problems)
    at = [header.index(column) for column in text_columns]
    label_at = header.index(label_column)
    return [Record(line, tuple(cells[i] for i in at), cells[label_at]) for line, cells in table[1:]]


def _json_lines(path: Path, text: str, text_columns: Sequence[str], label_column: str) -> list[Record]:
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
        hint = " (one JSON object a line is expected, not an array)" if text.lstrip()[0] == "[" else ""
        raise UserInputError(*(problem + hint for problem in problems[:5]))
    problems = check_columns(str(path), _roles(text_columns, label_column), present)
    if problems:
        raise UserInputError(*problems)
    return [
        Record(line, tuple(value.get(column) for column in text_columns), value.get(label_column))
        for line, value in objects
    ]


def _parquet(path: Path, text_columns: Sequence[str], label_column: str) -> list[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            problems = check_columns(str(path), _roles(text_columns, label_column), file.schema_arrow.names)
            if problems:
                raise UserInputError(*problems)
            table = file.read(columns=[*text_columns, label_column])
    except pyarrow.ArrowException as error:
        raise UserInputError(f"{path}: not a Parquet file: {error}") from error
    texts = zip(*(table.column(column).to_pylist() for column in text_columns), strict=True)
    labels = table.column(label_column).to_pylist()
    return [Record(row, text, label) for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1)]
