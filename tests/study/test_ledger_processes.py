import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ledgers import GRID, SPACE, finish, finish_elsewhere, hang_in_a_trial, start

from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import storage_url

SPAWN = multiprocessing.get_context("spawn")


def run_elsewhere(
    folders: list[Path], n_trials: int, space: dict[str, str], changes: dict[str, Any]
) -> list[list[int]]:
    with ProcessPoolExecutor(len(folders), mp_context=SPAWN) as pool:
        futures = [pool.submit(finish_elsewhere, folder, n_trials, space, changes) for folder in folders]
        return [future.result() for future in futures]


@pytest.mark.parametrize(("sampler", "space"), [("tpe", SPACE), ("grid", GRID)])
def test_four_processes_on_a_cold_database_never_exceed_the_total(
    tmp_path: Path, sampler: str, space: dict[str, str]
) -> None:
    # The study is shared by its database; each pair has a results folder of its own.
    folders = [tmp_path / "one", tmp_path / "two"] * 2
    total = 12 if sampler == "tpe" else 6
    numbers = run_elsewhere(folders, total, space, {"url": storage_url(None, tmp_path), "sampler": sampler})
    assert sorted(number for each in numbers for number in each) == list(range(total))
    trials = start(tmp_path, space, sampler=sampler).view().trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * total
    assert len({tuple(trial.params.values()) for trial in trials}) == total


@pytest.mark.parametrize(("sampler", "space"), [("random", SPACE), ("grid", GRID)])
def test_a_killed_trial_is_found_queued_again_and_never_counted(
    tmp_path: Path, sampler: str, space: dict[str, str]
) -> None:
    process = SPAWN.Process(target=hang_in_a_trial, args=(tmp_path, space, sampler))
    process.start()
    asked = tmp_path / "asked"
    ends = time.monotonic() + 60
    while not asked.exists() and time.monotonic() < ends:
        time.sleep(0.02)
    ledger = start(tmp_path, space, sampler=sampler)
    (running,) = ledger.view().trials
    assert ledger.recover() == 0  # it lives
    assert finish(ledger, 2) == [1]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    # Whoever asks next finds it, without a new start.
    assert len(finish(ledger, 2)) == 1
    assert ledger.recover() == 0
    dead, *others = ledger.view().trials
    assert (dead.number, dead.state) == (0, TrialState.INTERRUPTED)
    assert dead.reason == "its process ended without a word"
    assert [trial.state for trial in others] == [TrialState.COMPLETE] * 2
    assert others[-1].params == running.params == dead.params
    assert len(ledger.view().counted()) == 2
