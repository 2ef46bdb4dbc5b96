"""The data that a configuration names."""

from pathlib import Path
from typing import Any

from adapter_sweep.config import SweepConfig
from adapter_sweep.config.schema import BuiltinTask, HubTask, LocalTask
from adapter_sweep.engine.tasks import TaskData, load_builtin, load_hub, load_local
from adapter_sweep.errors import UserInputError

__all__ = ["load_task"]


def load_task(config: SweepConfig) -> TaskData:
    """The data a configuration names."""
    task = config.task
    common: dict[str, Any] = {"split_seed": task.split_seed, "max_train_examples": task.max_train_examples}
    if isinstance(task, BuiltinTask):
        return load_builtin(task.name, **common)
    if isinstance(task, LocalTask):
        paths = {"path": task.path, "validation_path": task.validation_path, "test_path": task.test_path}
        files = {key: Path(path).expanduser() for key, path in paths.items() if path is not None}
        gone = [f"task.{key}={paths[key]}: no such file: {f.absolute()}" for key, f in files.items() if not f.exists()]
        if gone:
            raise UserInputError(*gone)
        return load_local(
            files["path"],
            text_columns=task.text_columns,
            label_column=task.label,
            validation_path=files.get("validation_path"),
            test_path=files.get("test_path"),
            delimiter=task.delimiter,
            name=task.name,
            **common,
        )
    assert isinstance(task, HubTask)
    return load_hub(
        task.name,
        config=task.config,
        revision=task.revision,
        text_columns=task.text_columns,
        label_column=task.label,
        train_split=task.train_split,
        validation_split=task.validation_split,
        test_split=task.test_split,
        **common,
    )
