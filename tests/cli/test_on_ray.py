"""`workers=ray`: a cluster of three nodes, simulated on this host by Ray's own means, one of which dies at work."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.ledger import Ledger, storage_url
from postgres import PASSWORD, Server

Cli = Callable[..., subprocess.CompletedProcess[str]]
MAIN = "from adapter_sweep.cli import main; main()"
SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]
PATIENCE = 600.0

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")]


@pytest.fixture
def on_ray(tiny_settings: list[str]) -> list[str]:
    """The settings of a study whose workers Ray starts, which the tiny settings say are of this host."""
    return [*(text for text in tiny_settings if not text.startswith("workers")), *SPACE, "workers=ray"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes with room for one worker each, and a head without any; commands find it by its address."""
    if not os.environ.get("CI"):
        pytest.importorskip("ray", reason="Ray is not installed; install adapter-sweep[ray]")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        found.nodes = [found.add_node(num_cpus=1) for _ in range(3)]
        yield found
    finally:
        found.shutdown()


def begin(folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def running(view: StudyView) -> list[int]:
    return [trial.number for trial in view.in_state(TrialState.RUNNING)]


def listening_addresses(pid: int) -> set[str]:
    """Where a process and those that it started listen now."""
    found: set[str] = set()
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                found |= {one.laddr.ip for one in process.net_connections("inet") if one.status == "LISTEN"}
    return found


@pytest.mark.postgres
def test_a_node_that_dies_at_work_costs_no_trial(
    cluster: Any, postgres: Server, on_ray: list[str], tmp_path: Path
) -> None:
    url = postgres.database("ray")
    settings = [f"workers.address={cluster.address}", "workers.count=3", "study.n_trials=5", "train.epochs=40"]
    heart = ["study.heartbeat_seconds=2", "tracking=none"]
    process = begin(tmp_path, *on_ray, *settings, *heart, ADAPTER_SWEEP_STORAGE=url)
    try:
        ends = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < ends, "waited in vain"
            time.sleep(0.5)
            try:
                view = Ledger.read("quickstart", url=url, results_dir=tmp_path / "looker").view()
            except Exception:
                continue
            if len(running(view)) == 3:
                break
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, out
    assert PASSWORD not in out
    study = Ledger.read("quickstart", url=url, results_dir=tmp_path / "looker").view()
    assert [trial.state for trial in study.counted()] == [TrialState.COMPLETE] * 5
    dead = study.in_state(TrialState.INTERRUPTED)
    assert len(dead) >= 1
    for trial in dead:
        assert [other.params for other in study.in_state(TrialState.COMPLETE)].count(trial.params) == 1
    assert (tmp_path / "results/quickstart/report.html").is_file()


def test_a_file_is_no_ledger_for_several_nodes(cluster: Any, on_ray: list[str], tmp_path: Path) -> None:
    process = begin(tmp_path, *on_ray, f"workers.address={cluster.address}")
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, out
    assert "an SQLite ledger is for one" in out
    assert not (tmp_path / "results").exists()


def test_ray_on_this_host_alone_shares_a_file_and_shows_its_trials(on_ray: list[str], tmp_path: Path) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("ray", reason="Ray is not installed; install adapter-sweep[ray]")
    process = begin(tmp_path, *on_ray, "workers.count=2", "study.n_trials=3")
    heard_at: set[str] = set()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(process.communicate, timeout=PATIENCE)
        while not waiting.done():
            heard_at |= listening_addresses(process.pid)
            time.sleep(0.5)
    out, _ = waiting.result()
    assert process.returncode == 0, out
    assert heard_at
    assert heard_at <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    results = tmp_path / "results"
    study = Ledger.read("quickstart", url=storage_url(None, results), results_dir=results).view()
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert None not in {study.mlflow_run_id, *(trial.mlflow_run_id for trial in study.trials)}
    assert study.anchors
    assert "Pareto front of quickstart" in out
