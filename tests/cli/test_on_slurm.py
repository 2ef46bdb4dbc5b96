"""`workers=slurm`: submitit's local executor runs the same jobs as processes of this host."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger
from postgres import PASSWORD, Server

Cli = Callable[..., subprocess.CompletedProcess[str]]
SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]


@pytest.fixture
def on_slurm(tiny_settings: list[str]) -> list[str]:
    given = [text for text in tiny_settings if not text.startswith("workers")]
    return [*given, *SPACE, "workers=slurm", "workers.cluster=local", "workers.count=2"]


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_jobs_run_the_study_and_no_file_of_theirs_holds_a_password(
    cli: Cli, on_slurm: list[str], tmp_path: Path, postgres: Server
) -> None:
    url = postgres.database("slurm")
    done = cli("run", *on_slurm, "study.n_trials=3", f"study.storage={url}", "tracking=none")
    assert done.returncode == 0, done.stderr + done.stdout
    results = tmp_path / "results"
    study = Ledger.read("quickstart", url=url, results_dir=results).view()
    assert [trial.state for trial in study.counted()] == [TrialState.COMPLETE] * 3
    assert "Pareto front of quickstart" in done.stdout
    files = [path for path in (results / ".quickstart.jobs").rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in files)
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_what_is_wrong_in_a_job_is_told_in_our_words(cli: Cli, on_slurm: list[str], tmp_path: Path) -> None:
    wrong = cli("run", *on_slurm, "task.label=nothing")
    assert wrong.returncode == 2, wrong.stderr
    assert "nothing" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_without_slurm_it_is_told(cli: Cli, on_slurm: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    gone = cli("run", *on_slurm, "workers.cluster=slurm", "study.storage=postgresql://127.0.0.1/none")
    assert gone.returncode == 1
    assert gone.stderr.startswith("error: workers=slurm: ")
    sqlite = cli("run", *on_slurm, "workers.cluster=slurm")
    assert sqlite.returncode == 2
    assert "an SQLite ledger" not in sqlite.stdout
    assert "SQLite ledger is for one" in sqlite.stderr
