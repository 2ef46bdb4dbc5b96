"""Studies that several worker processes run, as a user meets them: real processes, killed for real."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.ledger import Ledger, storage_url
from processes import children, gone, wait_for, workers_of

Cli = Callable[..., subprocess.CompletedProcess[str]]

COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()", "run"]
SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]
PATIENCE = 600.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc")


def view(folder: Path) -> StudyView:
    results = folder / "results"
    return Ledger.read("quickstart", url=storage_url(None, results), results_dir=results).view()


@contextmanager
def running(folder: Path, settings: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """The command with two workers, in a process group of its own, once both have a trial in training."""
    process = subprocess.Popen(
        [*COMMAND, *settings, *SPACE, "workers.count=2", "tracking=none"],
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        started: set[str] = set()
        for line in process.stdout:
            if ": epoch " in line:
                started.add(line.partition(":")[0])
            if len(started) == 2:
                break
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_two_workers_run_the_study_exactly(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    settings = [*tiny_settings, *SPACE]
    done = cli("run", *settings, "workers.count=2", "study.n_trials=3")
    assert done.returncode == 0, done.stderr
    assert "2 workers of 1 thread" in done.stdout
    study = view(tmp_path)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert {trial.provenance["threads"] for trial in study.trials} == {"1"}
    assert study.anchors.keys() == {"majority class", "frozen backbone", "head-only probe"}
    assert None not in {study.mlflow_run_id, *(trial.mlflow_run_id for trial in study.trials)}

    # Another number of workers and threads is no other study.
    more = cli("run", *settings, "train.threads=2", "study.n_trials=4")
    assert more.returncode == 0, more.stderr
    assert [trial.provenance["threads"] for trial in view(tmp_path).trials] == ["1", "1", "1", "2"]


def test_workers_that_were_killed_are_told_and_replaced_and_their_trials_run_again(
    tiny_settings: list[str], tmp_path: Path
) -> None:
    with running(tmp_path, [*tiny_settings, "train.epochs=40", "study.n_trials=3"]) as process:
        for worker in workers_of(process.pid):
            os.kill(worker, signal.SIGKILL)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert out.count("died with exit code -9") == 2
    study = view(tmp_path)
    assert [trial.state for trial in study.counted()] == [TrialState.COMPLETE] * 3
    dead = study.in_state(TrialState.INTERRUPTED)
    assert [trial.reason for trial in dead] == ["its process ended without a word"] * 2
    for trial in dead:
        assert [other.params for other in study.trials].count(trial.params) == 2


def test_two_commands_at_once_share_a_study(tiny_settings: list[str], tmp_path: Path) -> None:
    command = [*COMMAND, *tiny_settings, *SPACE, "study.n_trials=5", "train.epochs=3"]
    # The second one works in its own process, the first one in workers.
    both = [
        subprocess.Popen(
            [*command, f"workers.count={count}"],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for count in (2, 1)
    ]
    try:
        ended = [process.communicate(timeout=PATIENCE) for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert [process.returncode for process in both] == [0, 0], ended
    trials = view(tmp_path).trials
    assert [(trial.number, trial.state) for trial in trials] == [(n, TrialState.COMPLETE) for n in range(5)]
    assert None not in {trial.mlflow_run_id for trial in trials}
    assert all("Report" in out for out, _ in ended)


def test_an_interrupt_of_the_terminal_reaches_every_worker(tiny_settings: list[str], tmp_path: Path) -> None:
    with running(tmp_path, [*tiny_settings, "train.epochs=500", "study.n_trials=3"]) as process:
        workers = workers_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, "")
    assert "Interrupted. The study is kept; the same command continues it." in out
    wait_for(lambda: all(map(gone, workers)))
    trials = view(tmp_path).trials
    assert [(trial.state, trial.reason) for trial in trials] == [
        (TrialState.INTERRUPTED, "interrupted by Ctrl-C or SIGTERM")
    ] * 2


def test_an_interrupt_while_workers_start(tiny_settings: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, *tiny_settings, *SPACE, "workers.count=2", "tracking=none"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(workers_of(process.pid)) == 2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (130, "")
    assert view(tmp_path).trials == ()


def test_workers_end_with_their_parent(tiny_settings: list[str], tmp_path: Path) -> None:
    with running(tmp_path, [*tiny_settings, "train.epochs=500", "study.n_trials=3"]) as process:
        started = [*workers_of(process.pid), *children(process.pid)]
        assert len(started) >= 3  # two workers, and the process that they are forked from
        process.kill()
        process.wait()
        wait_for(lambda: all(gone(pid) for pid in started))
    trials = view(tmp_path).trials
    assert [(trial.state, trial.reason) for trial in trials] == [
        (TrialState.INTERRUPTED, "interrupted by Ctrl-C or SIGTERM")
    ] * 2
