"""The user's own files as a task."""

import hashlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from adapter_sweep.engine.tasks.columns import choose_columns, to_rows
from adapter_sweep.engine.tasks.data import TaskData
from adapter_sweep.engine.tasks.files import read_table
from adapter_sweep.engine.tasks.splits import Row, assemble
from adapter_sweep.errors import UserInputError

__all__ = ["load_local"]

_AnyPath = str | PathLike[str]


def load_local(
    path: _AnyPath,
    *,
    text_columns: Sequence[str],
    label_column: str,
    validation_path: _AnyPath | None = None,
    test_path: _AnyPath | None = None,
    delimiter: str | None = None,
    split_seed: int = 0,
    max_train_examples: int | None = None,
    name: str = "local",
) -> TaskData:
    """A task from CSV, TSV, JSON lines or Parquet, by extension (`.json` is read as JSON lines).

    Without `validation_path` or `test_path` that split is carved from `path`, a tenth, stratified. Given
    held-out files stay as they are: texts they share with the train file go from train, and texts that
    validation shares with test go from validation, each with a logged warning. Labels become names as text,
    in numeric order when all are numbers. In CSV, `NA`, `null` and the like are text; only an empty label is
    missing.

    Args:
        text_columns: one column, or two for tasks on a pair of texts.
        delimiter: of CSV and TSV files, where it is not the usual one.

    Raises:
        UserInputError: everything that is wrong with the files, with line numbers (row numbers for Parquet).
    """
    problems = choose_columns(text_columns, label_column)
    if problems:
        raise UserInputError(*problems)
    texts = tuple(column.strip() for column in text_columns)
    given = {"train": path, "validation": validation_path, "test": test_path}
    splits: dict[str, list[Row]] = {}
    origins: list[str] = []
    for part, file in given.items():
        if file is None:
            continue
        absolute = Path(file).expanduser().absolute()
        try:
            records, unit = read_table(absolute, texts, label_column.strip(), delimiter)
        except UserInputError as error:
            problems += error.problems
            continue
        splits[part], wrong = to_rows(records, str(absolute), unit)
        problems += wrong
        with absolute.open("rb") as stream:
            origins.append(f"{part}: {absolute} (sha256 {hashlib.file_digest(stream, 'sha256').hexdigest()})")
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    return assemble(
        name,
        ", ".join(origins),
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        split_seed=split_seed,
        max_train_examples=max_train_examples,
    )
