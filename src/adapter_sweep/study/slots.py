"""Who works on a trial: a lock in the trial's folder, which the operating system frees when its holder dies."""

import fcntl
import os
from pathlib import Path

__all__ = ["Slot", "is_abandoned"]

_LOCK = ".working"


class Slot:
    """Marks a trial as worked on until it is closed or its process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Nobody works on the trial any more."""
        os.close(self._descriptor)


def is_abandoned(folder: Path, *, only_this_host: bool) -> bool:
    """Whether nobody works any more on a trial that was begun.

    Args:
        folder: the trial's folder.
        only_this_host: whether all workers are on this host; else a trial without a mark here may be another's.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return only_this_host
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
