"""The heartbeat of the trials a process works on, as long as it lives, whatever it does with them."""

import logging
import threading
from collections.abc import Callable

__all__ = ["Heart"]

_log = logging.getLogger(__name__)


class Heart:
    """Beats for each trial in hand, from a thread of its own, which lives as long as there is one.

    Training that takes long, or waits for the disk, does not keep it from beating; a process that is stopped or dead
    does. A beat that fails, because the database is away, is left out: the next one may succeed.

    Args:
        beat: tells the database, by a trial's id.
        seconds: between two beats.
    """

    def __init__(self, beat: Callable[[int], None], seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self._trials: set[int] = set()
        self._changed = threading.Condition()
        self._beating = False

    def add(self, trial_id: int) -> None:
        """Beat for a trial: once now, whose errors are raised, then on and on."""
        self._beat(trial_id)
        with self._changed:
            self._trials.add(trial_id)
            if not self._beating:
                threading.Thread(target=self._run, name="heartbeat", daemon=True).start()
                self._beating = True

    def remove(self, trial_id: int) -> None:
        """Beat no more for a trial."""
        with self._changed:
            self._trials.discard(trial_id)
            self._changed.notify_all()

    def _run(self) -> None:
        while trials := self._wait():
            for trial_id in trials:
                try:
                    self._beat(trial_id)
                except Exception as error:  # the database's, of many kinds
                    _log.info("a heartbeat was left out: %s", error)

    def _wait(self) -> list[int]:
        with self._changed:
            self._changed.wait_for(lambda: not self._trials, timeout=self._seconds)
            self._beating = bool(self._trials)
            return list(self._trials)
