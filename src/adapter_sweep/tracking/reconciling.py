"""Bringing the whole view of a study up to date with its ledger."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.tracking import content
from adapter_sweep.tracking.failure import TrackingError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from adapter_sweep.tracking.runs import RunWriter

__all__ = ["Publishing", "ReconcileSummary", "Source", "reconcile"]

_IN_A_ROW = 3  # trials that fail one after the other: the store is what fails, and the others are not tried


class Source(Protocol):
    """Where a study is read: its ledger."""

    def view(self) -> StudyView:
        """The study as it stands, its trials without their curves and configurations."""

    def view_trial(self, number: int) -> TrialView:
        """One trial with all there is of it."""


class Publishing(Protocol):
    """What publishes a study and its trials: a `Tracker`."""

    def publish_study(self, study: StudyView, *, active: bool = False) -> str:
        """Make or update the study's run; its id."""

    def publish_trial(self, study: StudyView, trial: TrialView, *, confirming: bool = False) -> str:
        """Make or update a trial's run; its id."""

    def writing(self, doing: str) -> AbstractContextManager["RunWriter"]:
        """Write to the store; what fails is a `TrackingError`."""

    def wake(self) -> None:
        """Try a store again that has failed."""


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
        duplicates: further runs of the study or of a trial, moved to MLflow's trash.
    """

    parent_run_id: str
    run_ids: Mapping[int, str] = field(default_factory=dict)
    published: tuple[int, ...] = ()
    unchanged: tuple[int, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()


def reconcile(to: Publishing, trials_of: Source, study_of: Source, *, active: bool) -> ReconcileSummary:
    """Publish whatever is missing or stale, close runs left open, and remove duplicates.

    Trials that run are left to the end that they come to: nothing but an open run could be shown of them.

    Args:
        to: the tracker.
        trials_of: the study whose trials are shown.
        study_of: the study under whose run; another one, where the trials are its finalists.
        active: whether more trials are about to run.

    Raises:
        TrackingError: the store could not be reached.
    """
    to.wake()
    study, confirming = study_of.view(), trials_of is not study_of
    kind = content.CONFIRMED if confirming else content.SEARCHED
    parent = to.publish_study(study, active=active)
    with to.writing(f"reading study {study.name!r}") as runs:
        removed = _one_parent(runs, study, parent)
        found = runs.in_order({"mlflow.parentRunId": parent, content.KIND: kind})
    # Read after the runs, so that a run whose trial is not in the ledger is none that has begun meanwhile.
    trials = trials_of.view().trials
    first, more = _first_of_each(found)
    with to.writing(f"closing runs of study {study.name!r}") as runs:
        removed += _delete(runs, more)
        closed = _close(runs, [run for number, run in first.items() if number not in {t.number for t in trials}])
    shown = {
        number: (run.info.run_id, (run.data.tags.get(content.DIGEST), run.info.status)) for number, run in first.items()
    }
    run_ids: dict[int, str] = {}
    stale: list[int] = []
    for trial in trials:
        if trial.state is not TrialState.RUNNING:
            run_id, what = shown.get(trial.number, (None, None))
            if run_id is None or what != content.shown(study, trial):
                stale.append(trial.number)
            else:
                run_ids[trial.number] = run_id
    unchanged = tuple(run_ids)
    published, failed = _publish(to, trials_of, study, stale, confirming=confirming)
    if published:
        with to.writing(f"reading study {study.name!r}") as runs:
            # Another machine may have made a run of the same trial at the same moment.
            _, more = _first_of_each(runs.in_order({"mlflow.parentRunId": parent, content.KIND: kind}))
            removed += _delete(runs, more)
    return ReconcileSummary(
        parent, run_ids | published, tuple(published), unchanged, failed, tuple(closed), tuple(removed)
    )


def _one_parent(runs: "RunWriter", study: StudyView, parent: str) -> list[str]:
    """Put the trials of further runs of the study under the first one; the ids of those, which are deleted."""
    tags = content.study_tags(study)
    same = [run for run in runs.in_order({content.KIND: "study"}) if content.is_run_of(tags, run.data.tags)]
    others = [run for run in same if run.info.run_id != parent]
    for other in others:
        for run in runs.in_order({"mlflow.parentRunId": other.info.run_id}):
            runs.tag(run.info.run_id, "mlflow.parentRunId", parent)
    return _delete(runs, others)


def _first_of_each(found: Sequence["Run"]) -> tuple[dict[int, "Run"], list["Run"]]:
    """Trial number -> its run, the first one published, and the others."""
    first: dict[int, Run] = {}
    more: list[Run] = []
    for run in found:
        number = run.data.tags.get(content.TRIAL, "")
        if number.isdecimal() and first.setdefault(int(number), run) is not run:
            more.append(run)
    return first, more


def _delete(runs: "RunWriter", several: Sequence["Run"]) -> list[str]:
    for run in several:
        runs.delete(run.info.run_id)
    return [run.info.run_id for run in several]


def _close(runs: "RunWriter", unknown: Sequence["Run"]) -> list[str]:
    still_open = [run.info.run_id for run in unknown if run.info.status == "RUNNING"]
    for run_id in still_open:
        runs.close(run_id, "KILLED", content.now_ms())
    return still_open


def _publish(
    to: Publishing, source: Source, study: StudyView, numbers: Sequence[int], *, confirming: bool
) -> tuple[dict[int, str], dict[int, str]]:
    """Publish trials; the runs of those that could be, and why the others could not.

    What fails is tried once more at the end: two processes that publish one trial at once get into each other's way.
    """
    published: dict[int, str] = {}
    failed: dict[int, str] = {}
    again: list[int] = []
    in_a_row = 0
    left: Iterator[int] = itertools.chain(numbers, again)
    for number in left:
        try:
            published[number] = to.publish_trial(study, source.view_trial(number), confirming=confirming)
            failed.pop(number, None)
            in_a_row = 0
        except (LookupError, OSError, ValueError) as error:  # its files are damaged: it is not the store that fails
            failed[number] = f"trial {number} cannot be read: {type(error).__name__}: {error}"
        except TrackingError as error:
            if number not in failed:
                again.append(number)
            failed[number] = str(error)
            in_a_row += 1
            if in_a_row == _IN_A_ROW:
                break
            to.wake()
    if failed:
        why = next(reversed(failed.values()))
        failed = {**dict.fromkeys((number for number in left if number not in failed), why), **failed}
    return published, failed
