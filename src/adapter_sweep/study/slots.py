"""Who works on a trial: a locked file, which the operating system frees when its holder dies, however it dies."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from adapter_sweep.study.heart import Heart

__all__ = ["Hold", "Slot", "is_held"]


class Slot:
    """Marks a trial as worked on, for the processes of this host, until it is closed or its process ends.

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
        try:
            with suppress(OSError):  # a folder that cannot be written any more; the file says nothing without its lock
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


class Hold:
    """A trial in hand: marked so for this host by its slot, for other hosts by its heartbeat, until it is closed.

    Raises:
        OSError: the slot cannot be had; nothing is left open.
    """

    def __init__(self, path: Path, heart: Heart, trial_id: int) -> None:
        self._slot = Slot(path)
        self._heart = heart
        self._trial_id = trial_id
        try:
            heart.add(trial_id)
        except BaseException:
            self._slot.close()
            raise

    def close(self) -> None:
        """Nobody works on the trial any more, and how it ended is in the ledger."""
        self._heart.remove(self._trial_id)
        self._slot.close()


def is_held(path: Path) -> bool | None:
    """Whether a process of this host works on a trial, by its slot's file; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
