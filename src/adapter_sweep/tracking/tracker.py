"""The MLflow view of a study: published from the ledger any number of times, never read back as truth."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.tracking import content, presentation
from adapter_sweep.tracking.address import is_server, store_uri
from adapter_sweep.tracking.failure import Deadline, TrackingError, prepare_environment, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from adapter_sweep.tracking.runs import RunWriter

__all__ = ["ReconcileSummary", "Tracker"]

_COOL_DOWN_SECONDS = 30.0
_REPORT_FILES = (".html", ".md", ".png", ".svg", ".csv", ".json")


@dataclass(frozen=True)
class ReconcileSummary:
    """What `Tracker.reconcile` did.

    Attributes:
        parent_run_id: the study's run.
        run_ids: trial number -> its run, for every trial that is up to date now.
        published: trials that were missing or stale and are up to date now.
        unchanged: trials that were up to date before.
        failed: trial number -> why it could not be published.
        closed: runs left open of trials that the ledger does not hold; they are marked killed.
        duplicates: further runs of a trial, moved to MLflow's trash.
    """

    parent_run_id: str
    run_ids: Mapping[int, str] = field(default_factory=dict)
    published: tuple[int, ...] = ()
    unchanged: tuple[int, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


class Tracker:
    """Publishes one study to MLflow. Nothing is opened, and mlflow is not imported, before the first call.

    Every public call either succeeds or raises `TrackingError` within seconds, credentials masked; with a
    server that failed, further calls fail at once for half a minute (but for `reconcile`), so that it costs
    no trial more than that. All calls are idempotent, also from another process: a run is found by its tags.
    Not to be carried over a fork: a worker makes its own.
    """

    def __init__(self, results_dir: Path | str, study_name: str, tracking_uri: str | None = None) -> None:
        """Name the store.

        Args:
            results_dir: folder of the local store `mlflow.db`, of `mlartifacts/`, and of the lock.
            study_name: the experiment's name.
            tracking_uri: a server or a database; None for the local store.
        """
        self._results_dir = Path(results_dir)
        self._study_name = study_name
        self.uri = store_uri(self._results_dir, tracking_uri)
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
            prepare_environment()
            from adapter_sweep.tracking import store

            store.open_client(self.uri, self._results_dir).search_experiments(max_results=1)

    def publish_study(self, study: StudyView, *, active: bool = False) -> str:
        """Make or update the study's parent run and return its id.

        The run is RUNNING while a trial runs or `active` says that more are about to; FINISHED once the study
        has all its trials; else KILLED, which the next `run` takes back.
        """
        with self._writing(f"publishing study {study.name!r}") as runs:
            return self._study(runs, study, active)

    def publish_trial(self, study: StudyView, trial: TrialView, *, confirming: bool = False) -> str:
        """Make or update the run of one trial and return its id; its parent run is made where it is missing.

        Where the run shows this very view already, nothing is sent. With `confirming` it is a run of a finalist on the
        test split, beside the study's trials: numbered and named apart from them.
        """
        with self._writing(f"publishing trial {trial.number} of study {study.name!r}") as runs:
            return self._trial(runs, study, trial, content.CONFIRMED if confirming else content.SEARCHED)

    def publish_report(self, study_run_id: str, paths: Path | str | Iterable[Path | str]) -> list[str]:
        """Copy a report into the artifacts of the parent run and return the names.

        Args:
            study_run_id: what `publish_study` returned.
            paths: the report's folder (its HTML, Markdown, PNG, SVG, CSV and JSON files are taken), or files.
        """
        with self._writing(f"publishing the report of study {self._study_name!r}") as runs:
            files = _report_files(paths)
            for path in files:
                runs.set_file(study_run_id, path)
        return [path.name for path in files]

    def reconcile(self, study: StudyView) -> ReconcileSummary:
        """Publish whatever is missing or stale, close runs left open, and remove duplicates.

        A trial that cannot be published does not keep the others from it.

        Raises:
            TrackingError: the store cannot be reached, or two trials in a row failed.
        """
        self._resting_until = 0.0
        parent = self.publish_study(study)
        with self._writing(f"reading study {study.name!r}") as runs:
            found = runs.in_order({"mlflow.parentRunId": parent, content.KIND: content.SEARCHED})
        numbers = {str(trial.number) for trial in study.trials}
        digests: dict[str, tuple[str, tuple[str | None, str]]] = {}
        closed, duplicates = [], []
        for run in found:
            number = run.data.tags.get(content.TRIAL, "")
            with self._writing(f"closing run {run.info.run_id}") as runs:
                if number in digests:
                    runs.delete(run.info.run_id)
                    duplicates.append(run.info.run_id)
                elif number in numbers:
                    digests[number] = (run.info.run_id, (run.data.tags.get(content.DIGEST), run.info.status))
                elif run.info.status == "RUNNING":
                    runs.close(run.info.run_id, "KILLED", _now_ms())
                    closed.append(run.info.run_id)
        run_ids: dict[int, str] = {}
        published, unchanged, failed = [], [], {}
        before_failed = False
        for trial in study.trials:
            run_id, shown = digests.get(str(trial.number), (None, None))
            if run_id is not None and shown == _shown(study, trial):
                run_ids[trial.number] = run_id
                unchanged.append(trial.number)
                continue
            try:
                run_ids[trial.number] = self.publish_trial(study, trial)
            except TrackingError as error:
                if before_failed:
                    raise
                failed[trial.number] = str(error)
                self._resting_until = 0.0
                before_failed = True
            else:
                published.append(trial.number)
                before_failed = False
        return ReconcileSummary(
            parent, run_ids, tuple(published), tuple(unchanged), failed, tuple(closed), tuple(duplicates)
        )

    @contextmanager
    def _writing(self, doing: str) -> Iterator["RunWriter"]:
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
        prepare_environment()  # MLflow reads its log level while it is imported
        from adapter_sweep.tracking import store  # imports mlflow, which takes seconds
        from adapter_sweep.tracking.runs import RunWriter

        deadline = Deadline()
        if self._client is None:
            self._client = store.open_client(self.uri, self._results_dir)
            deadline = Deadline()  # making a cold store takes seconds on a busy machine, and happens once
        if self._experiment is None:
            with store.store_lock(self._results_dir):
                self._experiment = store.experiment_id(
                    self._client, self.uri, self._study_name, self._results_dir, deadline
                )
        return RunWriter(self._client, self._experiment, deadline)

    def _study(self, runs: "RunWriter", study: StudyView, active: bool) -> str:
        from adapter_sweep.tracking import store

        status, end_ms = _study_status(study, active)
        tags = content.study_tags(study)
        start_ms = content.millis(study.created) if study.created else _now_ms()
        with store.store_lock(self._results_dir):
            run = self._parent_run(runs, tags) or runs.create(f"study {study.name}", start_ms, tags)
        self._parent = str(run.info.run_id)
        digest = content.digest(study, status)
        if run.data.tags.get(content.DIGEST) == digest and run.info.status == status:
            return self._parent
        anchors = content.anchor_metrics(study).items()
        points = [content.Point(name, value, 0, start_ms) for name, value in anchors]
        note = presentation.study_note(study, runs.experiment_id, self._parent)
        runs.describe(note | presentation.saved_view(study))
        runs.write(run, content.study_params(study), tags | note, points)
        runs.set_text(run, content.config_yaml(study.config), "config.yaml")
        if (data := content.dataset(study)) is not None:
            runs.set_dataset(run, *data)
        runs.finish(run, status, end_ms, digest)
        return self._parent

    def _parent_run(self, runs: "RunWriter", tags: Mapping[str, str]) -> "Run | None":
        # Two studies of one name may share a server's experiment: the time of their making tells them apart.
        created = tags.get(content.STUDY_CREATED)
        known = runs.in_order({content.KIND: "study"})
        same = [run for run in known if run.data.tags.get(content.STUDY_CREATED) == created]
        undated = [run for run in known if content.STUDY_CREATED not in run.data.tags]
        return next(iter(same or undated or (known if created is None else [])), None)

    def _trial(self, runs: "RunWriter", study: StudyView, trial: TrialView, kind: str) -> str:
        from adapter_sweep.tracking import store

        parent = self._parent or self._study(runs, study, active=True)
        identity = {"mlflow.parentRunId": parent, content.KIND: kind, content.TRIAL: str(trial.number)}
        tags = content.trial_tags(study, trial, parent, kind) | presentation.trial_note(study, trial)
        now_ms = _now_ms()
        with store.store_lock(self._results_dir):
            run = runs.find(identity, trial.mlflow_run_id)
            if run is None:
                start_ms = content.millis(trial.started) if trial.started else now_ms
                run = runs.create(presentation.trial_name(study, trial, kind), start_ms, tags)
                if is_server(self.uri):  # another machine may have made one meanwhile: both keep the first
                    first = runs.find(identity)
                    if first is not None and first.info.run_id != run.info.run_id:
                        runs.delete(run.info.run_id)
                        run = first
        run_id = str(run.info.run_id)
        digest, status = _shown(study, trial)
        if (run.data.tags.get(content.DIGEST), run.info.status) == (digest, status):
            return run_id
        runs.write(run, content.params(trial.params), tags, content.points(trial, now_ms))
        if trial.config:
            runs.set_text(run, content.config_yaml(trial.config), "config.yaml")
        if (data := content.dataset(trial)) is not None:
            runs.set_dataset(run, *data)
        for path in content.weights_files(trial):
            runs.set_file(run_id, path, "adapter")
        runs.finish(run, status, content.end_ms(trial), digest)
        return run_id


def _report_files(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    if not isinstance(paths, str | Path):
        return [Path(path) for path in paths]
    return [path for path in sorted(Path(paths).iterdir()) if path.suffix in _REPORT_FILES and path.is_file()]


def _shown(study: StudyView, trial: TrialView) -> tuple[str, str]:
    """Digest and status of a run that shows `trial` as it is."""
    return content.digest(trial, study.name), content.STATUS[trial.state]


def _study_status(study: StudyView, active: bool) -> tuple[str, int | None]:
    if active or study.in_state(TrialState.RUNNING):
        return "RUNNING", None
    ends = [content.millis(trial.ended) for trial in study.trials if trial.ended]
    done = sum(trial.state.counts for trial in study.trials) >= study.n_trials
    return ("FINISHED" if done else "KILLED"), max(ends, default=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
