"""Which processes of this host work on a study: each holds a locked file as long as it lives, however it ends."""

import errno
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.study.slots import Slot, is_held

__all__ = ["enter", "exclusively", "leave", "processes_at_work", "study_lock"]

_FOLDER = "at-work"
_PATIENCE_SECONDS = 10.0  # for another process to be done with the study's lock, which it holds for milliseconds
_here: dict[Path, Slot] = {}


def study_lock(locks: Path) -> Path:
    """The file whose lock whoever counts or begins trials holds; `locks` is the study's folder of locks."""
    return locks / "study.lock"


def enter(locks: Path) -> None:
    """Mark this process as one that works on a study, until it leaves or ends. The study's lock must be held."""
    if locks not in _here:
        _here[locks] = Slot(locks / _FOLDER / f"{os.getpid()}-{secrets.token_hex(4)}.lock")


def leave(locks: Path) -> None:
    """This process is done with a study."""
    if (slot := _here.pop(locks, None)) is not None:
        slot.close()


def processes_at_work(locks: Path) -> list[str]:
    """This host's other processes that work on a study, in words; none of a process that died."""
    mine = _here.get(locks)
    files = sorted((locks / _FOLDER).glob("*.lock"))
    return [
        f"process {file.stem.partition('-')[0]} on {socket.gethostname()}"
        for file in files
        if (mine is None or not mine.is_at(file)) and is_held(file)
    ]


@contextmanager
def exclusively(locks: Path, name: str, *, only_to_read: bool = False) -> Iterator[None]:
    """While open, no process of this host begins a trial of a study, nor begins to work on it.

    With `only_to_read` a folder that cannot be written is no hindrance: nobody can begin anything there.

    Raises:
        AdapterSweepError: another process holds the study's lock, or the lock cannot be made.
    """
    lock = FileLock(study_lock(locks), timeout=_PATIENCE_SECONDS)
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise AdapterSweepError(f"study {name!r} is being worked on by another process; try again") from None
    except OSError as error:
        if only_to_read and error.errno in (errno.EROFS, errno.EACCES):
            yield
            return
        raise AdapterSweepError(f"{locks}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
