"""Whoever watches a study: told of each trial as it goes, and never the end of one."""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from adapter_sweep.engine.training import Progress
from adapter_sweep.records import ParamValue, TrialView
from adapter_sweep.study.stopping import StopSign

__all__ = ["CarefulWatcher", "Watcher", "WatcherOfTrial"]

_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Whoever watches a study, in which several trials may run at once: each call says which trial it is about.

    What a watcher raises is logged once and costs no trial.
    """

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        """A trial begins."""

    def stage(self, number: int, text: str) -> None:
        """What is being done, in a few words."""

    def step(self, number: int, progress: Progress) -> None:
        """A training step ended."""

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch ended and the validation split was scored."""

    def resumed(self, number: int, step: int) -> None:
        """A trial's training goes on from a checkpoint that was made after this step."""

    def end(self, trial: TrialView) -> None:
        """A trial ended, in whatever state; called after the ledger was told."""


class CarefulWatcher:
    """Passes on to a watcher what it is told; one that fails (a closed terminal, a full disk) is logged once."""

    def __init__(self, watch: Watcher, told: Callable[[int], None]) -> None:
        self._watch = watch
        self._told = told
        self._logged = False

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        """See `Watcher`."""
        self._pass(self._watch.begin, number, params)

    def stage(self, number: int, text: str) -> None:
        """See `Watcher`."""
        self._pass(self._watch.stage, number, text)

    def step(self, number: int, progress: Progress) -> None:
        """See `Watcher`."""
        self._pass(self._watch.step, number, progress)

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """See `Watcher`."""
        self._pass(self._watch.epoch, number, epoch, epochs, loss, accuracy)

    def resumed(self, number: int, step: int) -> None:
        """See `Watcher`."""
        self._pass(self._watch.resumed, number, step)

    def end(self, trial: TrialView) -> None:
        """See `Watcher`."""
        self._pass(self._watch.end, trial)

    def told(self, number: int) -> None:
        """The ledger has the trial."""
        self._pass(self._told, number)

    def _pass(self, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            if not self._logged:
                _log.warning("whoever watches the study failed, and the study goes on", exc_info=True)
            self._logged = True


class WatcherOfTrial:
    """Whoever watches one trial: tells the study's watcher which trial it is, and sees that the study is to stop."""

    def __init__(self, number: int, watch: Watcher, stop: StopSign | None) -> None:
        self._number = number
        self._watch = watch
        self._stop = stop

    def stage(self, text: str) -> None:
        """See `TrialWatcher`."""
        self._look()
        self._watch.stage(self._number, text)

    def step(self, progress: Progress) -> None:
        """See `TrialWatcher`."""
        self._look()
        self._watch.step(self._number, progress)

    def _look(self) -> None:
        if self._stop is not None:
            self._stop.check()

    def epoch(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """See `TrialWatcher`."""
        self._watch.epoch(self._number, epoch, epochs, loss, accuracy)

    def resumed(self, step: int) -> None:
        """See `TrialWatcher`."""
        self._watch.resumed(self._number, step)
