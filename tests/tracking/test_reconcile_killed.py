"""Reconciling that is killed, and that several processes do at once: in the end MLflow shows the ledger, exactly."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import CURVES_FILE, Ledger, storage_url
from agreement import assert_agreement

KILLS = 20
TRIALS = 40
RECONCILE = [sys.executable, "-c", "from adapter_sweep.cli import main; main()", "reconcile", "toy"]

# The imports, which take seconds, are made once; each child opens the stores itself.
KILLING = f"""
import os, random, signal, sqlite3, sys, time
from adapter_sweep.cli.reconciling import reconcile_studies
from adapter_sweep.config.compose import compose
from adapter_sweep.tracking import Tracker
import adapter_sweep.tracking.showing, adapter_sweep.tracking.store

results, luck = sys.argv[1], random.Random(0)
config = compose([f"results_dir={{results}}"]).config

def rows(table):
    with sqlite3.connect(f"{{results}}/mlflow.db", timeout=60) as store:
        return store.execute(f"SELECT count(*) FROM {{table}}").fetchone()[0]

killed = 0
while killed < {KILLS}:
    before = rows("runs")
    child = os.fork()
    if child == 0:
        reconcile_studies(["toy"], config)
        os._exit(0)
    while rows("runs") == before and os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.001)
    time.sleep(luck.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        sys.exit("there was nothing left to be sent after %d" % killed)
    killed += 1
print(killed, rows("runs"))
"""


@pytest.fixture
def results(tmp_path: Path, cold_store: Path) -> Path:
    """A study of complete trials, with curves and weights, that MLflow has not seen."""
    space = {"train.lr": "interval(0.1, 0.9)"}
    ledger = Ledger.start(
        "toy",
        url=storage_url(None, tmp_path),
        results_dir=tmp_path,
        definition={},
        objectives={"accuracy": "maximize"},
        space=parse_space(space),
        sampler="random",
        seed=0,
    )
    ledger.set_facts(n_trials=TRIALS, config={"train": {}}, search_space=space, anchors={"none": {"accuracy": 0.1}})
    while (asked := ledger.ask(TRIALS)) is not None:
        trial, slot = asked
        folder = ledger.trial_folder(trial.number)
        folder.mkdir(parents=True)
        (folder / CURVES_FILE).write_text(f'{{"train_loss": [[0, 1.5], [1, 0.{trial.number + 1}]]}}')
        (folder / "adapter.safetensors").write_bytes(b"weights")
        ledger.note(
            trial, provenance={"data_fingerprint": "d" * 64}, weights_path=f"trials/{folder.name}/adapter.safetensors"
        )
        ended = TrialState.FAILED if trial.number % 7 == 3 else TrialState.COMPLETE
        ledger.tell(
            trial, ended, metrics={"accuracy": trial.params["train.lr"]}, reason="luck" if ended == "failed" else None
        )
        slot.close()
    shutil.copy(cold_store, tmp_path / "mlflow.db")
    return tmp_path


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def reconciling(results: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*RECONCILE, f"results_dir={results}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_killed_at_random_points(results: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLING, str(results)], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    killed, runs = map(int, done.stdout.split()[-2:])
    assert killed == KILLS
    assert runs < 1 + TRIALS  # each one was killed before the end
    last = reconciling(results)
    out, errors = last.communicate()
    assert (last.returncode, errors) == (0, "")
    assert "duplicates" not in out
    assert_agreement("toy", results)
    again, _ = reconciling(results).communicate()
    assert f"0 trials sent, {TRIALS} up to date; at" in again


def test_two_at_once(results: Path) -> None:
    both = [reconciling(results) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [(process.returncode, errors) for process, (_, errors) in zip(both, said, strict=True)] == [(0, "")] * 2
    assert_agreement("toy", results)
