"""Tasks: texts or images with labels in three splits, from the built-in sets, the user's files or the hub."""

from adapter_sweep.engine.tasks.builtin import BUILTIN_TASKS, load_builtin
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.engine.tasks.hub import load_hub
from adapter_sweep.engine.tasks.images import load_images
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.engine.tasks.local import load_local

__all__ = [
    "BUILTIN_TASKS",
    "Layout",
    "Split",
    "TaskData",
    "load_builtin",
    "load_hub",
    "load_images",
    "load_local",
]
