"""A data set of the Hugging Face hub, or a local folder laid out like one, as a task.

`datasets` is imported on use only: the rest of the engine runs where it is not installed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from adapter_sweep.engine.tasks.columns import Record, check_columns, choose_columns, to_rows
from adapter_sweep.engine.tasks.data import TaskData
from adapter_sweep.engine.tasks.splits import Row, assemble
from adapter_sweep.errors import AdapterSweepError, UserInputError

__all__ = ["load_hub"]

_UNLABELLED = -1  # how hub data sets write "no label"
_log = logging.getLogger(__name__)


def load_hub(
    name: str,
    *,
    config: str | None = None,
    revision: str | None = None,
    text_columns: Sequence[str],
    label_column: str,
    train_split: str = "train",
    validation_split: str | None = "validation",
    test_split: str | None = "test",
    split_seed: int = 0,
    max_train_examples: int | None = None,
) -> TaskData:
    """A task from `datasets.load_dataset`; no code of the data set is run.

    A held-out split given as None is carved from train, a tenth, stratified. So is one without labels (every
    label is -1, as in the test splits of GLUE), with a warning. Single rows with label -1 of a class-label
    column are left out, with a warning. Where the label column has class names, they are the label names.

    Args:
        name: `owner/name` on the hub, or a folder with data files.
        config: the data set's configuration, where it has several.
        revision: branch, tag or commit; pin a commit for a study that can be repeated.

    Raises:
        UserInputError: no such configuration, split or column, or rows that cannot be used.
        AdapterSweepError: the data set cannot be had: not found, gated, unreachable, or it needs to run code.
    """
    problems = choose_columns(text_columns, label_column)
    if problems:
        raise UserInputError(*problems)
    data = _load(name, config, revision)
    wanted = {"train": train_split, "validation": validation_split, "test": test_split}
    roles = {**dict.fromkeys(text_columns, "text"), label_column: "the label"}
    parts: dict[str, list[Row] | None] = {"validation": None, "test": None}
    label_names: list[str] | None = None
    for part, split in wanted.items():
        if split is None:
            continue
        where = f"data set {name}, split {split!r}"
        if split not in data:
            option = "" if part == "train" else f", or none to carve {part} from train"
            problems.append(f"{where}: no such split for {part}; there are {', '.join(data)}{option}")
            continue
        table = data[split]
        wrong = check_columns(where, roles, table.column_names)
        if wrong:
            problems += wrong
            continue
        names = getattr(table.features[label_column], "names", None)
        label_names = list(names) if names is not None and part == "train" else label_names
        labels = list(table[label_column])
        if part != "train" and labels and all(label == _UNLABELLED for label in labels):
            _log.warning("%s: has no labels (all are -1); %s is carved from %s", where, part, train_split)
            continue
        parts[part], wrong = to_rows(_records(table, text_columns, labels, names, where), where, "row")
        problems += wrong
    train = parts.get("train")
    if problems or train is None:
        raise UserInputError(*problems)
    return assemble(
        name,
        _source(name, config, revision, data[train_split]),
        train=train,
        validation=parts["validation"],
        test=parts["test"],
        label_names=label_names,
        split_seed=split_seed,
        max_train_examples=max_train_examples,
    )


def _records(
    table: Any, text_columns: Sequence[str], labels: list[Any], names: Sequence[str] | None, where: str
) -> Iterator[Record]:
    """The rows from 1; class indices as names, rows without a class left out."""
    dropped = 0
    texts = zip(*(table[column] for column in text_columns), strict=True)
    for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if names is not None and label == _UNLABELLED:
            dropped += 1
            continue
        yield Record(row, text, names[label] if names is not None and label is not None else label)
    if dropped:
        _log.warning("%s: left out %d rows without a label (-1)", where, dropped)


def _load(name: str, config: str | None, revision: str | None) -> Any:
    import datasets

    what = f"data set {name}" + (f", config {config}" if config else "")
    try:
        return datasets.load_dataset(name, config, revision=revision)
    except ValueError as error:
        if "BuilderConfig" in str(error) or "Config name is missing" in str(error):
            raise UserInputError(f"{what}: {' '.join(str(error).split())}") from error
        raise _unavailable(what, revision, error) from error
    except Exception as error:  # datasets, the hub's client and the file readers each have their own
        raise _unavailable(what, revision, error) from error


def _unavailable(what: str, revision: str | None, error: Exception) -> AdapterSweepError:
    return AdapterSweepError(
        f"{what}, revision {revision or '(default)'}: cannot be loaded: {type(error).__name__}: "
        f"{str(error).strip() or '(no message)'}\n"
        "Check the name, the revision and the network; a gated data set needs HF_TOKEN. To work offline, "
        "load it once with network, keep HF_HOME (or HF_DATASETS_CACHE), set HF_HUB_OFFLINE=1; HF_ENDPOINT "
        "names a mirror."
    )


def _source(name: str, config: str | None, revision: str | None, train: Any) -> str:
    """Where the data came from, with the commit behind a branch name where `datasets` recorded it."""
    urls = list(train.info.download_checksums or {})
    commits = {url.split("@", 1)[1].split("/", 1)[0] for url in urls if url.startswith("hf://") and "@" in url}
    commit = f", commit {commits.pop()}" if len(commits) == 1 else ""
    shown = f", config {config}" if config else ""
    return f"data set {name}{shown}, revision {revision or '(default)'}{commit}"
