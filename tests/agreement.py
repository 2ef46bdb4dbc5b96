"""Whether MLflow shows exactly what the ledger holds: no run too many, none missing, every value the same."""

import math
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.study.confirmation import confirming_study
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.tracking import content

__all__ = ["assert_agreement", "disagreements"]


def assert_agreement(study: str, results_dir: Path, *, uri: str | None = None, storage: str | None = None) -> None:
    """Fail with every disagreement between a study's ledger and its runs in MLflow; its confirmation included.

    Trials that run are not asked for: MLflow may show them as open runs, or not at all.

    Args:
        study: its name.
        results_dir: where the ledger is, unless `storage` says otherwise, and the store, unless `uri` does.
        uri: MLflow's own address of the store.
        storage: the ledger's database.
    """
    assert disagreements(study, results_dir, uri=uri, storage=storage) == []


def disagreements(study: str, results_dir: Path, *, uri: str | None = None, storage: str | None = None) -> list[str]:
    """A line for each way in which MLflow and the ledger differ."""
    url = storage_url(storage, results_dir)
    store = uri or f"sqlite:///{results_dir.resolve() / 'mlflow.db'}"
    ledger = Ledger.read(study, url=url, results_dir=results_dir)
    view = ledger.view()
    client = MlflowClient(store, registry_uri=store)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return [f"MLflow has no experiment {study!r}"]
    runs = [run for run in client.search_runs([experiment.experiment_id], max_results=10_000) if run is not None]
    of_kind: dict[str, list[Run]] = {}
    for run in runs:
        of_kind.setdefault(run.data.tags.get(content.KIND, "unknown"), []).append(run)
    found = [f"{len(some)} runs of kind {kind!r}" for kind, some in of_kind.items() if kind not in _KINDS]
    parents = of_kind.get("study", [])
    if len(parents) != 1:
        return [*found, f"{len(parents)} runs of the study itself"]
    (parent,) = parents
    found += _study(view, parent)
    found += _trials(ledger, view, parent, of_kind.get(content.SEARCHED, []), client)
    try:
        confirmed = Ledger.read(confirming_study(study), url=url, results_dir=results_dir)
    except UserInputError:
        return found + ["confirmed runs of no study"] * bool(of_kind.get(content.CONFIRMED))
    return found + _trials(confirmed, view, parent, of_kind.get(content.CONFIRMED, []), client)


_KINDS = ("study", content.SEARCHED, content.CONFIRMED)


def _study(view: StudyView, run: Run) -> list[str]:
    done = len(view.counted()) >= view.n_trials
    status = "RUNNING" if view.in_state(TrialState.RUNNING) else "FINISHED" if done else "KILLED"
    wanted = {**content.study_tags(view), content.DIGEST: content.digest(view, status)}
    return [
        *_differences("the study", {"status": status}, {"status": run.info.status}),
        *_differences("the study's tag", wanted, _own(run.data.tags, content.PUBLISHED, content.REPORT)),
        *_differences("the study's parameter", content.study_params(view), run.data.params),
        *_differences("the study's metric", content.anchor_metrics(view), run.data.metrics),
        *_differences("the study's id", {"": view.mlflow_run_id}, {"": run.info.run_id}),
    ]


def _trials(ledger: Ledger, study: StudyView, parent: Run, runs: list[Run], client: MlflowClient) -> list[str]:
    shown: dict[str, list[Run]] = {}
    for run in runs:
        shown.setdefault(run.data.tags[content.TRIAL], []).append(run)
    trials = {str(trial.number): trial for trial in ledger.view().trials}
    running = {number for number, trial in trials.items() if trial.state is TrialState.RUNNING}
    found = [f"trial {number} is not in the ledger" for number in sorted(shown.keys() - trials.keys())]
    found += [f"trial {number} is not in MLflow" for number in sorted(trials.keys() - shown.keys() - running)]
    found += [f"trial {number} has {len(several)} runs" for number, several in shown.items() if len(several) > 1]
    for number in sorted(trials.keys() & shown.keys() - running):
        found += _trial(ledger.view_trial(int(number)), study, shown[number][0], parent, client)
    return found


def _trial(trial: TrialView, study: StudyView, run: Run, parent: Run, client: MlflowClient) -> list[str]:
    name = f"trial {trial.number}"
    digest, status = content.shown(study, trial)
    kind = run.data.tags[content.KIND]
    tags = {**content.trial_tags(study, trial, parent.info.run_id, kind), content.DIGEST: digest}
    curves = {f"{key} step {step}": float(value) for key, curve in trial.curves.items() for step, value in curve}
    kept = {
        f"{key} step {point.step}": point.value
        for key, curve in trial.curves.items()
        for point in client.get_metric_history(run.info.run_id, content.key(key))
        if f"{key} step {point.step}" not in curves or (point.step, point.value) in curve
    }
    wanted = {point.key: point.value for point in content.points(trial, 0)}
    return [
        *_differences(f"{name}:", {"status": status}, {"status": run.info.status}),
        *_differences(f"{name}: tag", tags, _own(run.data.tags, content.PUBLISHED)),
        *_differences(f"{name}: parameter", content.params(trial.params), run.data.params),
        *_differences(f"{name}: metric", wanted, run.data.metrics),
        *_differences(f"{name}: curve", curves, kept),
        *_differences(f"{name}: run", {"": trial.mlflow_run_id}, {"": run.info.run_id}),
    ]


def _own(tags: Mapping[str, str], *apart: str) -> dict[str, str]:
    """The tags that are compared: ours, and whose child a run is."""
    ours = (*content.OWN_PREFIXES, "mlflow.parentRunId", "mlflow.source.name", "changed.")
    return {
        name: value
        for name, value in tags.items()
        if name.startswith(ours) and name not in (*apart, "adapter_sweep.note_digest")
    }


def _differences(what: str, ledger: Mapping[str, object], mlflow: Mapping[str, object]) -> list[str]:
    return [
        f"{what} {key}: ledger {ledger.get(key)!r}, MLflow {mlflow.get(key)!r}"
        for key in sorted(ledger.keys() | mlflow.keys())
        if not _same(ledger.get(key), mlflow.get(key))
    ]


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other
