"""Following a study that a cluster's workers run: in its ledger, and by how many workers there are."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from adapter_sweep.cli.display import Display
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import AdapterSweepError, DiskError, LedgerError, SpoiltProcessError
from adapter_sweep.records import TrialState
from adapter_sweep.study.commands import command
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.stopping import Stopped

__all__ = ["Crew", "Follower", "Seen"]

_LOOK_SECONDS = 1.0
_LEAVE_SECONDS = 7.0  # for workers that were told to leave to mark their trials: before this process has to be gone
_SHOW_SECONDS = 15.0  # for workers to send MLflow what their last trials left
_RETRY_SECONDS = 30.0  # until workers are asked for again after they were refused
_FRUITLESS_GENERATIONS = 3  # of workers, before a trial began: the next one would end so as well
_PASSING = (SpoiltProcessError, DiskError, LedgerError)  # what ends one worker, and may not meet the next


@dataclass(frozen=True)
class Seen:
    """The workers at one look.

    Attributes:
        alive: how many there are, those that wait for a place included.
        failed: what those that ended since the last look failed with, as another one would.
        spoilt: what those failed with that another one may be spared: its device, its disk, the ledger for a while.
        ended: how the others ended, in words: by themselves, cancelled or lost; with the end of what they wrote.
    """

    alive: int
    failed: Sequence[Exception]
    spoilt: Sequence[Exception]
    ended: Sequence[str]

    @classmethod
    def of(cls, alive: int, ends: Sequence[Exception | str]) -> "Seen":
        """Those that are alive, and how the others ended."""
        failures = [end for end in ends if isinstance(end, Exception)]
        spoilt = [failure for failure in failures if isinstance(failure, _PASSING)]
        failed = [failure for failure in failures if failure not in spoilt]
        return cls(alive, failed, spoilt, [end for end in ends if isinstance(end, str)])


class Crew(Protocol):
    """The workers, as a cluster's software has them."""

    def begin(self, waiting: Callable[[], None]) -> None:
        """Have the errand begun by one of them, and wait for it.

        Args:
            waiting: called every second or so meanwhile; a KeyboardInterrupt of it ends the waiting.

        Raises:
            AdapterSweepError: it could not be begun, or its worker was lost.
        """

    def start(self, most: int) -> int:
        """Start workers, no more than `most`, nor than are asked for in all; how many.

        Raises:
            AdapterSweepError: not all of them could be started now.
        """

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
        self._spoilt: list[str] = []  # what spoilt workers since one was last done: each may begin a trial
        self._refused_until = 0.0  # when workers are asked for again; 0 where they were had
        self._size = 1  # of the crew, when it was largest

    def run(self, url: str, results_dir: Path, asked: int, *, stops_before: int | None = None) -> None:
        """Follow the study until it has its trials.

        Args:
            url: the ledger's database.
            results_dir: where the study's folder is.
            asked: trials that the study is to have.
            stops_before: how often it had been asked to stop when the command began; None for as often as it has now.

        Raises:
            KeyboardInterrupt: as it came, or because the study was asked to stop; the workers were told to leave.
            UserInputError: the study's folder is another one's; or what a worker failed with.
            AdapterSweepError: the trials cannot be had: what a worker failed with, or how the last one ended. The
                others were told to leave.
        """
        ledger = self._ledger
        ledger.attend(stops_before)
        view, recovered = ledger.view(), ledger.recover()
        over = [trial for trial in view.trials if trial.state is not TrialState.RUNNING]
        self._begun.update(trial.number for trial in over)
        self._ended.update(trial.number for trial in over)
        total, done = min(view.n_trials, asked), len(ledger.view().counted())  # others may have asked for more
        self._publisher.begin()
        try:
            self._look_for_stop()
            workers = self._size = self._crew.start(total - done) if done < total else 0
            self._display.opening(view, total, results_dir, recovered=recovered, workers=workers)
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
        except Exception:
            with suppress(Exception):  # a cluster that is away tells nobody
                self._leave()
            raise

    def _follow(self, total: int) -> None:
        """Until the trials have ended that were asked for."""
        while True:
            self._look_for_stop()
            seen = self._crew.look()
            self._failed += seen.failed
            self._ledger.recover()
            begun, done = self._tell()
            left = max(0, total - len(self._ledger.view().counted()))
            if not left and not self._ledger.awaited(total):
                break
            self._fruitless = [] if begun or not left else [*self._fruitless, *seen.ended]
            self._spoilt = [] if done else self._spoilt
            for error in seen.spoilt:
                self._spoilt.append(mask_credentials(str(error)))
                self._display.warn(f"a worker stopped, and another one takes its place: {self._spoilt[-1]}")
            if left:
                self._man(left, seen.alive)
            time.sleep(_LOOK_SECONDS)
        self._let_show()
        for error in self._failed:
            self._display.warn(f"a worker stopped, and the others went on: {mask_credentials(str(error))}")

    def _man(self, left: int, alive: int) -> None:
        """Have others in place of the workers that ended, but for those that failed as these would."""
        if self._failed and not alive:
            raise self._failed[0]
        for ends, until in ((self._fruitless, "began"), (self._spoilt, "was done")):
            if len(ends) >= _FRUITLESS_GENERATIONS * max(1, self._size):
                if alive:  # it may be one bad node: they go on
                    return
                raise AdapterSweepError(
                    f"study {self._ledger.name!r}: {len(ends)} workers ended one after another before a trial {until}. "
                    f"The last one: {mask_credentials(ends[-1])}"
                )
        missing = max(1, self._size) - alive - len(self._failed)
        if missing > 0 and (not alive or time.monotonic() >= self._refused_until):
            self._start(min(left, missing), alive)

    def _start(self, count: int, alive: int) -> None:
        """Start more workers. Where some go on, a refusal is told once, and they are asked for again after a while."""
        try:
            self._size = max(self._size, alive + self._crew.start(count))
            self._refused_until = 0.0
        except AdapterSweepError as error:
            if not alive:
                raise
            if not self._refused_until:
                self._display.warn(f"no worker more for now: {mask_credentials(str(error))}")
            self._refused_until = time.monotonic() + _RETRY_SECONDS

    def _look_for_stop(self) -> None:
        if self._ledger.stop_sign is not None:
            self._ledger.stop_sign.check(now=True)

    def _tell(self) -> tuple[bool, bool]:
        """Show what is new in the ledger; whether a trial began, and whether one was done and did not fail."""
        began = done = False
        for trial in self._ledger.view().trials:
            if trial.number not in self._begun:
                began = True
                self._begun.add(trial.number)
                self._display.begin(trial.number, trial.params)
            if trial.state is not TrialState.RUNNING and trial.number not in self._ended:
                self._ended.add(trial.number)
                done = done or trial.state not in (TrialState.FAILED, TrialState.INTERRUPTED)
                self._display.end(trial)
                if self._publisher.server is None:  # else its worker has shown it
                    self._publisher.soon_trial(trial.number)
        return began, done

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
