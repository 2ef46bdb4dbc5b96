"""Small files of each task type, and how a test reads them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from adapter_sweep.engine.tasks import Layout, TaskData, load_local
from adapter_sweep.errors import UserInputError


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def json_lines(path: Path, rows: Iterable[object]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def problems(path: Any, layout: Layout, **options: Any) -> tuple[str, ...]:
    """What is wrong with files, without the folder they are in."""
    first = path if isinstance(path, Path) else next(iter(path.values() if isinstance(path, dict) else path))
    with pytest.raises(UserInputError) as caught:
        load_local(path, layout, **options)
    return tuple(problem.replace(f"{first.parent}/", "") for problem in caught.value.problems)


def sizes(task: TaskData) -> tuple[int, int, int]:
    return len(task.train), len(task.validation), len(task.test)
