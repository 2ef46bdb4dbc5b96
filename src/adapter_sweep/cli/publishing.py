"""Showing the ledger in MLflow while trials run, from a thread of its own that nobody waits for."""

import logging
import threading
import time
from pathlib import Path

from rich.console import Console

from adapter_sweep.cli.reconciling import keep_run_ids, reconcile_command
from adapter_sweep.config.schema import TrackingConfig
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.tracking import PATIENT, Tracker, TrackingError

__all__ = ["THREAD", "Publisher", "publisher_of"]

THREAD = "publisher"
_PAUSE_SECONDS = 30.0  # before a store that failed is tried again
_END_SECONDS = 10.0  # the end of a study waits so long in all; where the store has failed before, a quarter of it
_END_SECONDS_LOCAL = 120.0  # a file of the results does not hang: on a busy machine it is slow
_LAST_WORDS_SECONDS = 3.0  # of an interrupted study
_log = logging.getLogger(__name__)


class Publisher:
    """Shows the ledger in MLflow. A store that is slow or fails is told once, and never costs a trial.

    All requests are made by one background thread: what could not be sent is tried again every half minute, and at the
    end. Calls return at once, but for `open`, which touches no server, and those that end the work, which wait for a
    bounded time and name the command that sends the rest.
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
        reconcile: str = "adapter-sweep reconcile",
    ) -> None:
        """Name what is shown.

        Args:
            ledger: the study whose trials are shown.
            results_dir: where the local store is.
            uri: the user's own store.
            enabled: whether anything is shown at all.
            console: where a failure is told, once.
            confirms: where the trials are another study's finalists, that study: they are shown under its run.
            reconcile: the command that sends what could not be sent.
        """
        self._ledger = ledger
        self._study_ledger = confirms or ledger
        self._console = console
        self._reconcile = reconcile
        self._own_store = uri is not None
        self._end_seconds = _END_SECONDS if self._own_store else _END_SECONDS_LOCAL
        self._tracker = Tracker(results_dir, self._study_ledger.name, uri, patience=PATIENT) if enabled else None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # What is to be done, in this order; and how it stands. All of it under `_changed`.
        self._everything = False
        self._trials: dict[int, None] = {}
        self._report: Path | None = None
        self._active = True
        self._not_before = 0.0
        self._failing = self._working = self._ending = self._warned = False
        self._waited = 0.0

    @property
    def on(self) -> bool:
        """Whether MLflow shows the study."""
        return self._tracker is not None

    @property
    def server(self) -> str | None:
        """The address of the user's own store; None where it is that of the results folder."""
        return self._tracker.shown_uri if self._tracker is not None and self._own_store else None

    def open(self) -> None:
        """Import MLflow and make a local store, before a trial begins whose latency that would disturb."""
        if self._tracker is not None:
            try:
                self._tracker.open_local()
            except TrackingError as error:
                self._warn(error)

    def begin(self) -> None:
        """The study's run, and whatever MLflow missed before."""
        self._ask(everything=True)

    def soon_trial(self, number: int) -> None:
        """One trial's run."""
        self._ask(trial=number)

    def interrupted(self) -> None:
        """The study is at rest. What cannot be shown of that in a moment, the same command shows, or `reconcile`."""
        self._ask(everything=True, active=False)
        self._wait(_LAST_WORDS_SECONDS)

    def catch_up(self) -> None:
        """Whatever MLflow missed, of other processes too; waits for it for a while."""
        self._ask(everything=True, active=False)
        self._wait(self._end_seconds)

    def finish(self, report: Path | None = None) -> None:
        """The report's files, with the study's run; then the last words, where something could not be sent."""
        self._ask(report=report)
        done = self._wait(self._end_seconds)
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not None and done:
            self._thread.join()
        if not done:
            self._tell_what_is_missing()

    def _ask(
        self,
        *,
        everything: bool = False,
        trial: int | None = None,
        report: Path | None = None,
        active: bool = True,
    ) -> None:
        if self._tracker is None:
            return
        with self._changed:
            self._everything |= everything
            if trial is not None:
                self._trials[trial] = None
            self._report = report or self._report
            if not active:
                self._active = False
                self._not_before = 0.0  # the last try
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _wait(self, seconds: float) -> bool:
        """Wait until all is done, no longer than so many seconds in all the waits there are; whether it is."""
        began = time.monotonic()
        with self._changed:
            while self._has_work():
                # A store that has failed is given its last try, and no more.
                rest = seconds / (4 if self._failing else 1) - self._waited - (time.monotonic() - began)
                if rest <= 0 or (self._failing and self._not_before > time.monotonic()):
                    break
                self._changed.wait(rest)
            self._waited += time.monotonic() - began
            return not self._has_work()

    def _has_work(self) -> bool:
        return self._working or self._everything or bool(self._trials) or self._report is not None

    # -- in the thread

    def _work(self) -> None:
        while self._next():
            try:
                self._do()
            except TrackingError as error:
                self._failed(error)
            except Exception as error:  # the ledger's, say: whatever it is, no trial has it
                self._failed(None)
                why = mask_credentials(f"{type(error).__name__}: {error}")
                _log.warning("the study could not be shown in MLflow: %s", why)
            finally:
                with self._changed:
                    self._working = False
                    self._changed.notify_all()

    def _next(self) -> bool:
        """Wait for something to be done; whether there is."""
        with self._changed:
            while not self._ending:
                rest = self._not_before - time.monotonic()
                if rest > 0 and self._has_work():
                    self._changed.wait(rest)
                elif self._has_work():
                    self._working = True
                    return True
                else:
                    self._changed.wait()
        return False

    def _do(self) -> None:
        """Do one thing, which stays to be done where it fails."""
        assert self._tracker is not None
        with self._changed:
            everything, trials, report, active = self._everything, list(self._trials), self._report, self._active
        self._tracker.wake()
        if everything:
            self._do_everything(self._tracker, active)
            with self._changed:
                # More may have been asked for meanwhile; but a trial that was told before is shown.
                self._everything = self._active != active
                for number in trials:
                    self._trials.pop(number, None)
        elif trials:
            self._do_trial(self._tracker, trials[0])
            with self._changed:
                self._trials.pop(trials[0], None)
        elif report is not None:
            run_id = self._study_ledger.view().mlflow_run_id
            if run_id is not None:
                self._tracker.publish_report(run_id, report)
            with self._changed:
                self._report = None
        with self._changed:
            self._failing = False

    def _do_everything(self, tracker: Tracker, active: bool) -> None:
        summary = tracker.reconcile(self._ledger, self._study_ledger, active=active)
        keep_run_ids(self._ledger, summary, self._study_ledger)
        if summary.failed:
            raise TrackingError(next(iter(summary.failed.values())))

    def _do_trial(self, tracker: Tracker, number: int) -> None:
        view = self._ledger.view_trial(number)
        run_id = tracker.publish_trial(
            self._study_ledger.view(), view, confirming=self._study_ledger is not self._ledger
        )
        if view.mlflow_run_id != run_id:
            self._ledger.set_mlflow_runs({number: run_id})

    def _failed(self, error: TrackingError | None) -> None:
        with self._changed:
            self._failing = True
            self._not_before = time.monotonic() + _PAUSE_SECONDS
        if error is not None:
            self._warn(error)

    # -- what the user reads

    def _warn(self, error: TrackingError) -> None:
        if not self._warned:
            self._console.print(
                f"warning: MLflow: {error}. The trials go on, and the ledger keeps them all.", soft_wrap=True
            )
        self._warned = True

    def _tell_what_is_missing(self) -> None:
        assert self._tracker is not None
        trials = self._ledger.view().trials
        with self._changed:
            asked = set(self._trials)
        missing = sum(
            trial.number in asked or trial.mlflow_run_id is None
            for trial in trials
            if trial.state is not TrialState.RUNNING
        )
        what = f"{missing} of {len(trials)} trials" if missing else "the last of the study's own run"
        self._console.print(
            f"MLflow      {what} not sent to {self._tracker.shown_uri} so far; this command sends what is missing: "
            f"{self._reconcile}",
            soft_wrap=True,
        )


def publisher_of(
    ledger: Ledger,
    tracking: TrackingConfig,
    url: str,
    results_dir: Path,
    console: Console,
    *,
    confirms: Ledger | None = None,
) -> Publisher:
    """A publisher of a study, as its settings have it; see `Publisher`."""
    command = reconcile_command((confirms or ledger).name, url=url, results_dir=results_dir, tracking=tracking.uri)
    return Publisher(ledger, results_dir, tracking.uri, tracking.enabled, console, confirms=confirms, reconcile=command)
