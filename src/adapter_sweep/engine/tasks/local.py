"""The user's own files as a task."""

import hashlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from adapter_sweep.engine.tasks.columns import to_rows
from adapter_sweep.engine.tasks.data import TaskData
from adapter_sweep.engine.tasks.files import read_files
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.engine.tasks.rows import Row
from adapter_sweep.engine.tasks.splits import assemble
from adapter_sweep.errors import UserInputError

__all__ = ["Files", "load_local"]

_AnyPath = str | PathLike[str]
Files = _AnyPath | Sequence[_AnyPath] | Mapping[str, _AnyPath | Sequence[_AnyPath]]
"""A file; text files side by side, a column each; or one of these for each language."""


def load_local(
    path: Files,
    layout: Layout,
    *,
    validation_path: Files | None = None,
    test_path: Files | None = None,
    delimiter: str | None = None,
    header: bool = True,
    split_seed: int = 0,
    max_train_examples: int | None = None,
    name: str = "local",
) -> TaskData:
    """A task from CSV, TSV, JSON lines or Parquet, by extension; `tokens` from CoNLL and `spans` from SQuAD's JSON too.

    Without `validation_path` or `test_path` that split is carved from `path`, a tenth, stratified. Given
    held-out files stay as they are: texts they share with the train file go from train, and texts that
    validation shares with test go from validation, each with a logged warning. Class labels become names as text,
    in numeric order when all are numbers. In CSV, `NA`, `null` and the like are text; only an empty label is
    missing, and of `multi_label` it says that no label holds. Images' paths are relative to the file's folder.

    Args:
        delimiter: of CSV and TSV files, where it is not the usual one.
        header: whether the first line of CSV and TSV files names the columns; else they are `1`, `2`, ….

    Raises:
        UserInputError: everything that is wrong with the files, with line numbers (row numbers for Parquet).
    """
    problems = layout.problems()
    if problems:
        raise UserInputError(*problems)
    given = {"train": path, "validation": validation_path, "test": test_path}
    splits: dict[str, list[Row]] = {}
    origins: list[str] = []
    for part, files in given.items():
        if files is None:
            continue
        splits[part] = []
        for language, paths in _by_language(files).items():
            where = ", ".join(map(str, paths))
            try:
                records, unit = read_files(paths, layout, delimiter=delimiter, header=header)
            except UserInputError as error:
                problems += error.problems
                continue
            rows, wrong = to_rows(records, where, unit, layout, language=language, folder=paths[0].parent)
            splits[part] += rows
            problems += wrong
            origins += [f"{part}: {file.name} (sha256 {_sha256(file)})" for file in paths]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    return assemble(
        name,
        ", ".join(origins),
        type=layout.type,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        label_names=layout.labels if len(layout.labels) > 1 else None,
        split_seed=split_seed,
        max_train_examples=max_train_examples,
    )


def _by_language(files: Files) -> dict[str | None, list[Path]]:
    """The files of each language; of None where there is one."""
    if isinstance(files, Mapping):
        return {language: _listed(each) for language, each in files.items()}
    return {None: _listed(files)}


def _listed(files: _AnyPath | Sequence[_AnyPath]) -> list[Path]:
    listed = [files] if isinstance(files, str | PathLike) else files
    return [Path(file).expanduser().absolute() for file in listed]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
