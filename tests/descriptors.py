"""The files that this process has open."""

import contextlib
import gc
from collections import Counter
from pathlib import Path

import pytest


def open_files(folder: Path) -> Counter[str]:
    """Those in a folder and below, each with how many descriptors it has. What is garbage is closed before.

    Of the whole process they cannot be counted: other tests' go with the garbage, and come with threads they left.
    """
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("looks at open files in /proc")
    gc.collect()
    found: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            target = str(descriptor.readlink())
            found[target] += target.startswith(f"{folder}/")
    return +found
