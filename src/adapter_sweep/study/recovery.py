"""Trials whose process died: found, told so, and queued again, or given up where it died too often."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from adapter_sweep.checkpoints import discard
from adapter_sweep.records import TrialState
from adapter_sweep.study.facts import death_of, deaths, predecessors, state_of, told_of
from adapter_sweep.study.rows import Rows
from adapter_sweep.study.slots import is_held
from adapter_sweep.study.storage import GRACE

__all__ = ["Recovery"]

_SECOND_LOOK = 1.5  # heartbeats later


class Recovery:
    """Finds the dead of a study.

    On the host a trial ran on, the lock of its slot decides at once. A trial of another host is dead when it was silent
    for `GRACE` heartbeats by the database's clock, and is so again at a second look: where that clock has jumped ahead,
    the living have been heard of by then.

    Args:
        slot: the file of a trial's slot on this host.
        folder: where a trial keeps its files.
        only_this_host: whether all workers are on this host.
        seconds: between two heartbeats.
        max_retries: how many deaths a configuration may have and be queued again.
    """

    def __init__(
        self,
        rows: Rows,
        slot: Callable[[int], Path],
        folder: Callable[[int], Path],
        *,
        only_this_host: bool,
        seconds: int,
        max_retries: int,
    ) -> None:
        self._rows = rows
        self._slot = slot
        self._folder = folder
        self._only_this_host = only_this_host
        self._seconds = seconds
        self._max_retries = max_retries
        self._suspected: dict[int, float] = {}  # since when, by the monotonic clock

    def mark_dead(self) -> int:
        """Tell the running trials whose process died; how many. To be called with the study locked."""
        trials = self._rows.trials()
        running = [trial for trial in trials if trial.state == OptunaState.RUNNING]
        held = {trial.number: is_held(self._slot(trial.number)) for trial in running}
        elsewhere = [trial for trial in running if held[trial.number] is None]
        lost = {trial.number for trial in elsewhere} if self._only_this_host else self._lost(elsewhere)
        found = 0
        for trial in running:
            if held[trial.number] is False:
                found += self.mark(trials, trial, "its process ended without a word")
            elif trial.number in lost:
                silence = "ended without a word" if self._only_this_host else f"was silent for {self._grace} s"
                found += self.mark(trials, trial, f"its process {silence}")
        return found

    def living(self) -> list[int]:
        """The numbers of the running trials that a process works on, as far as can be told at one look."""
        running = [trial for trial in self._rows.trials() if trial.state == OptunaState.RUNNING]
        held = {trial.number: is_held(self._slot(trial.number)) for trial in running}
        elsewhere = [trial for trial in running if held[trial.number] is None]
        gone = (
            set(self._rows.silent(elsewhere, self._grace))
            if not self._only_this_host
            else {one.number for one in elsewhere}
        )
        return [number for number, here in held.items() if here or (here is None and number not in gone)]

    @property
    def _grace(self) -> int:
        return GRACE * self._seconds

    def _lost(self, elsewhere: list[FrozenTrial]) -> set[int]:
        now = time.monotonic()
        silent = self._rows.silent(elsewhere, self._grace)
        self._suspected = {number: self._suspected.get(number, now) for number in silent}
        return {number for number, since in self._suspected.items() if now - since >= _SECOND_LOOK * self._seconds}

    def mark(self, trials: list[FrozenTrial], trial: FrozenTrial, reason: str) -> bool:
        """End a trial; False where its process did so after the trials were read: then it stays as it was told."""
        handle = self._rows.trial(trial)
        try:
            if told_of(trial) is not TrialState.INTERRUPTED:  # else it was interrupted, and cut short in telling so
                before = deaths(trials, trial.number)
                state = TrialState.INTERRUPTED if before < self._max_retries else TrialState.FAILED
                if state is TrialState.FAILED and before:
                    reason = f"{reason}, as it did {before} time{'s' * (before > 1)} before with this configuration"
                self._rows.note(handle, "death", {"state": state, "reason": reason})
            self._rows.study.tell(handle, state=OptunaState.FAIL, skip_if_finished=True)
        except UpdateFinishedTrialError:
            pass
        with suppress(OSError):  # as `Slot.close`
            self._slot(trial.number).unlink(missing_ok=True)
        ended = self._rows.trials()[trial.number]
        if state_of(ended) is TrialState.FAILED:  # given up: nobody goes on from there
            discard(map(self._folder, (trial.number, *predecessors(trials, trial.number))))
        return ended.state == OptunaState.FAIL and (death_of(ended) is not None or told_of(ended) == "interrupted")
