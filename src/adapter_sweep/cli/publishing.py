"""Showing the ledger in MLflow while trials run, from a thread of its own."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from adapter_sweep.study.ledger import Ledger
from adapter_sweep.tracking import Tracker, TrackingError

__all__ = ["Publisher"]

_LAST_WORDS_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Publisher:
    """Shows the ledger in MLflow. A store that cannot be written is told once, and never costs a trial.

    `soon_…` returns at once: what it asks for is done by one background thread, in order. What fails there is sent
    again by `all`. Every other call waits for that thread first.
    """

    def __init__(
        self,
        ledger: Ledger,
        results_dir: Path,
        uri: str | None,
        enabled: bool,
        console: Console,
        *,
        confirms: Ledger | None = None,
    ) -> None:
        """Name what is shown.

        Args:
            ledger: the study whose trials are shown.
            results_dir: where the local store is.
            uri: the user's own store.
            enabled: whether anything is shown at all.
            console: where a failure is told, once.
            confirms: where the trials are another study's finalists, that study: they are shown under its run.
        """
        self._ledger = ledger
        self._study_ledger = confirms or ledger
        self._confirming = confirms is not None
        self._console = console
        self._warned = False
        self._logged = False
        self._new_store = False
        self._own_store = uri is not None
        self._tracker = Tracker(results_dir, self._study_ledger.name, uri) if enabled else None
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._thread: threading.Thread | None = None

    @property
    def on(self) -> bool:
        """Whether MLflow shows the study."""
        return self._tracker is not None

    @property
    def server(self) -> str | None:
        """The address of the user's own store; None where it is that of the results folder."""
        return self._tracker.shown_uri if self._tracker is not None and self._own_store else None

    def soon(self, job: Callable[[], None]) -> None:
        """Do something in the background, after what was asked for before; what it raises is logged once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def soon_study(self, *, active: bool) -> None:
        """The parent run, in the background."""
        if self._tracker is not None:
            self.soon(lambda: self._study(active))

    def soon_trial(self, number: int) -> None:
        """One trial's run, in the background."""
        if self._tracker is not None:
            self.soon(lambda: self._trial(number))

    def drain(self, seconds: float | None = None) -> bool:
        """Wait for the background thread, at most so long; whether it has done all."""
        ends = None if seconds is None else time.monotonic() + seconds
        with self._jobs.all_tasks_done:
            while self._jobs.unfinished_tasks:
                rest = None if ends is None else ends - time.monotonic()
                if rest is not None and rest <= 0:
                    return False
                self._jobs.all_tasks_done.wait(rest)
        return True

    def interrupted(self) -> None:
        """The parent run is at rest; waits a little for all that was asked for: the same command sends the rest."""
        self.soon_study(active=False)
        self.drain(_LAST_WORDS_SECONDS)

    def study(self, *, active: bool) -> None:
        """The parent run."""
        self.drain()
        self._study(active)

    def all(self) -> None:
        """Whatever MLflow missed; everything, where the store is another than before."""
        self.study(active=False)
        for trial in self._ledger.view().trials if self._tracker is not None else ():
            if trial.mlflow_run_id is None or self._new_store:
                self._trial(trial.number)

    def report(self, folder: Path) -> None:
        """The report's files, with the parent run."""
        self.drain()
        run_id = self._study_ledger.view().mlflow_run_id
        if self._tracker is None or run_id is None:
            return
        try:
            self._tracker.publish_report(run_id, folder)
        except TrackingError as error:
            self._warn(error)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception:  # whatever it is, the jobs after it are done
                if not self._logged:
                    _log.warning("work beside the trials failed, and the study goes on", exc_info=True)
                self._logged = True
            finally:
                self._jobs.task_done()

    def _study(self, active: bool) -> None:
        if self._tracker is None:
            return
        try:
            view = self._study_ledger.view()
            run_id = self._tracker.publish_study(view, active=active)
            self._new_store |= view.mlflow_run_id not in (None, run_id)
            self._study_ledger.set_facts(mlflow_run_id=run_id)
        except TrackingError as error:
            self._warn(error)

    def _trial(self, number: int) -> None:
        if self._tracker is None:
            return
        try:
            run_id = self._tracker.publish_trial(
                self._study_ledger.view(), self._ledger.view_trial(number), confirming=self._confirming
            )
            self._ledger.set_mlflow_run(number, run_id)
        except TrackingError as error:
            self._warn(error)

    def _warn(self, error: TrackingError) -> None:
        if not self._warned:
            self._console.print(
                f"warning: MLflow: {error}. The ledger keeps every trial; the same `run` sends what was missed."
            )
        self._warned = True
