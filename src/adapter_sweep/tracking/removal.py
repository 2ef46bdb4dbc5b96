"""Taking a study's runs out of MLflow, for ever where the store is a database; a server keeps them in its trash."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_sweep.records import StudyView
from adapter_sweep.tracking import content
from adapter_sweep.tracking.address import is_server, local_store_path, store_uri
from adapter_sweep.tracking.failure import prepare_environment, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

__all__ = ["remove_runs"]

_RUNS_PER_CALL = 1000
_ARTIFACTS = "mlartifacts"
_DELETED = ".deleted-"  # after the name of an experiment in the trash


def remove_runs(study: StudyView, results_dir: Path, tracking_uri: str | None) -> int:
    """Remove a study's runs, their artifacts, and its experiment where nobody else's runs are in it.

    Another study of that name, which a server may show in the same experiment, is left alone. Doing it again finishes
    what was cut short. No store is made where there is none.

    Returns:
        How many runs were removed.

    Raises:
        TrackingError: the store cannot be reached or written.
        UserInputError: `results_dir` cannot be written as a database URI.
    """
    uri = store_uri(results_dir, tracking_uri)
    file = local_store_path(uri)
    if file is not None and not file.exists():
        return 0
    with tracking_errors(f"removing the runs of study {study.name!r}", uri):
        prepare_environment()
        from adapter_sweep.tracking import store

        client = store.open_client(uri, results_dir)
        with store.store_lock(results_dir):
            runs = 0
            for experiment in _experiments(client, study.name):
                runs += _remove(client, experiment, study, results_dir, uri)
        return runs


def _remove(client: "MlflowClient", experiment: "Experiment", study: StudyView, results_dir: Path, uri: str) -> int:
    every = dict(_runs(client, experiment, study))
    ours = [run_id for run_id, own in every.items() if own]
    alone = len(ours) == len(every)
    for run_id in ours:
        client.delete_run(run_id)
    if alone and experiment.lifecycle_stage != "deleted":
        # Under another name: a new study of this one would else get the experiment back from the trash, runs and all.
        client.rename_experiment(experiment.experiment_id, f"{experiment.name}{_DELETED}{time.time_ns()}")
        client.delete_experiment(experiment.experiment_id)
    if alone and not is_server(uri):  # by its experiment: asked for runs, MLflow empties the trash of others as well
        _collect(uri, experiment.experiment_id)
        for run_id in ours:  # MLflow leaves an empty folder of each
            with contextlib.suppress(OSError):
                (results_dir / _ARTIFACTS / run_id).rmdir()
    return len(ours)


def _experiments(client: "MlflowClient", name: str) -> list["Experiment"]:
    """The experiment of that name, and those that an earlier removal has left in the trash."""
    from mlflow.entities import ViewType

    found = client.search_experiments(ViewType.ALL, filter_string=f"name LIKE '{name}%'")
    trash = [one for one in found if one.name.startswith(name + _DELETED) and one.lifecycle_stage == "deleted"]
    return [one for one in found if one.name == name] + trash


def _runs(client: "MlflowClient", experiment: "Experiment", study: StudyView) -> Iterator[tuple[str, bool]]:
    """Every run of an experiment, those in the trash included, and whether it is of this very study."""
    from mlflow.entities import ViewType

    runs = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], "", ViewType.ALL, _RUNS_PER_CALL, page_token=token)
        runs += list(page)
        token = page.token
        if not token:
            break
    tags = content.study_tags(study)
    parents = {
        run.info.run_id
        for run in runs
        if run.data.tags.get(content.KIND) == "study" and content.is_run_of(tags, run.data.tags)
    }
    for run in runs:
        yield run.info.run_id, run.info.run_id in parents or run.data.tags.get("mlflow.parentRunId") in parents


def _collect(uri: str, experiment_id: str) -> None:
    # For ever: MLflow has its command for it, and no public function.
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "gc", "--experiment-ids", experiment_id],
        env={**os.environ, "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_TRACKING_URI": uri},  # which may hold a password
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last_line = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"what is in MLflow's trash could not be removed: {last_line}")
