"""Writing one run: found or made once, then brought up to date. All changes to runs are made here."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from adapter_sweep.tracking.content import DIGEST, OWN_PREFIXES, PUBLISHED, REPORT, Point
from adapter_sweep.tracking.failure import Deadline
from adapter_sweep.tracking.presentation import NOTE_DIGEST, unless_edited

__all__ = ["RunWriter"]

Item = TypeVar("Item")

_RUNS_PER_CALL = 1000  # MLflow's limits; those of one batch add up to another, 1000
_METRICS_PER_CALL = 800
_PARAMS_PER_CALL = 100
_TAGS_PER_CALL = 100
_DIGEST_LENGTH = 36
_KEPT = (DIGEST, PUBLISHED, REPORT, NOTE_DIGEST)  # tags of ours that say how things stand, not what is shown


class RunWriter:
    """Runs of one experiment, read and written with a deadline between requests."""

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        deadline: Deadline,
        lock: Callable[[], AbstractContextManager[None]],
        *,
        shared: bool,
    ) -> None:
        """Name the experiment.

        Args:
            client: of the store.
            experiment_id: MLflow's.
            deadline: when to give up.
            lock: held while a run is looked for and made; among the processes of this machine.
            shared: whether other machines may write to the store, which the lock does not keep away.
        """
        self._client = client
        self.experiment_id = experiment_id
        self._deadline = deadline
        self._lock = lock
        self._shared = shared

    def _search(self, tags: Mapping[str, str]) -> Iterator[Run]:
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        token = None
        while True:
            self._deadline.check()
            page = self._client.search_runs([self.experiment_id], wanted, max_results=_RUNS_PER_CALL, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def in_order(self, tags: Mapping[str, str]) -> list[Run]:
        """Every run with these tags that is not deleted, the first published first."""
        return sorted(self._search(tags), key=_first_published)

    def claim(
        self,
        candidates: Callable[[], list[Run]],
        name: str,
        start_ms: int,
        tags: Mapping[str, str],
        hint: tuple[str | None, Mapping[str, str]] = (None, {}),
    ) -> Run:
        """The one run of something, made where there is none; however many processes ask for it at once.

        Args:
            candidates: finds the runs there are, the one to keep first.
            name: of the run that is made.
            start_ms: when it started.
            tags: what it is made with, all at once: `candidates` finds it from then on.
            hint: the id of the run that it probably is, and the tags that it has if it is.
        """
        with self._lock():
            run = self._hinted(*hint) or next(iter(candidates()), None)
            if run is None:
                run = self.create(name, start_ms, tags)
                if self._shared:  # another machine may have made one meanwhile: both keep the first
                    first = next(iter(candidates()), run)
                    if first.info.run_id != run.info.run_id:
                        self.delete(run.info.run_id)
                        run = first
        return run

    def _hinted(self, run_id: str | None, tags: Mapping[str, str]) -> Run | None:
        if run_id is None:
            return None
        self._deadline.check()
        try:
            run = self._client.get_run(run_id)
        except Exception:  # of another store; an unreachable one fails again in the search that follows
            return None
        here = run.info.lifecycle_stage == "active" and run.info.experiment_id == self.experiment_id
        return run if here and all(run.data.tags.get(name) == value for name, value in tags.items()) else None

    def create(self, name: str, start_ms: int, tags: Mapping[str, str]) -> Run:
        """Make a run that started at `start_ms`; its times are the trial's, not the publishing's."""
        self._deadline.check()
        stamped = {**tags, PUBLISHED: str(time.time_ns())}
        return self._client.create_run(self.experiment_id, start_time=start_ms, tags=stamped, run_name=name)

    def describe(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment that differ; a description that the user changed is left alone."""
        self._deadline.check()
        known = self._client.get_experiment(self.experiment_id).tags
        for name, value in unless_edited(known, tags).items():
            if known.get(name) != value:
                self._deadline.check()
                self._client.set_experiment_tag(self.experiment_id, name, value)

    def delete(self, run_id: str) -> None:
        """Move a run to MLflow's trash."""
        self._deadline.check()
        self._client.delete_run(run_id)

    def tag(self, run_id: str, name: str, value: str) -> None:
        """Set one tag of a run."""
        self._deadline.check()
        self._client.set_tag(run_id, name, value)

    def tags(self, run_id: str) -> dict[str, str]:
        """The tags of a run."""
        self._deadline.check()
        return dict(self._client.get_run(run_id).data.tags)

    def write(self, run: Run, params: Mapping[str, str], tags: Mapping[str, str], points: Sequence[Point] = ()) -> None:
        """Log what is missing of a run, in as few requests as MLflow's limits allow: one, for most.

        MLflow never changes a parameter: what differs goes into a tag `changed.*`. Our tags become these, and the
        user's own are left alone, a description that the user changed included. MLflow cannot take a point back,
        and lists the one of the highest step, then the latest time: a value that changed is added after the old
        one, so that the last point is the one it lists.
        """
        known = run.data.params
        new = [Param(name, value) for name, value in params.items() if name not in known]
        changed = {f"changed.{name}"[:250]: v for name, v in params.items() if known.get(name, v) != v}
        tags = unless_edited(run.data.tags, tags)
        differing = {name: value for name, value in tags.items() if run.data.tags.get(name) != value}
        batches = itertools.zip_longest(
            _chunks(new, _PARAMS_PER_CALL),
            _chunks([RunTag(name, value) for name, value in (differing | changed).items()], _TAGS_PER_CALL),
            _chunks(self._missing_points(run, points), _METRICS_PER_CALL),
            fillvalue=(),
        )
        for some_params, some_tags, some_metrics in batches:
            self._log(run, params=some_params, tags=some_tags, metrics=some_metrics)
        for name in run.data.tags:
            if name.startswith(OWN_PREFIXES) and name not in tags and name not in _KEPT:
                self._untag(run.info.run_id, name)

    def _untag(self, run_id: str, name: str) -> None:
        self._deadline.check()
        try:
            self._client.delete_tag(run_id, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # another process has removed it meanwhile
                raise

    def _missing_points(self, run: Run, points: Sequence[Point]) -> list[Metric]:
        series: dict[str, list[Point]] = {}
        for point in points:
            series.setdefault(point.key, []).append(point)
        missing: list[Metric] = []
        for name, wanted in series.items():
            latest = run.data.metrics.get(name)
            if latest is None:
                missing += [_metric(point, 0) for point in wanted]
            elif len(wanted) > 1 or not _same(latest, wanted[-1].value):
                missing += self._missing(run, name, wanted, latest)
        return missing

    def _missing(self, run: Run, name: str, wanted: list[Point], latest: float) -> list[Metric]:
        self._deadline.check()
        history = self._client.get_metric_history(run.info.run_id, name)
        there = {(old.step, repr(old.value)) for old in history}
        steps = {old.step for old in history}
        after = max(old.timestamp for old in history) + 1
        missing = [
            _metric(point, after if point.step in steps else 0)
            for point in wanted
            if (point.step, repr(point.value)) not in there
        ]
        if not missing and not _same(latest, wanted[-1].value):
            missing = [_metric(wanted[-1], after)]
        return missing

    def set_dataset(self, run: Run, name: str, digest: str, source: Mapping[str, object]) -> None:
        """Make a data set the run's input, unless it is already."""
        digest = digest[:_DIGEST_LENGTH]
        if any(known.dataset.digest == digest and known.dataset.name == name for known in _datasets(run)):
            return
        self._deadline.check()
        dataset = Dataset(name, digest, source_type="adapter-sweep", source=json.dumps(source))
        context = InputTag(key="mlflow.data.context", value="training")
        self._client.log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])

    def set_text(self, run: Run, text: str, name: str) -> None:
        """Write a text artifact, over an older one of that name."""
        self._deadline.check()
        self._client.log_text(run.info.run_id, text, name)

    def set_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file into the run's artifacts, over an older one of that name."""
        self._deadline.check()
        self._client.log_artifact(run_id, str(path), folder)

    def finish(self, run: Run, status: str, end_ms: int | None, digest: str) -> None:
        """Set status and end, then the digest: last, so that a publishing cut short is seen as stale."""
        self.close(run.info.run_id, status, end_ms)
        self._log(run, tags=[RunTag(DIGEST, digest)])

    def close(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Set a run's status, and its end where `end_ms` is given."""
        self._deadline.check()
        if end_ms is None:
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status=status, end_time=end_ms)

    def _log(self, run: Run, **batch: Sequence[Metric | Param | RunTag]) -> None:
        self._deadline.check()
        self._client.log_batch(run.info.run_id, **batch, synchronous=True)


def _first_published(run: Run) -> tuple[int, str]:
    """Order of two runs of one trial: every process keeps the same one, whatever its clock and luck."""
    stamp = run.data.tags.get(PUBLISHED, "")
    return (int(stamp) if stamp.isdecimal() else 0, run.info.run_id)


def _metric(point: Point, not_before_ms: int) -> Metric:
    return Metric(point.key, point.value, max(point.time_ms, not_before_ms), point.step)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _datasets(run: Run) -> list[DatasetInput]:
    return list(run.inputs.dataset_inputs) if run.inputs else []


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
