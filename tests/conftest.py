"""A backbone and a task small enough to sweep in seconds, and the command as a user types it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapter_sweep.cli import _status
from postgres import Server, find_binaries, serving
from tiny_bert import save_tiny_bert, save_toy_csv, tiny_overrides

Cli = Callable[..., subprocess.CompletedProcess[str]]

# Models as small as these lose by threads: on a busy machine each step waits for the last of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Commands are started by the dozen: without its bytecode each would compile the whole package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every command they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Each file begins with one thread, whatever a command of an earlier file has set in this process."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random BERT (2 layers, hidden size 32, 64 positions) that knows the words of `toy_csv`."""
    folder = tmp_path_factory.mktemp("tiny_bert")
    save_tiny_bert(folder)
    return folder


@pytest.fixture
def toy_csv(tmp_path: Path) -> Path:
    """240 distinct sentences, `pos` or `neg`, that one word decides; columns `text` and `label`."""
    return save_toy_csv(tmp_path / "toy.csv")


@pytest.fixture
def tiny_settings(tiny_bert: Path, toy_csv: Path) -> list[str]:
    """Overrides that run a trial on `tiny_bert` and `toy_csv` in a second or two."""
    return tiny_overrides(tiny_bert, toy_csv)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; without the programs the tests are skipped, and in CI fail."""
    binaries = find_binaries()
    if binaries is None:
        missing = "no PostgreSQL server found (initdb, pg_ctl); Debian: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with serving(binaries, "max_connections=200", "fsync=off") as server:
        yield server
