"""Following a study that a cluster's workers run: in its ledger, and by how many workers there are."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from adapter_sweep.cli.display import Display
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import TrialState
from adapter_sweep.study.commands import command
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.stopping import Stopped

__all__ = ["Crew", "Follower", "Seen"]

_LOOK_SECONDS = 1.0
_LEAVE_SECONDS = 7.0  # for workers that were told to leave to mark their trials: before this process has to be gone
_SHOW_SECONDS = 15.0  # for workers to send MLflow what their last trials left
_FRUITLESS_GENERATIONS = 3  # of workers, before a trial began: the next one would end so as well


@dataclass(frozen=True)
class Seen:
    """The workers at one look.

    Attributes:
        alive: how many there are, those that wait for a place included.
        failed: what those that ended since the last look failed with, as another one would.
        ended: how the others ended, in words: by themselves, cancelled or lost; with the end of what they wrote.
    """

    alive: int
    failed: Sequence[Exception]
    ended: Sequence[str]


class Crew(Protocol):
    """The workers, as a cluster's software has them."""

    def begin(self) -> None:
        """Have the errand begun by one of them, and wait for it.

        Raises:
            AdapterSweepError: it could not be begun, or its worker was lost.
        """

    def start(self, most: int) -> int:
        """Start workers, no more than `most`, nor than are asked for in all; how many."""

    def look(self) -> Seen:
        """What has become of the workers."""

    def leave(self) -> None:
        """Tell all of them to mark their trials and leave; returns at once."""

    def close(self) -> None:
        """Nothing is left running."""


class Follower:
    """Follows a study in its ledger, and has as many workers as there are trials left for them."""

    def __init__(self, ledger: Ledger, crew: Crew, publisher: Publisher, console: Console, display: Display) -> None:
        self._ledger, self._crew, self._publisher = ledger, crew, publisher
        self._console, self._display = console, display
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._failed: list[Exception] = []
        self._fruitless: list[str] = []  # how workers ended since a trial last began
        self._size = 1  # of the crew, when it was largest

    def run(self, url: str, results_dir: Path, asked: int) -> None:
        """Follow the study until it has its trials.

        Raises:
            KeyboardInterrupt: as it came, or because the study was asked to stop; the workers were told to leave.
            AdapterSweepError: the trials cannot be had: what a worker failed with, or how the last one ended.
        """
        ledger = self._ledger
        ledger.attend()
        view, recovered = ledger.view(), ledger.recover()
        over = [trial for trial in view.trials if trial.state is not TrialState.RUNNING]
        self._begun.update(trial.number for trial in over)
        self._ended.update(trial.number for trial in over)
        total, done = min(view.n_trials, asked), len(ledger.view().counted())  # others may have asked for more
        self._publisher.begin()
        workers = self._size = self._crew.start(total - done) if done < total else 0
        self._display.opening(view, total, results_dir, recovered=recovered, workers=workers)
        try:
            with self._display.progress(done, total):
                self._follow(total)
        except KeyboardInterrupt as interrupt:
            self._leave()
            how = "Stopped" if isinstance(interrupt, Stopped) else "Interrupted"
            report = command("report", ledger.name, url=url, results_dir=results_dir)
            self._console.print(
                f"\n{how}. The study is kept; the same command continues it. What there is so far: {report}"
            )
            self._publisher.interrupted()
            raise

    def _follow(self, total: int) -> None:
        """Until the trials have ended that were asked for."""
        while True:
            if self._ledger.stop_sign is not None:
                self._ledger.stop_sign.check(now=True)
            seen = self._crew.look()
            self._failed += seen.failed
            self._ledger.recover()
            begun = self._tell()
            left = max(0, total - len(self._ledger.view().counted()))
            if not left and not self._ledger.awaited(total):
                break
            self._fruitless = [] if begun or not left else [*self._fruitless, *seen.ended]
            if left:
                self._man(left, seen.alive)
            time.sleep(_LOOK_SECONDS)
        self._let_show()
        for error in self._failed:
            self._display.warn(f"a worker stopped, and the others went on: {error}")

    def _man(self, left: int, alive: int) -> None:
        """Have others in place of the workers that ended, but for those that failed as these would."""
        if self._failed and not alive:
            raise self._failed[0]
        if len(self._fruitless) >= _FRUITLESS_GENERATIONS * max(1, self._size):
            raise AdapterSweepError(
                f"study {self._ledger.name!r}: {len(self._fruitless)} workers ended one after another before a trial "
                f"began. The last one: {mask_credentials(self._fruitless[-1])}"
            )
        missing = max(1, self._size) - alive - len(self._failed)
        if missing > 0:
            self._size = max(self._size, alive + self._crew.start(min(left, missing)))

    def _tell(self) -> bool:
        """Show what is new in the ledger; whether a trial began."""
        began = False
        for trial in self._ledger.view().trials:
            if trial.number not in self._begun:
                began = True
                self._begun.add(trial.number)
                self._display.begin(trial.number, trial.params)
            if trial.state is not TrialState.RUNNING and trial.number not in self._ended:
                self._ended.add(trial.number)
                self._display.end(trial)
                if self._publisher.server is None:  # else its worker has shown it
                    self._publisher.soon_trial(trial.number)
        return began

    def _let_show(self) -> None:
        """What the last trials left lies where they ran: their workers show it, where that is a server."""
        if self._publisher.server is not None:
            self._await(_SHOW_SECONDS)

    def _leave(self) -> None:
        """Let the workers mark their trials; a second Ctrl-C ends the waiting."""
        with suppress(KeyboardInterrupt):
            self._crew.leave()
            self._await(_LEAVE_SECONDS)

    def _await(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while self._crew.look().alive and time.monotonic() < ends:
            time.sleep(_LOOK_SECONDS)
