"""Commands that a signal ends in the middle of a trial, and that go on there: real processes, real signals."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapter_sweep.checkpoints import CHECKPOINT_FILE
from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.ledger import Ledger, storage_url
from processes import gone, wait_for, workers_of

Cli = Callable[..., subprocess.CompletedProcess[str]]

COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]
PATIENT = [
    *COMMAND[:2],
    "from adapter_sweep import cli; from adapter_sweep.study import workers; "
    "cli.LEAVE_SECONDS = workers._STOP_SECONDS = 90; cli.main()",
]
"""A command that waits longer for its workers than a busy machine takes for anything."""
SPACE = ["method.width=choice(2,4,8)", "train.lr=tag(log,interval(1e-3,1e-2))", "study.sampler=random"]
OPTIONS = [*SPACE, "train.epochs=15", "train.score_epochs=last", "tracking=none"]
LONG = [*SPACE, "train.epochs=60", "train.score_epochs=last", "tracking=none"]
"""For two workers: the trial of the one that is ready first goes on until the other's is on its way."""
REASON = "interrupted by Ctrl-C or SIGTERM"
PATIENCE = 600.0
GONE = 30.0
"""Seconds: a command leaves within 10, and a busy machine takes its time; what is waited for in vain takes longer."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc")


def view(results: Path, name: str = "quickstart") -> StudyView:
    return Ledger.read(name, url=storage_url(None, results), results_dir=results).view()


def checkpoints(results: Path, name: str = "quickstart") -> list[Path]:
    return sorted(results.glob(f"{name}/trials/*/{CHECKPOINT_FILE}"))


def weights(study: StudyView) -> list[dict[str, torch.Tensor]]:
    """Of the complete trials, by their parameters."""
    done = sorted(study.in_state(TrialState.COMPLETE), key=lambda trial: str(trial.params))
    return [load_file(str(trial.weights_path)) for trial in done]


def assert_same(found: list[dict[str, torch.Tensor]], expected: list[dict[str, torch.Tensor]]) -> None:
    assert len(found) == len(expected)
    for own, other in zip(found, expected, strict=True):
        assert own.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())


@contextmanager
def training(
    folder: Path, *arguments: str, trials: int, name: str = "quickstart", command: Sequence[str] = COMMAND
) -> Iterator["subprocess.Popen[str]"]:
    """A command in a process group of its own, once so many of its trials are in the middle of their training."""
    process = subprocess.Popen(
        [*command, *arguments, "train.checkpoint_every=2"],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        ends = time.monotonic() + PATIENCE
        while len(checkpoints(folder / "results", name)) < trials:
            assert time.monotonic() < ends, "waited in vain"
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: "subprocess.Popen[str]", since: float) -> tuple[str, float]:
    """What an interrupted command said, and the seconds it took to leave."""
    process.wait(timeout=PATIENCE)
    seconds = time.monotonic() - since  # its helpers hold the pipes a little longer
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, "")
    return out, seconds


def resumed_steps(out: str) -> list[int]:
    return sorted(int(line.rpartition(" ")[2]) for line in out.splitlines() if ": resumed at step " in line)


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (1, signal.SIGINT), (2, signal.SIGTERM)])
def test_run_goes_on_in_the_middle_of_its_trials(
    cli: Cli, tiny_settings: list[str], tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    options = LONG if workers > 1 else OPTIONS
    settings = ["run", *tiny_settings, *options, f"workers.count={workers}", f"study.n_trials={workers}"]
    with training(tmp_path, *settings, trials=workers) as process:
        started = workers_of(process.pid)
        assert len(started) == (workers if workers > 1 else 0)  # one works in the command's own process
        began = time.monotonic()
        process.send_signal(number)
        out, seconds = ended(process, began)
    assert seconds < GONE
    assert "Interrupted. The study is kept; the same command continues it." in out
    wait_for(lambda: all(map(gone, started)))
    interrupted = view(tmp_path / "results").trials
    assert [(trial.state, trial.reason) for trial in interrupted] == [(TrialState.INTERRUPTED, REASON)] * workers
    assert len(checkpoints(tmp_path / "results")) == workers

    done = cli(*settings)
    assert done.returncode == 0, done.stderr
    steps = resumed_steps(done.stdout)
    assert len(steps) == workers
    assert min(steps) >= 2
    assert checkpoints(tmp_path / "results") == []
    again = view(tmp_path / "results").trials[workers:]
    assert sorted(str(trial.params) for trial in again) == sorted(str(trial.params) for trial in interrupted)
    with (tmp_path / "results/quickstart/trials.csv").open(encoding="utf-8", newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["interrupted"] * workers + ["complete"] * workers

    whole = cli(*settings, "results_dir=whole", "workers.count=1")
    assert whole.returncode == 0, whole.stderr
    assert_same(weights(view(tmp_path / "results")), weights(view(tmp_path / "whole")))


def test_a_killed_command_goes_on_from_the_last_checkpoint(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    settings = ["run", *tiny_settings, *OPTIONS, "study.n_trials=1"]
    with training(tmp_path, *settings, trials=1) as process:
        process.kill()
    done = cli(*settings)
    assert done.returncode == 0, done.stderr
    (step,) = resumed_steps(done.stdout)
    assert step % 2 == 0
    whole = cli(*settings, "results_dir=whole")
    assert whole.returncode == 0, whole.stderr
    assert_same(weights(view(tmp_path / "results")), weights(view(tmp_path / "whole")))


def test_confirm_goes_on_in_the_middle_of_a_run(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    studied = cli("run", *tiny_settings, *OPTIONS, "study.n_trials=1")
    assert studied.returncode == 0, studied.stderr
    settings = ["confirm", "quickstart", "tracking=none", "confirm.seeds=1", "confirm.finalists=1"]
    name = "quickstart.confirmed"
    with training(tmp_path, *settings, trials=1, name=name) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, seconds = ended(process, began)
    assert seconds < GONE
    assert "Interrupted. What is done is kept; the same command continues." in out
    assert [trial.state for trial in view(tmp_path / "results", name).trials] == [TrialState.INTERRUPTED]
    assert len(checkpoints(tmp_path / "results", name)) == 1
    done = cli(*settings)
    assert done.returncode == 0, done.stderr
    assert len(resumed_steps(done.stdout)) == 1
    assert checkpoints(tmp_path / "results", name) == []
    assert len(view(tmp_path / "results", name).in_state(TrialState.COMPLETE)) == 1


@pytest.mark.parametrize("twice", [False, True])
def test_workers_that_do_not_answer_are_left_behind(
    cli: Cli, tiny_settings: list[str], tmp_path: Path, twice: bool
) -> None:
    """Within 10 s; at a second Ctrl-C at once. The ledger is sound, and the same command goes on."""
    settings = ["run", *tiny_settings, *LONG, "workers.count=2", "study.n_trials=2"]
    with training(tmp_path, *settings, trials=2, command=PATIENT if twice else COMMAND) as process:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                # The group's worker processes: not the command, nor what it forks them from.
                if int(fields[2]) == process.pid and int(fields[1]) not in (process.pid, os.getpid()):
                    os.kill(int(path.parent.name), signal.SIGSTOP)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        if twice:
            time.sleep(1)
            process.send_signal(signal.SIGINT)
        _, seconds = ended(process, began)
    assert (1 if twice else 5) < seconds < GONE
    done = cli(*settings)
    assert done.returncode == 0, done.stderr
    assert len(resumed_steps(done.stdout)) == 2
    assert len(view(tmp_path / "results").in_state(TrialState.COMPLETE)) == 2
