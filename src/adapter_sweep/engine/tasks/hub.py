"""A data set of the Hugging Face hub, or a local folder laid out like one, as a task.

`datasets` is imported on use only: the rest of the engine runs where it is not installed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.engine.tasks.columns import check_columns, record, to_rows
from adapter_sweep.engine.tasks.data import TaskData
from adapter_sweep.engine.tasks.labels import BadValueError, class_name
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.engine.tasks.pictures import file_bytes
from adapter_sweep.engine.tasks.rows import Row
from adapter_sweep.engine.tasks.splits import assemble
from adapter_sweep.errors import AdapterSweepError, UserInputError

__all__ = ["load_hub"]

_MADE_AGAIN = "made-again"  # beside what is damaged, which may be another program's
_UNLABELLED = -1  # how hub data sets write "no label"
_log = logging.getLogger(__name__)


def load_hub(
    name: str,
    layout: Layout,
    *,
    config: str | Sequence[str] | None = None,
    revision: str | None = None,
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
        config: the data set's configuration, where it has several; a list of configurations, each a language.
        revision: branch, tag or commit; pin a commit for a study that can be repeated.

    Raises:
        UserInputError: no such configuration, split or column, or rows that cannot be used.
        AdapterSweepError: the data set cannot be had: not found, gated, unreachable, or it needs to run code.
    """
    problems = layout.problems()
    if problems:
        raise UserInputError(*problems)
    configs: Sequence[str | None] = [config] if config is None or isinstance(config, str) else config
    wanted = {"train": train_split, "validation": validation_split, "test": test_split}
    parts: dict[str, list[Row]] = {}
    names: dict[str, None] = {}  # of all configurations, in order
    sources = []
    for each in configs:
        data = _load(name, each, revision)
        for part, split in wanted.items():
            if split is None:
                continue
            where = f"data set {name}{f', config {each}' if len(configs) > 1 else ''}, split {split!r}"
            if split not in data:
                option = "" if part == "train" else f", or none to carve {part} from train"
                problems.append(f"{where}: no such split for {part}; there are {', '.join(data)}{option}")
                continue
            wrong = check_columns(where, layout.roles(), data[split].column_names)
            if wrong:
                problems += wrong
                continue
            try:
                own_names = _class_names(data[split], layout)
            except BadValueError as error:
                problems.append(f"{where}: class names of column {layout.labels[0]!r}: {error.what}: {error.shown}")
                continue
            if part == "train":
                names |= dict.fromkeys(own_names or ())
            rows, wrong = _rows(data[split], layout, own_names, where, part, each if len(configs) > 1 else None)
            problems += wrong
            if rows is not None:
                parts.setdefault(part, []).extend(rows)
        if train_split in data:
            sources.append(_source(name, each, revision, data[train_split]))
    if problems:
        raise UserInputError(*problems)
    several = layout.labels if len(layout.labels) > 1 else tuple(names)
    return assemble(
        name if config is None or not isinstance(config, str) else f"{name}, {config}",
        "; ".join(sources),
        type=layout.type,
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts.get("test"),
        label_names=several if several and layout.type != "tokens" else None,
        split_seed=split_seed,
        max_train_examples=max_train_examples,
    )


def _class_names(table: Any, layout: Layout) -> list[str] | None:
    """The names of the label column's indices, or of those in its lists, as rows have them; None where it has none."""
    if layout.type not in ("classification", "multi_label", "tokens") or len(layout.labels) > 1:
        return None
    feature = table.features[layout.labels[0]]
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    if names is None or layout.type == "tokens":
        return names
    try:
        cleaned = [class_name(each) for each in names]
    except BadValueError:
        raise BadValueError("one is empty", repr(names)) from None
    if len(set(cleaned)) < len(cleaned):
        raise BadValueError("two are the same", repr(names))
    return cleaned


def _rows(
    table: Any, layout: Layout, names: list[str] | None, where: str, part: str, language: str | None
) -> tuple[list[Row] | None, list[str]]:
    """The rows from 1, class indices as names, rows without a class left out; None where no row has a label."""
    # Whole: datasets decodes single rows one by one. Images' bytes may be more than the memory holds.
    columns = [_images(table, c) if layout.images and c in layout.texts else table[c][:] for c in layout.columns]
    labels = columns[len(layout.texts)]
    if part != "train" and labels and all(label == _UNLABELLED for label in labels):
        _log.warning("%s: has no labels (all are -1); %s is carved from train", where, part)
        return None, []
    records = []
    for row, values in enumerate(zip(*columns, strict=True), start=1):
        read = record(row, values, layout)
        if names is not None and read.labels[0] == _UNLABELLED:
            continue
        records.append(read._replace(labels=(_named(read.labels[0], names), *read.labels[1:])))
    if len(records) < len(labels):
        _log.warning("%s: left out %d rows without a label (-1)", where, len(labels) - len(records))
    return to_rows(records, where, "row", layout, language=language)


def _images(table: Any, column: str) -> list[Any]:
    """What gives the bytes of each of a column's images, read when it is asked for."""
    from datasets import Image

    feature = table.features[column]
    if isinstance(feature, Image):
        table = table.cast_column(column, Image(decode=False))
    elif getattr(feature, "dtype", None) not in ("binary", "large_binary"):
        return list(table[column][:])  # paths; what is neither is told of
    return [partial(_image_bytes, table, column, row) for row in range(len(table))]


def _image_bytes(table: Any, column: str, row: int) -> bytes:
    value = table[row][column]
    held: bytes | None = value if isinstance(value, bytes | None) else value["bytes"]
    if held is None and isinstance(value, dict) and value["path"]:
        return file_bytes(Path(value["path"]))
    if held is None:
        raise FileNotFoundError("image missing")
    return held


def _named(value: Any, names: list[str] | None) -> Any:
    """A class index, or each of a list, as its name."""
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if names is None or value is None:
        return value
    return names[value] if 0 <= value < len(names) else f"{value} (an index without a name)"


def _load(name: str, config: str | None, revision: str | None) -> Any:
    import datasets

    what = f"data set {name}" + (f", config {config}" if config else "")
    try:
        try:
            return datasets.load_dataset(name, config, revision=revision)
        except Exception as error:
            if not _is_damage(error):
                raise
            again = Path(datasets.config.HF_DATASETS_CACHE) / _MADE_AGAIN
            why = mask_credentials(str(error))
            _log.warning("%s: its copy in the cache is damaged (%s); making it again in %s", what, why, again)
            return datasets.load_dataset(
                name, config, revision=revision, cache_dir=str(again), download_mode="reuse_cache_if_exists"
            )
    except ValueError as error:
        if "BuilderConfig" in str(error) or "Config name is missing" in str(error):
            raise UserInputError(f"{what}: {' '.join(str(error).split())}") from error
        raise _unavailable(what, revision, error) from error
    except Exception as error:  # datasets, the hub's client and the file readers each have their own
        raise _unavailable(what, revision, error) from error


def _is_damage(error: Exception) -> bool:
    """Whether a prepared copy was found and could not be read: cut short, empty, or with a file gone."""
    from pyarrow import ArrowInvalid

    # The readers' own plain OSError; those of the hub and the network are of its subclasses.
    return isinstance(error, ArrowInvalid | json.JSONDecodeError) or type(error) in (OSError, FileNotFoundError)


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
