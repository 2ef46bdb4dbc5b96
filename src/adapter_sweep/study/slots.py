"""Who works on a trial: a locked file, which the operating system frees when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

__all__ = ["Slot", "is_abandoned"]


class Slot:
    """Marks a trial as worked on until it is closed or its process ends.

    Raises:
        OSError: the file cannot be made or locked; nothing is left open.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._descriptor)
            raise

    def is_at(self, path: Path) -> bool:
        """Whether this is the slot of that file."""
        return self._path == path

    def close(self) -> None:
        """Nobody works on the trial any more, and how it ended is in the ledger."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_abandoned(path: Path, *, only_this_host: bool) -> bool:
    """Whether nobody works any more on a trial that was begun and has not ended.

    Args:
        path: the file of the trial's slot.
        only_this_host: whether all workers are on this host; else a trial without a file here may be another's.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return only_this_host
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
