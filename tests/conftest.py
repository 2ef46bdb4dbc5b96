"""A backbone and a task small enough to sweep in seconds, and the command as a user types it."""

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_sweep.cli import _status
from tiny_bert import BAD, GOOD, HOW, THINGS, save_tiny_bert

Cli = Callable[..., subprocess.CompletedProcess[str]]

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every command they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random BERT (2 layers, hidden size 32, 64 positions) that knows the words of `toy_csv`."""
    folder = tmp_path_factory.mktemp("tiny_bert")
    save_tiny_bert(folder)
    return folder


@pytest.fixture
def toy_csv(tmp_path: Path) -> Path:
    """240 distinct sentences, `pos` or `neg`, that one word decides; columns `text` and `label`."""
    rows = [
        f"the {thing} is {how} {word},{label}"
        for thing, how in itertools.product(THINGS, HOW)
        for label, words in (("pos", GOOD), ("neg", BAD))
        for word in words
    ]
    path = tmp_path / "toy.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tiny_settings(tiny_bert: Path, toy_csv: Path) -> list[str]:
    """Overrides that run a trial on `tiny_bert` and `toy_csv` in a second or two."""
    return [
        *("backbone=local", f"backbone.path={tiny_bert}", "backbone.attention=eager"),
        *("task=local", f"task.path={toy_csv}", "task.text=text", "task.label=label"),
        *("train.epochs=1", "train.max_length=32", "train.threads=1", "train.precision=fp32"),
        "workers.count=1",
        "train.cohort=1",
        *("latency.tokens=8", "latency.pairs=5", "latency.batch_pairs=5", "latency.warmup_seconds=0"),
    ]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run `adapter-sweep ARGUMENTS…` in `tmp_path`, within this process: what is no user's error is raised as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["adapter-sweep", *arguments])
        capfd.readouterr()
        status = _status()
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    return run
