"""Asking a study to stop: a fact in the ledger that every process that works on it looks at, on any host."""

import json
import time
from datetime import datetime
from typing import Any

import optuna
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from adapter_sweep.study.facts import PREFIX
from adapter_sweep.study.patience import patient
from adapter_sweep.study.rows import Rows

__all__ = ["STOP", "StopSign", "Stopped", "ask_to_stop"]

STOP = "stop"  # of the fact: how often the study was asked to stop, and when it was last
_LOOK_SECONDS = 2.0
_QUERY = text("SELECT value_json FROM study_user_attributes WHERE study_id = :study AND key = :key")


class Stopped(KeyboardInterrupt):
    """The study was asked to stop: an interruption, by another shell."""

    def __init__(self) -> None:
        super().__init__("stopped by adapter-sweep stop")


class StopSign:
    """Whether a study was asked to stop since a process began to work on it.

    What was asked before is taken back by beginning: nothing has to be cleared, and a process that still leaves is not
    called back by one that begins.
    """

    def __init__(self, study: optuna.Study, before: int | None = None) -> None:
        """Begin to look.

        Args:
            study: the study.
            before: how often it had been asked to stop when the work was begun; None for as often as it has been now.
        """
        self._study = study
        self.before = self._count() if before is None else before
        self._next_look = 0.0

    def check(self, *, now: bool = False) -> None:
        """Look, where `now` is set or the last look is two seconds ago: one row is read.

        Raises:
            Stopped: it was asked to stop.
            LedgerAwayError: the ledger was away for a minute; not between two steps.
        """
        if now or time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            if self._looked(now) > self.before:
                raise Stopped

    def _looked(self, must: bool) -> int:
        if must:
            return patient(self._count)()
        try:
            return self._count()
        except SQLAlchemyError:  # a database that is busy between two steps costs no trial
            return self.before

    def _count(self) -> int:
        return int(_fact(self._study).get("count", 0))


def ask_to_stop(study: optuna.Study) -> None:
    """Ask all who work on a study now to stop; the study's lock must be held."""
    count = int(_fact(study).get("count", 0)) + 1
    study.set_user_attr(PREFIX + STOP, {"count": count, "asked": datetime.now().astimezone().isoformat()})


def _fact(study: optuna.Study) -> dict[str, Any]:
    # One row: of a large study, reading every fact between two steps would cost more than the step.
    with Rows(study).database.engine.connect() as connection:
        found = connection.execute(_QUERY, {"study": study._study_id, "key": PREFIX + STOP}).scalar()
    return {} if found is None else dict(json.loads(found))
