"""Running a sweep in workers that a cluster's own software starts; this process watches the ledger, and reports."""

import os
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rich.console import Console

from adapter_sweep.cli.beginning import begin
from adapter_sweep.cli.closing import close_study
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.identity import study_name
from adapter_sweep.cli.joining import Here, join_study
from adapter_sweep.cli.printing import open_console
from adapter_sweep.cli.publishing import Publisher, publisher_of
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.schema import LocalWorkers
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import TrialState
from adapter_sweep.study.commands import command
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.storage import STORAGE_VARIABLE

__all__ = ["Crew", "Errand", "run_elsewhere"]

_LOOK_SECONDS = 1.0
_LEAVE_SECONDS = 30.0  # for workers that were told to leave to mark their trials


@dataclass(frozen=True)
class Errand:
    """What a worker somewhere on a cluster is to do; plain data.

    Attributes:
        composed: the sweep, whose folders are absolute.
        name: its study.
        url: the ledger's database; None where the environment has it.
        folder: the working directory, for where the cluster has it too.
    """

    composed: Composed
    name: str
    url: str | None
    folder: str

    @property
    def _url(self) -> str:
        return self.url or os.environ[STORAGE_VARIABLE]

    @property
    def _tracking(self) -> str | None:
        """The store's address; where the errand lies in a file, the environment has the one with credentials."""
        uri = self.composed.config.tracking.uri
        return os.environ.get("MLFLOW_TRACKING_URI", uri) if self.url is None and uri else uri

    def begin(self, cpus: int) -> None:
        """Begin the study where its trials will run: what a latency means, and `auto`, depends on it."""
        with suppress(OSError):  # a folder of the first host alone
            os.chdir(self.folder)
        config = self.composed.config
        train = config.train.model_copy(update={"threads": config.train.threads or cpus})
        study = config.study.model_copy(update={"storage": self._url})
        alone = config.model_copy(
            update={"workers": LocalWorkers(kind="local", count=1), "train": train, "study": study}
        )
        begun = begin(replace(self.composed, config=alone), self.name, single=False)
        if begun.done < begun.total and not begun.ledger.view().anchors:
            begun.ledger.set_facts(anchors=begun.bench.anchors())

    def work(self, cpus: int) -> None:
        """Run the study's trials until all have begun."""
        with suppress(OSError):
            os.chdir(self.folder)
        config = self.composed.config
        settings = {
            "results_dir": config.results_dir,
            "train.threads": config.train.threads or cpus,
            "train.device": config.train.device,
            "train.cohort": config.train.cohort,
            "train.cache_gb": config.train.cache_gb,
            # A store that is the first host's own files is written there.
            "tracking.enabled": config.tracking.enabled and config.tracking.uri is not None,
        }
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            join_study(self.name, Here(self._url, self._tracking, 1, settings))


class Crew(Protocol):
    """The workers, as a cluster's software has them."""

    def begin(self) -> None:
        """Have the errand begun by one of them, and wait for it."""

    def start(self, most: int) -> int:
        """Start workers, no more than `most`; how many."""

    def look(self) -> tuple[int, list[Exception]]:
        """How many workers there are, those that wait to be started again included, and what others failed with."""

    def leave(self) -> None:
        """Tell all of them to mark their trials and leave; returns at once."""

    def close(self) -> None:
        """Nothing is left running."""


def run_elsewhere(composed: Composed, hire: Callable[[Errand], Crew]) -> None:
    """Start or continue a sweep in a cluster's workers; ends with the front, the report and how to look at it.

    A trial whose worker dies is run again, by whoever finds it: another worker, or this process.

    Raises:
        UserInputError: the study exists with another definition, the input is wrong, or the cluster cannot be used so.
        KeyboardInterrupt: as it came; the workers were told to leave.
        AdapterSweepError: the workers ended before the study had its trials; the first one's own error, if it had one.
    """
    console = open_console()
    results_dir = Path(composed.config.results_dir).expanduser().absolute()
    name, url = study_name(composed), storage_url(composed.config.study.storage, results_dir)
    there = composed.config.model_copy(update={"results_dir": str(results_dir)})
    crew = hire(Errand(replace(composed, config=there), name, url, str(Path.cwd())))
    try:
        with console.status("Beginning the study on the cluster …"):
            crew.begin()
        ledger = Ledger.read(name, url=url, results_dir=results_dir)
        publisher = publisher_of(ledger, composed.config.tracking, url, results_dir, console)
        _Watch(ledger, crew, publisher, console, Display(console, metric=composed.config.task.metric)).run(
            results_dir, url, composed.config.study.n_trials
        )
    finally:
        crew.close()
    close_study(console, ledger, publisher, results_dir, url)


class _Watch:
    """Follows a study in its ledger, and has as many workers as there are trials left for them."""

    def __init__(self, ledger: Ledger, crew: Crew, publisher: Publisher, console: Console, display: Display) -> None:
        self._ledger, self._crew, self._publisher = ledger, crew, publisher
        self._console, self._display = console, display
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    def run(self, results_dir: Path, url: str, asked: int) -> None:
        ledger = self._ledger
        view, recovered = ledger.view(), ledger.recover()
        over = [trial for trial in view.trials if trial.state is not TrialState.RUNNING]
        self._begun.update(trial.number for trial in over)
        self._ended.update(trial.number for trial in over)
        total, done = min(view.n_trials, asked), len(ledger.view().counted())  # others may have asked for more
        self._publisher.begin()
        workers = self._crew.start(total - done) if done < total else 0
        self._display.opening(view, total, results_dir, recovered=recovered, workers=workers)
        try:
            with self._display.progress(done, total):
                self._follow(total)
        except KeyboardInterrupt:
            self._leave()
            report = command("report", ledger.name, url=url, results_dir=results_dir)
            self._console.print(
                f"\nInterrupted. The study is kept; the same command continues it. What there is so far: {report}"
            )
            self._publisher.interrupted()
            raise

    def _follow(self, total: int) -> None:
        """Until every trial has ended. Workers that all left while trials were lost are started again."""
        failed: list[Exception] = []
        while True:
            alive, errors = self._crew.look()
            failed += errors
            self._ledger.recover()
            running, left = self._tell(), max(0, total - len(self._ledger.view().counted()))
            if not left and not running:
                break
            if not alive and left:
                if failed:
                    raise failed[0]
                if not self._crew.start(left):
                    raise AdapterSweepError(f"no worker can be started, with {left} trials left")
            time.sleep(_LOOK_SECONDS)
        for error in failed:
            self._display.warn(f"a worker stopped, and the others went on: {error}")

    def _tell(self) -> int:
        """Show what is new in the ledger; how many trials run."""
        running = 0
        for trial in self._ledger.view().trials:
            if trial.number not in self._begun:
                self._begun.add(trial.number)
                self._display.begin(trial.number, trial.params)
            if trial.state is TrialState.RUNNING:
                running += 1
            elif trial.number not in self._ended:
                self._ended.add(trial.number)
                self._display.end(trial)
                if self._publisher.server is None:  # else its worker has shown it
                    self._publisher.soon_trial(trial.number)
        return running

    def _leave(self) -> None:
        """Let the workers mark their trials; a second Ctrl-C ends the waiting."""
        with suppress(KeyboardInterrupt):
            self._crew.leave()
            ends = time.monotonic() + _LEAVE_SECONDS
            while self._crew.look()[0] and time.monotonic() < ends:
                time.sleep(_LOOK_SECONDS)
