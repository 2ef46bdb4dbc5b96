"""The data that a configuration names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_sweep.config import SweepConfig
from adapter_sweep.config.tasks import BuiltinTask, HubTask, ImagesTask, LocalTask, Paths
from adapter_sweep.engine.tasks import Layout, TaskData, load_builtin, load_hub, load_images, load_local
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import metric_and_language

__all__ = ["load_task"]


def load_task(config: SweepConfig) -> TaskData:
    """The data a configuration names.

    Raises:
        UserInputError: what is wrong with the data, or the metric asks for other data.
        AdapterSweepError: the data cannot be had.
    """
    task = config.task
    data = _load(task)
    if task.metric == "f1" and len(data.label_names) != 2:
        named = ", ".join(data.label_names[:8]) + (", …" if len(data.label_names) > 8 else "")
        raise UserInputError(
            f"task.metric='f1': needs exactly two classes, {data.name} has {len(data.label_names)}: {named}; "
            "use macro_f1 for more"
        )
    _check_languages(config, data)
    return data


def _check_languages(config: SweepConfig, data: TaskData) -> None:
    """Check the objectives that are a language's score: only the data say which languages a column names."""
    asked = [(name, found[1]) for name in config.objectives if (found := metric_and_language(name)) and found[1]]
    spoken = sorted(set(data.validation.languages or ()))
    problems = [
        f"objectives.{name}: the validation split has no rows in {language}; it has: {', '.join(spoken) or 'none'}"
        for name, language in asked
        if language not in spoken
    ]
    if problems:
        raise UserInputError(*problems)


def _load(task: BuiltinTask | LocalTask | ImagesTask | HubTask) -> TaskData:
    common: dict[str, Any] = {"split_seed": task.split_seed, "max_train_examples": task.max_train_examples}
    if isinstance(task, BuiltinTask):
        return load_builtin(task.name, **common)
    if isinstance(task, ImagesTask):
        common |= {"validation_path": task.validation_path, "test_path": task.test_path}
        return load_images(task.path, name=task.name, **common)
    layout = Layout(
        task.type, task.text_columns, task.label_columns, task.language, task.separator, task.modality == "image"
    )
    if isinstance(task, HubTask):
        return load_hub(
            task.name,
            layout,
            config=task.config,
            revision=task.revision,
            train_split=task.train_split,
            validation_split=task.validation_split,
            test_split=task.test_split,
            **common,
        )
    paths = {"path": task.path, "validation_path": task.validation_path, "test_path": task.test_path}
    given = [(key, file) for key, files in paths.items() for file in _files(files)]
    gone = [
        f"task.{key}={file}: no such file: {Path(file).expanduser().absolute()}"
        for key, file in given
        if not Path(file).expanduser().exists()
    ]
    if gone:
        raise UserInputError(*gone)
    return load_local(
        task.path,
        layout,
        validation_path=task.validation_path,
        test_path=task.test_path,
        delimiter=task.delimiter,
        header=task.header,
        name=task.name,
        **common,
    )


def _files(paths: Paths | None) -> Iterator[str]:
    if isinstance(paths, str):
        yield paths
    elif paths is not None:
        for each in paths.values() if isinstance(paths, dict) else paths:
            yield from _files(each)
