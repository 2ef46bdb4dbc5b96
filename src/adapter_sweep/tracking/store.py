"""Opening the tracking store: a local one is made and migrated here, once."""

import contextlib
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SADeprecationWarning

from adapter_sweep.tracking.address import is_server, local_store_path
from adapter_sweep.tracking.failure import Deadline

__all__ = ["experiment_id", "open_client", "store_lock"]

_LOCK_SECONDS = 60.0  # a cold store takes 2 to 5 seconds to be made, on a busy machine more


@contextmanager
def store_lock(results_dir: Path, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a results folder's MLflow view; one process of this machine at a time.

    Raises:
        filelock.Timeout: other processes held it for so many seconds.
    """
    results_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(results_dir / "mlflow.lock", timeout=seconds):
        yield


def open_client(uri: str, results_dir: Path, lock_seconds: float = _LOCK_SECONDS) -> MlflowClient:
    """Return a client of the store at `uri`, without touching MLflow's global state.

    A SQLite store is made, and one of an older MLflow is migrated, under the lock: several processes that
    start on an empty folder would otherwise run the migrations at once, which MLflow does not survive. No
    copy of an older store is kept: the ledger can fill a new one.
    """
    path = local_store_path(uri)
    if path is None:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    with store_lock(results_dir, lock_seconds), warnings.catch_warnings():
        # MLflow's table models use a loader strategy that SQLAlchemy 2.1 deprecates, once, at their import.
        warnings.simplefilter("ignore", SADeprecationWarning)
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_readable(path)
        try:
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
        except MlflowException as error:
            if "out-of-date database schema" not in str(error):
                raise
            _upgrade(uri)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    return client


def _check_readable(path: Path) -> None:
    """Raise sqlite3.Error at once where a file cannot be a database: MLflow would try again for two minutes."""
    with contextlib.closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as probe:
        probe.execute("PRAGMA schema_version")


def _upgrade(uri: str) -> None:
    # MLflow migrates by itself only where a table is missing. For the rest there is its command, which is run
    # in a process of its own as there is no public function for it.
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "db", "upgrade", uri], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last_line = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"the store of an older MLflow could not be migrated: {last_line}")


def experiment_id(client: MlflowClient, uri: str, name: str, results_dir: Path, deadline: Deadline) -> str:
    """Return the experiment of that name, made where it is missing and restored where it was deleted.

    A server keeps artifacts where it is told to; for a database they go to `mlartifacts` in the results
    folder.
    """
    deadline.check()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # As a URI: a `#` or a `%` in the folder's name would otherwise be read as part of an address.
        location = None if is_server(uri) else (results_dir.resolve() / "mlartifacts").as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens its view for training runs
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        deadline.check()
        experiment = client.get_experiment_by_name(name)  # another machine was faster
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
