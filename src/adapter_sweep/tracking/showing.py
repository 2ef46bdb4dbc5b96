"""Bringing one run of the view up to date: that of a study, that of a trial."""

from collections.abc import Mapping

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.tracking import content, presentation
from adapter_sweep.tracking.runs import RunWriter

__all__ = ["in_the_trash", "show_study", "show_trial", "study_runs"]


def show_study(runs: RunWriter, study: StudyView, *, active: bool) -> str:
    """Make or update a study's own run; its id. RUNNING, where `active`, or while a trial runs."""
    status, end_ms = _study_status(study, active)
    tags = content.study_tags(study)
    start_ms = content.millis(study.created) if study.created else content.now_ms()
    run = runs.claim(lambda: study_runs(runs, tags), f"study {study.name}", start_ms, tags)
    run_id = str(run.info.run_id)
    digest = content.digest(study, status)
    if (run.data.tags.get(content.DIGEST), run.info.status) == (digest, status):
        return run_id
    anchors = content.anchor_metrics(study).items()
    points = [content.Point(name, value, 0, start_ms) for name, value in anchors]
    note = presentation.study_note(study, runs.experiment_id, run_id)
    runs.describe(note | presentation.saved_view(study))
    runs.write(run, content.study_params(study), tags | note, points)
    runs.set_text(run, content.config_yaml(study.config), "config.yaml")
    if (data := content.dataset(study)) is not None:
        runs.set_dataset(run, *data)
    runs.finish(run, status, end_ms, digest)
    return run_id


def study_runs(runs: RunWriter, tags: Mapping[str, str]) -> list[Run]:
    """The runs that show a study itself, the one to keep first; more than one where two hosts made theirs at once."""
    known = runs.in_order({content.KIND: "study"})
    same = [run for run in known if content.is_run_of(tags, run.data.tags)]
    if same or content.STUDY_IDENTITY in tags:
        return same
    # Of an earlier version's study: a run that was made before its first trial.
    return [run for run in known if not {content.STUDY_CREATED, content.STUDY_IDENTITY} & run.data.tags.keys()]


def show_trial(runs: RunWriter, study: StudyView, trial: TrialView, parent: str, kind: str) -> str:
    """Make or update the run of a trial; its id. Where the run shows the trial as it is, nothing is sent."""
    identity = {"mlflow.parentRunId": parent, content.KIND: kind, content.TRIAL: str(trial.number)}
    tags = content.trial_tags(study, trial, parent, kind) | presentation.trial_note(study, trial)
    now = content.now_ms()
    start_ms = content.millis(trial.started) if trial.started else now
    name = presentation.trial_name(study, trial, kind)
    run = runs.claim(lambda: runs.in_order(identity), name, start_ms, tags, (trial.mlflow_run_id, identity))
    run_id = str(run.info.run_id)
    digest, status = content.shown(study, trial)
    if (run.data.tags.get(content.DIGEST), run.info.status) == (digest, status):
        return run_id
    runs.write(run, content.params(trial.params), tags, content.points(trial, now))
    if trial.config:
        runs.set_text(run, content.config_yaml(trial.config), "config.yaml")
    if (data := content.dataset(trial)) is not None:
        runs.set_dataset(run, *data)
    for path in content.weights_files(trial):
        runs.set_file(run_id, path, "adapter")
    runs.finish(run, status, content.end_ms(trial), digest)
    return run_id


def in_the_trash(error: Exception) -> bool:
    """Whether a run could not be written as another process, or the user, had it deleted meanwhile."""
    return isinstance(error, MlflowException) and "must be in the 'active' state" in str(error)


def _study_status(study: StudyView, active: bool) -> tuple[str, int | None]:
    if active or study.in_state(TrialState.RUNNING):
        return "RUNNING", None
    ends = [content.millis(trial.ended) for trial in study.trials if trial.ended]
    done = sum(trial.state.counts for trial in study.trials) >= study.n_trials
    return ("FINISHED" if done else "KILLED"), max(ends, default=content.now_ms())
