"""Files that are whole or not there, whatever dies while they are written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write the file under; once that is done it is synced to the disk and renamed.

    Guarantees: whoever opens `path`, after a crash of the machine too, finds what was there before or all that is new.
    Processes may write one file at once: each writes its own, and the last one renamed stays. What is raised inside
    leaves nothing; a process that is killed leaves a hidden file that nobody reads.

    Raises:
        OSError: the file cannot be written; what was there before still is.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        yield aside
        _sync(aside)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every file system syncs folders; the name is atomic in any case
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file; see `replacing`."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
