"""`adapter-sweep report`: what it needs, and what it leaves."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url

SPACE = {"method.width": "tag(log, int(interval(4, 256)))", "train.lr": "tag(log, interval(1e-4, 1e-2))"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with the study `toy`: 24 trials whose parameters are their width, and score their rate."""
    ledger = Ledger.start(
        "toy",
        url=storage_url(None, tmp_path),
        results_dir=tmp_path,
        definition={"search_space": SPACE},
        objectives={"accuracy": "maximize", "trainable_params": "minimize"},
        space=parse_space(SPACE),
        sampler="random",
        seed=0,
    )
    ledger.set_facts(search_space=SPACE, n_trials=24)
    noise = random.Random(0)
    while (asked := ledger.ask(24)) is not None:
        trial, slot = asked
        metrics = {"trainable_params": 100.0 * trial.params["method.width"]}
        metrics["accuracy"] = 0.7 + 20 * trial.params["train.lr"] + noise.gauss(0, 0.001)
        ledger.tell(trial, TrialState.COMPLETE, metrics=metrics)
        slot.close()
    return tmp_path


def test_a_report_needs_neither_torch_nor_mlflow(results: Path) -> None:
    script = (
        "import atexit, sys; heavy = {'torch', 'transformers', 'datasets', 'mlflow', 'peft'}; "
        "atexit.register(lambda: print('HEAVY', sorted(heavy & sys.modules.keys()))); "
        "from adapter_sweep.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "report", "toy", f"results_dir={results}", "tracking=none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("HEAVY []")
    document = json.loads((results / "toy" / "front.json").read_text(encoding="utf-8"))
    shares = document["importance"]
    assert next(iter(shares["trainable_params"])) == "method.width"
    assert next(iter(shares["accuracy"])) == "train.lr"
    assert "Which parameter explains which objective" in (results / "toy" / "report.html").read_text(encoding="utf-8")
