"""Which processes of this host work on a study: each holds a locked file as long as it lives, however it ends."""

import errno
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from optuna.storages import RDBStorage

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.study.locking import one_using
from adapter_sweep.study.slots import Slot, is_held

__all__ = ["enter", "exclusively", "leave", "processes_at_work"]

_FOLDER = "at-work"
_here: dict[Path, Slot] = {}


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
def exclusively(storage: RDBStorage, locks: Path, name: str, *, only_to_read: bool = False) -> Iterator[None]:
    """While open, no other process begins a trial of a study, nor begins to work on it; see `one_using`.

    With `only_to_read` a folder that cannot be written is no hindrance: nobody can begin anything there.

    Raises:
        AdapterSweepError: the lock cannot be made.
    """
    with ExitStack() as held:
        try:
            held.enter_context(one_using(storage, locks, name, however_long=True))
        except OSError as error:
            if not (only_to_read and error.errno in (errno.EROFS, errno.EACCES)):
                raise AdapterSweepError(f"{locks}: cannot be written: {error.strerror}") from None
        yield
