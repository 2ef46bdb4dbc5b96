"""A disk that is full, or not to be written, where each kind of file is written. What was told is never lost.

A limit on the size of files stands for the full disk, as it needs no rights; root mounts a real one besides.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapter_sweep.engine.saving import WEIGHTS_FILE
from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.ledger import Ledger, storage_url

Cli = Callable[..., subprocess.CompletedProcess[str]]

PATIENCE = 240


def limited(folder: Path, limit: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process that cannot write a file beyond `limit` bytes."""
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        "from adapter_sweep.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def view(results: Path) -> StudyView:
    return Ledger.read("quickstart", url=storage_url(None, results), results_dir=results).view()


def wide(tiny_settings: list[str], count: int) -> list[str]:
    """Trials whose weights, half a megabyte, are larger than the ledger."""
    fixed = ["method.width=choice(900,1000)", "method.placement=both", "study.sampler=random", "tracking=none"]
    return ["run", *tiny_settings, *fixed, f"study.n_trials={count}"]


def test_no_room_for_the_ledger_or_for_weights_ends_the_work_and_fails_no_trial(
    cli: Cli, tiny_settings: list[str], tmp_path: Path
) -> None:
    done = cli(*wide(tiny_settings, 1))
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results"
    before = view(results).trials
    full = limited(tmp_path, 1000, *wide(tiny_settings, 2))  # not even the ledger's journal
    assert full.returncode == 1
    (error,) = full.stderr.splitlines()
    assert error.startswith("error: study 'quickstart' cannot be ")
    assert view(results).trials == before

    (weights,) = (results / "quickstart" / "trials" / "00000").rglob(WEIGHTS_FILE)
    assert weights.stat().st_size > 400_000 > (results / "optuna.db").stat().st_size
    full = limited(tmp_path, 400_000, *wide(tiny_settings, 4))
    assert full.returncode == 1
    assert full.stderr == (
        f"error: results/quickstart/trials/00001: cannot be written: {os.strerror(errno.EFBIG)}. No trial that has "
        "ended is lost; once it can be written, the same command continues the study\n"
    )
    states = [trial.state for trial in view(results).trials]
    assert states == [TrialState.COMPLETE, TrialState.INTERRUPTED]
    assert not list((results / "quickstart" / "trials" / "00001").rglob(WEIGHTS_FILE))
    done = cli(*wide(tiny_settings, 2))
    assert done.returncode == 0, done.stderr
    trials = view(results).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.INTERRUPTED, TrialState.COMPLETE]
    assert trials[2].params == trials[1].params


def test_no_room_for_mlflow_nor_for_the_report_is_told_and_costs_no_trial(
    cli: Cli, tiny_settings: list[str], tmp_path: Path
) -> None:
    small = ["run", *tiny_settings, "method.width=choice(2,4)", "study.sampler=random", "study.n_trials=1"]
    full = limited(tmp_path, 400_000, *small)
    assert full.returncode == 1
    assert "warning: MLflow: " in full.stdout
    assert "The trials go on, and the ledger keeps them all." in full.stdout
    report = "results/quickstart/report.html"
    assert full.stderr == f"error: cannot write {report}: {os.strerror(errno.EFBIG)}\n"
    assert [trial.state for trial in view(tmp_path / "results").trials] == [TrialState.COMPLETE]
    assert not (tmp_path / report).exists()
    done = cli("report", "quickstart", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / report).stat().st_size > 400_000
    done = cli(*small)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout
    assert view(tmp_path / "results").trials[0].mlflow_run_id is not None


# -- a real disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        again = "remount," if mounted else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", folder], capture_output=True, check=bool(mounted)
        )
        if done.returncode:
            pytest.skip("a file system can be mounted by root alone")
        if not mounted:
            mounted.append(folder)
        return folder

    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root alone")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full(cli: Cli, tiny_settings: list[str], tmp_path: Path, disk: Callable[[str], Path]) -> None:
    folder = disk("size=40m")
    settings = [*wide(tiny_settings, 1), f"results_dir={folder}"]
    assert cli(*settings).returncode == 0
    with (folder / "filler").open("wb") as filler:  # all but room for the ledger
        os.posix_fallocate(filler.fileno(), 0, os.statvfs(folder).f_bavail * 4096 - 300_000)
    full = cli(*settings, "study.n_trials=3")
    assert full.returncode == 1
    assert f"cannot be written: {os.strerror(errno.ENOSPC)}. No trial that has ended is lost" in full.stderr
    assert [trial.state for trial in view(folder).trials] == [TrialState.COMPLETE, TrialState.INTERRUPTED]
    (folder / "filler").unlink()
    done = cli(*settings, "study.n_trials=2")
    assert done.returncode == 0, done.stderr
    assert len(view(folder).in_state(TrialState.COMPLETE)) == 2


def test_a_results_folder_that_cannot_be_written(
    cli: Cli, tiny_settings: list[str], tmp_path: Path, disk: Callable[[str], Path]
) -> None:
    folder = disk("size=40m")
    settings = [*wide(tiny_settings, 1), f"results_dir={folder}"]
    assert limited(tmp_path, 1 << 40, *settings).returncode == 0  # apart: this process would keep the database open
    disk("ro")
    where = f"results_dir={folder}"
    for command in ("best", "show"):
        done = cli(command, "quickstart", where)
        assert (done.returncode, done.stderr) == (0, ""), command
    listed = cli("list", where)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "quickstart" in listed.stdout
    for arguments in (settings, ["report", "quickstart", where], ["stop", "quickstart", where]):
        refused = cli(*arguments)
        assert refused.returncode == 1, arguments
        assert os.strerror(errno.EROFS) in refused.stderr, refused.stderr
    refused = cli("delete", "quickstart", "--yes", where)
    assert refused.returncode == 1
    assert os.strerror(errno.EROFS) in refused.stderr
    packed = cli("archive", "quickstart", where)
    assert packed.returncode == 0, packed.stderr
    restored = cli("restore", "quickstart.zip", "tracking=none")
    assert restored.returncode == 0, restored.stderr
    assert view(tmp_path / "results").trials[0].metrics == view(folder).trials[0].metrics
