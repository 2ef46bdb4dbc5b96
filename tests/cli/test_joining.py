"""`worker`: hosts that share a database and nothing else run one study. A host is a process with a name of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.ledger import Ledger
from failing_server import mlflow_server
from postgres import PASSWORD, Server

Cli = Callable[..., subprocess.CompletedProcess[str]]
MAIN = "from adapter_sweep.cli import main; main()"
SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]
PATIENCE = 240.0


def command(host: str, *arguments: str) -> list[str]:
    """`adapter-sweep ARGUMENTS…` on a host of that name."""
    script = f'hostname {host} && exec "$@"'
    return ["unshare", "--uts", "sh", "-c", script, "sh", sys.executable, "-c", MAIN, *arguments]


needs_hosts = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode != 0,
    reason="cannot give a process a host name of its own (needs unshare and the right to use it)",
)


class Fleet:
    """Processes on hosts of their own, each with its own results folder, that know the ledger from the environment."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, host: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        home = self.folder / host
        home.mkdir(exist_ok=True)
        process = subprocess.Popen(
            command(host, *arguments),
            cwd=home,
            env=os.environ | {"ADAPTER_SWEEP_STORAGE": self.url, "PYTHONUNBUFFERED": "1", **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.processes.append(process)
        return process

    def ended(self, process: "subprocess.Popen[str]") -> str:
        out, _ = process.communicate(timeout=PATIENCE)
        assert PASSWORD not in out
        return out

    def view(self) -> StudyView:
        return Ledger.read("quickstart", url=self.url, results_dir=self.folder / "looker").view()


@pytest.fixture
def fleet(postgres: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    found = Fleet(tmp_path, postgres.database(request.node.name[:60]))
    yield found
    for process in found.processes:
        process.kill()
        process.communicate()


def until(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError("".join(seen))


@pytest.mark.postgres
@needs_hosts
def test_another_host_joins_leaves_and_the_study_is_whole(fleet: Fleet, tiny_settings: list[str]) -> None:
    first = fleet.start("first", "run", *tiny_settings, *SPACE, "study.n_trials=6", "train.epochs=120")
    until(first, "epoch 1/120")
    leaves = fleet.start("leaves", "worker", "quickstart", "--count", "1")
    joins = fleet.start("joins", "worker", "quickstart", "--count", "1", "results_dir=elsewhere")
    until(leaves, "epoch 1/120")
    leaves.send_signal(signal.SIGTERM)
    left = fleet.ended(leaves)
    assert leaves.returncode == 130, left
    assert "The study goes on without this worker" in left
    joined, out = fleet.ended(joins), fleet.ended(first)
    assert (joins.returncode, first.returncode) == (0, 0), joined + out
    assert "No more to begin: 6 of 6 trials" in joined

    study = fleet.view()
    assert [trial.state for trial in study.counted()] == [TrialState.COMPLETE] * 6
    (interrupted,) = study.in_state(TrialState.INTERRUPTED)
    assert interrupted.provenance["host"] == "leaves"
    by_host = {trial.provenance["host"]: trial for trial in study.in_state(TrialState.COMPLETE)}
    assert by_host.keys() >= {"first", "joins"}
    # Each host keeps what its trials left, and the report of the first is whole all the same.
    number = f"{by_host['joins'].number:05d}"
    assert (fleet.folder / f"joins/elsewhere/quickstart/trials/{number}/adapter/adapter.safetensors").is_file()
    assert not (fleet.folder / f"first/results/quickstart/trials/{number}").exists()
    front = json.loads((fleet.folder / "first/results/quickstart/front.json").read_text(encoding="utf-8"))
    assert front
    assert "Pareto front of quickstart" in out  # it waited for the trials of the others
    assert "***" not in json.dumps(dict(study.config["tracking"]))  # type: ignore[call-overload]
    with sqlalchemy.create_engine(fleet.url, poolclass=sqlalchemy.NullPool).connect() as connection:
        facts = connection.exec_driver_sql("SELECT value_json FROM study_user_attributes").scalars().all()
    assert not [fact for fact in facts if PASSWORD in fact]


@pytest.mark.postgres
@needs_hosts
def test_a_host_that_could_not_be_compared_is_refused(fleet: Fleet, tiny_settings: list[str], tmp_path: Path) -> None:
    first = fleet.start("first", "run", *tiny_settings, *SPACE, "study.n_trials=1", "tracking=none")
    assert first.wait(PATIENCE) == 0, fleet.ended(first)
    other = tmp_path / "other.csv"
    other.write_text((tmp_path / "toy.csv").read_text(encoding="utf-8").replace("really", "truly"), encoding="utf-8")
    with_other_data = fleet.start("second", "worker", "quickstart", f"task.path={other}")
    out = fleet.ended(with_other_data)
    assert with_other_data.returncode == 2, out
    assert "data_fingerprint" in out
    assert "would not be comparable" in out


@pytest.mark.postgres
def test_ledger_and_mlflow_are_both_on_postgresql_and_a_worker_is_told_where(
    cli: Cli, tiny_settings: list[str], tmp_path: Path, postgres: Server
) -> None:
    url, store = postgres.database("ledger"), postgres.database("mlflow")
    with mlflow_server(tmp_path, store) as port:
        server = f"http://127.0.0.1:{port}"
        settings = [*tiny_settings, *SPACE, f"study.storage={url}", f"tracking.uri={server}"]
        first = cli("run", *settings, "study.n_trials=1")
        assert first.returncode == 0, first.stderr
        ledger = Ledger.read("quickstart", url=url, results_dir=tmp_path / "looker")
        ledger.set_facts(n_trials=2)
        joined = cli(
            "worker", "quickstart", "--storage", url, "--tracking", server, "--count", "1", "results_dir=elsewhere"
        )
        assert joined.returncode == 0, joined.stderr
        assert "No more to begin: 2 of 2 trials" in joined.stdout
        assert PASSWORD not in first.stdout + first.stderr + joined.stdout + joined.stderr
        study = ledger.view()
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
        client = MlflowClient(server)
        for trial in study.trials:
            assert trial.mlflow_run_id is not None
            run = client.get_run(trial.mlflow_run_id)
            assert run.info.status == "FINISHED"
            assert run.data.metrics["accuracy"] == trial.metrics["accuracy"]
            assert run.data.tags["mlflow.parentRunId"] == study.mlflow_run_id
            assert client.list_artifacts(trial.mlflow_run_id, "adapter")
    with sqlalchemy.create_engine(store, poolclass=sqlalchemy.NullPool).connect() as connection:
        kept = connection.exec_driver_sql("SELECT run_uuid FROM runs").scalars().all()
    assert set(kept) >= {study.mlflow_run_id, *(trial.mlflow_run_id for trial in study.trials)}
    assert (tmp_path / "elsewhere/quickstart/trials/00001").is_dir()


@pytest.fixture
def begun(cli: Cli, tiny_settings: list[str]) -> None:
    done = cli("run", *tiny_settings, *SPACE, "study.n_trials=1")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("begun")
def test_a_worker_of_the_same_host_joins_on_sqlite(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("worker", "quickstart", "--count", "1")
    assert done.returncode == 0, done.stderr
    assert "No more to begin: 1 of 1" in done.stdout

    refused = cli("worker", "quickstart", "train.lr=1e-3", "method=head", "results_dir=results")
    assert refused.returncode == 2
    assert refused.stderr.count("the study decides it") == 2

    monkeypatch.setattr("adapter_sweep.cli.joining.code_provenance", lambda: {"torch": "1.0"})
    other = cli("worker", "quickstart")
    assert other.returncode == 2
    assert "  torch: " in other.stderr
    assert "there, 1.0 here" in other.stderr

    monkeypatch.setattr("adapter_sweep.cli.joining.platform.node", lambda: "another")
    elsewhere = cli("worker", "quickstart")
    assert elsewhere.returncode == 2
    assert "only that host may use it" in elsewhere.stderr


def test_a_study_that_there_is_not_is_told(cli: Cli) -> None:
    gone = cli("worker", "none", "--storage", "sqlite:///gone.db")
    assert (gone.returncode, gone.stdout) == (2, "")
