"""`best`, on real ledgers."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filled_ledgers import fill

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ledger(tmp_path: Path) -> None:
    fill(tmp_path / "results", "toy")


def lines(text: str) -> dict[str, str]:
    return {line[:14].strip(): line[14:] for line in text.splitlines()}


def test_best_of_a_ledger(cli: Cli, ledger: None, tmp_path: Path) -> None:
    done = cli("best", "toy")
    assert done.returncode == 0, done.stderr
    told = lines(done.stdout)
    assert "(placement both, width 8): accuracy 0.850 ± 0.018" in told["Recommended"]
    assert "(placement both, width 64) scores best of all 4 trials, 0.860" in told["Why"]
    assert set(shlex.split(told["Command"])) == {
        "adapter-sweep", "trial", "task=movies", "method.width=8", "method.placement=both"
    }  # fmt: skip
    assert Path(told["Weights"]).is_file()
    Path(told["Weights"]).unlink()
    assert lines(cli("best", "toy").stdout)["Weights"].endswith("is gone; the command above trains them again")


def test_best_within_a_budget_and_as_json(cli: Cli, ledger: None) -> None:
    done = cli("best", "toy", "--max-params", "100k", "--max-latency-ratio", "1.07", "--min-accuracy", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["budget"] == {"max-params": 100_000, "max-latency-ratio": 1.07, "min-accuracy": 0.5}
    assert told["recommended"]["params"] == {"method.width": 8, "method.placement": "post_ffn"}
    assert told["next_dearer"]["params"] == {"method.width": 8, "method.placement": "both"}
    assert told["next_dearer"]["beside_recommended"]["accuracy"] == pytest.approx(0.05)
    assert Path(told["recommended"]["weights_path"]).is_file()


def test_nothing_fits(cli: Cli, ledger: None) -> None:
    done = cli("best", "toy", "--min-accuracy", "0.99")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: none of the 4 trials fits the budget (accuracy at least 0.99).")
    assert "--min-accuracy 0.99: trial" in done.stderr
    done = cli("best", "toy", "--min-accuracy", "0.99", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["recommended"] is None


def test_wrong_input(cli: Cli, ledger: None) -> None:
    done = cli("best", "toy", "--max-params", "few", "--min-accuracy", "80")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert cli("best", "nosuch").stderr == "error: there is no study 'nosuch'; there are: toy\n"


@pytest.mark.parametrize("arguments", [["best", "toy"], ["report", "toy", "other"]])
def test_what_reads_needs_neither_torch_nor_mlflow(arguments: list[str], tmp_path: Path) -> None:
    for name in ("toy", "other"):
        fill(tmp_path / "results", name)
    script = (
        "import atexit, sys; sys.argv[0] = 'adapter-sweep'; "
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'transformers', 'mlflow'} & sys.modules.keys()))); "
        "from adapter_sweep.cli import main; main()"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("HEAVY []")
