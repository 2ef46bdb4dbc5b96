"""The MLflow view of a study: published from the ledger any number of times, never read back as truth."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.tracking import content
from adapter_sweep.tracking.address import is_server, local_store_path, store_uri
from adapter_sweep.tracking.failure import (
    HASTY,
    Deadline,
    Patience,
    TrackingError,
    prepare_environment,
    tracking_errors,
)
from adapter_sweep.tracking.reconciling import ReconcileSummary, Source, reconcile

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from adapter_sweep.tracking.runs import RunWriter

__all__ = ["Tracker"]

_COOL_DOWN_SECONDS = 30.0
_REPORT_FILES = (".html", ".md", ".png", ".svg", ".csv", ".json")


class Tracker:
    """Publishes one study to MLflow. Nothing is opened, and mlflow is not imported, before the first call.

    Every public call either succeeds or raises `TrackingError` within seconds, credentials masked; with a
    server that failed, further calls fail at once for half a minute (but for `reconcile`), so that it costs
    no trial more than that. All calls are idempotent, also from another process: a run is found by its tags.
    Not to be carried over a fork: a worker makes its own.
    """

    def __init__(
        self,
        results_dir: Path | str,
        study_name: str,
        tracking_uri: str | None = None,
        *,
        patience: Patience = HASTY,
    ) -> None:
        """Name the store.

        Args:
            results_dir: folder of the local store `mlflow.db`, of `mlartifacts/`, and of the lock.
            study_name: the experiment's name.
            tracking_uri: a server or a database; None for the local store.
            patience: how long a server may take; `PATIENT` where nobody waits.
        """
        self._results_dir = Path(results_dir)
        self._study_name = study_name
        self.uri = store_uri(self._results_dir, tracking_uri)
        self._patience = patience
        self._client: MlflowClient | None = None
        self._experiment: str | None = None
        self._parent: str | None = None
        self._resting_until = 0.0

    @property
    def shown_uri(self) -> str:
        """The store's address, fit to be shown: credentials masked."""
        return mask_credentials(self.uri)

    def check(self) -> None:
        """Open the store and read from it, making it where it is local and missing."""
        with tracking_errors("opening the store", self.uri):
            prepare_environment(self._patience)
            from adapter_sweep.tracking import store

            store.open_client(self.uri, self._results_dir).search_experiments(max_results=1)

    def open_local(self) -> None:
        """Import MLflow, and open the store where it is a file, making it where it is missing; touches no server."""
        with tracking_errors("opening the store", self.uri):
            prepare_environment(self._patience)
            from adapter_sweep.tracking import store

            if local_store_path(self.uri) is not None:
                self._client = store.open_client(self.uri, self._results_dir, self._patience.lock_seconds)

    def publish_study(self, study: StudyView, *, active: bool = False) -> str:
        """Make or update the study's parent run and return its id.

        The run is RUNNING while a trial runs or `active` says that more are about to; FINISHED once the study
        has all its trials; else KILLED, which the next `run` takes back.
        """
        with self.writing(f"publishing study {study.name!r}") as runs:
            return self._study(runs, study, active)

    def publish_trial(self, study: StudyView, trial: TrialView, *, confirming: bool = False) -> str:
        """Make or update the run of one trial and return its id; its parent run is made where it is missing.

        Where the run shows this very view already, nothing is sent. With `confirming` it is a run of a finalist on the
        test split, beside the study's trials: numbered and named apart from them.
        """
        with self.writing(f"publishing trial {trial.number} of study {study.name!r}") as runs:
            return self._trial(runs, study, trial, content.CONFIRMED if confirming else content.SEARCHED)

    def publish_report(self, study_run_id: str, paths: Path | str | Iterable[Path | str]) -> list[str]:
        """Copy a report into the artifacts of the parent run, unless it is there, and return the names.

        Args:
            study_run_id: what `publish_study` returned.
            paths: the report's folder (its HTML, Markdown, PNG, SVG, CSV and JSON files are taken), or files.
        """
        with self.writing(f"publishing the report of study {self._study_name!r}") as runs:
            files = _report_files(paths)
            digest = content.files_digest(files)
            if runs.tags(study_run_id).get(content.REPORT) != digest:
                for path in files:
                    runs.set_file(study_run_id, path)
                runs.tag(study_run_id, content.REPORT, digest)
        return [path.name for path in files]

    def reconcile(self, trials_of: Source, study_of: Source | None = None, *, active: bool = False) -> ReconcileSummary:
        """Publish whatever is missing or stale, close runs left open, and remove duplicates.

        A trial that cannot be published does not keep the others from it; after two in a row the others are not tried.

        Args:
            trials_of: the study whose trials are shown.
            study_of: where these are another study's finalists, that one: they are shown under its run.
            active: whether more trials are about to run.

        Raises:
            TrackingError: the store cannot be reached.
        """
        return reconcile(self, trials_of, trials_of if study_of is None else study_of, active=active)

    def wake(self) -> None:
        """Try a server again that has failed and is left alone."""
        self._resting_until = 0.0

    @contextmanager
    def writing(self, doing: str) -> Iterator["RunWriter"]:
        """Write to the store, which is opened where it is not; what fails inside is a `TrackingError`."""
        with tracking_errors(doing, self.uri):
            rest = self._resting_until - time.monotonic()
            if rest > 0:
                raise TrackingError(f"{doing}: {self.shown_uri} failed before and is left alone for {rest:.0f} s")
            try:
                yield self._open()
            except Exception:
                if is_server(self.uri):
                    self._resting_until = time.monotonic() + _COOL_DOWN_SECONDS
                raise

    def _open(self) -> "RunWriter":
        prepare_environment(self._patience)  # MLflow reads its log level while it is imported
        from adapter_sweep.tracking import store  # imports mlflow, which takes seconds
        from adapter_sweep.tracking.runs import RunWriter

        lock = functools.partial(store.store_lock, self._results_dir, self._patience.lock_seconds)
        deadline = Deadline(self._patience)
        if self._client is None:
            self._client = store.open_client(self.uri, self._results_dir, self._patience.lock_seconds)
            deadline = Deadline(self._patience)  # making a cold store takes seconds, and happens once
        if self._experiment is None:
            with lock():
                self._experiment = store.experiment_id(
                    self._client, self.uri, self._study_name, self._results_dir, deadline
                )
        shared = local_store_path(self.uri) is None
        return RunWriter(self._client, self._experiment, deadline, lock, shared=shared)

    def _study(self, runs: "RunWriter", study: StudyView, active: bool) -> str:
        from adapter_sweep.tracking.showing import show_study

        self._parent = _again_if_crossed(lambda: show_study(runs, study, active=active))
        return self._parent

    def _trial(self, runs: "RunWriter", study: StudyView, trial: TrialView, kind: str) -> str:
        from adapter_sweep.tracking.showing import show_trial

        parent = self._parent or self._study(runs, study, active=True)
        return _again_if_crossed(lambda: show_trial(runs, study, trial, parent, kind))


def _again_if_crossed(show: Callable[[], str]) -> str:
    """Show something; once more, where another process crossed it: deleted a further run, or wrote the same value."""
    from adapter_sweep.tracking.showing import in_the_trash

    try:
        return show()
    except Exception as error:
        if not in_the_trash(error) and "IntegrityError" not in str(error):
            raise
        return show()


def _report_files(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    if not isinstance(paths, str | Path):
        return [Path(path) for path in paths]
    return [path for path in sorted(Path(paths).iterdir()) if path.suffix in _REPORT_FILES and path.is_file()]
