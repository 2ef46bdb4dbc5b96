"""Trials whose process died, on this host and on another one, and processes that were taken for dead and live.

An SQLite file that is named as a URI stands for a server's database: each results folder is then a host of its own.
"""

import fcntl
import multiprocessing
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from ledgers import finish, hang_then_tell, start

from adapter_sweep.checkpoints import CHECKPOINT_FILE
from adapter_sweep.records import TrialState
from adapter_sweep.study.heart import Heart
from adapter_sweep.study.ledger import Ledger, TrialTakenError, storage_url
from adapter_sweep.study.slots import Slot, is_held

SPAWN = multiprocessing.get_context("spawn")
METRICS = {"accuracy": 0.5, "trainable_params": 1.0}
PATIENCE = 120.0


def on_host(folder: Path, host: str, seconds: int = 1) -> Ledger:
    """The study as the processes of a host see it, which beat every second."""
    return start(folder / host, url=server(folder), heartbeat_seconds=seconds)


def server(folder: Path) -> str:
    return f"sqlite:///file:{folder / 'server.db'}?uri=true"


def ask(ledger: Ledger) -> tuple[optuna.Trial, Any]:
    asked = ledger.ask(100)
    assert asked is not None
    return asked


def die(ledger: Ledger) -> optuna.Trial:
    """Ask for a trial, and leave what a process leaves that dies then."""
    trial, hold = ask(ledger)
    fcntl.flock(hold._slot._descriptor, fcntl.LOCK_UN)
    ledger._heart.remove(trial._trial_id)
    return trial


def later(folder: Path, seconds: float) -> None:
    """Have the trials' last heartbeats be so long ago, by the database's clock."""
    with closing(sqlite3.connect(folder / "server.db")) as database, database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, ?)", (f"-{seconds} seconds",))


def states(ledger: Ledger) -> list[TrialState]:
    return [trial.state for trial in ledger.view().trials]


# -- how often


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_configuration_that_kills_its_process_is_retried_so_often_and_has_failed_then(
    tmp_path: Path, retries: int
) -> None:
    ledger = start(tmp_path, max_retries=retries)
    numbers = [die(ledger).number for _ in range(retries + 1)]
    assert ledger.recover() == 1
    assert states(ledger) == [TrialState.INTERRUPTED] * retries + [TrialState.FAILED]
    assert ledger.queued() == []
    trials = ledger.view().trials
    assert len({tuple(trial.params.items()) for trial in trials}) == 1
    times = {0: "", 1: ", as it did 1 time before", 2: ", as it did 2 times before"}[retries]
    assert str(trials[-1].reason).startswith(f"its process ended without a word{times}")
    assert len(ledger.view().counted()) == 1
    assert finish(ledger, 2) == [numbers[-1] + 1]  # another configuration


def test_no_checkpoint_stays_of_a_configuration_that_is_given_up(tmp_path: Path) -> None:
    ledger = start(tmp_path, max_retries=1)
    left = []
    for _ in range(2):
        folder = ledger.trial_folder(die(ledger).number)
        folder.mkdir(parents=True)
        (folder / CHECKPOINT_FILE).touch()
        (folder / "kept.txt").touch()
        ledger.recover()
        left.append(len([*tmp_path.rglob(CHECKPOINT_FILE)]))
    assert left == [1, 0]
    assert len([*tmp_path.rglob("kept.txt")]) == 2


def test_an_interruption_is_no_death(tmp_path: Path) -> None:
    ledger = start(tmp_path, max_retries=1)
    die(ledger)
    for _ in range(3):
        trial, hold = ask(ledger)
        assert ledger.predecessors(trial.number)[0] == trial.number - 1
        assert ledger.tell(trial, TrialState.INTERRUPTED, reason="interrupted by the user") is TrialState.INTERRUPTED
        hold.close()
    die(ledger)
    ledger.recover()
    assert states(ledger) == [TrialState.INTERRUPTED] * 4 + [TrialState.FAILED]


def test_what_dies_while_it_tells_of_an_interruption_is_no_death(tmp_path: Path) -> None:
    ledger = start(tmp_path, max_retries=0)
    trial = die(ledger)
    ledger.note(trial, state=TrialState.INTERRUPTED, reason="interrupted by the user")
    assert ledger.recover() == 1
    assert ledger.view().trials[0].reason == "interrupted by the user"
    assert ledger.queued() == [trial.params]


def test_a_configuration_that_died_goes_alone(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    first, _ = ask(ledger)
    assert not ledger.goes_alone(first)
    die(ledger)
    assert ledger.ask(100, in_company=True) is None
    again, hold = ask(ledger)
    assert ledger.goes_alone(again)
    assert ledger.ask(100, in_company=True) is not None  # a new one
    ledger.tell(again, TrialState.INTERRUPTED)
    hold.close()
    assert ledger.ask(100, in_company=True) is None  # as before


# -- slots


def test_a_slot_is_given_back_though_its_file_cannot_be_deleted(tmp_path: Path) -> None:
    path, moved = tmp_path / "0.lock", tmp_path / "moved"
    slot = Slot(path)
    path.rename(moved)
    path.mkdir()  # what cannot be unlinked, even by root
    slot.close()
    assert path.is_dir()
    assert is_held(moved) is False


# -- who did not begin it


def test_who_opens_a_study_takes_its_own_retries(tmp_path: Path) -> None:
    ledger = start(tmp_path, max_retries=0)
    ledger.set_facts(config={"study": {"max_retries": 0}})
    die(ledger)
    assert Ledger.read("toy", url=storage_url(None, tmp_path), results_dir=tmp_path).recover() == 1
    assert states(ledger) == [TrialState.FAILED]


def test_who_opens_a_study_waits_for_its_own_heartbeats(tmp_path: Path) -> None:
    there = on_host(tmp_path, "there", seconds=300)
    there.set_facts(config={"study": {"heartbeat_seconds": 300}})
    die(there)
    here = Ledger.read("toy", url=server(tmp_path), results_dir=tmp_path / "here")
    (listed,) = Ledger.read_all(url=server(tmp_path), results_dir=tmp_path / "here")
    later(tmp_path, 1000)
    assert here.at_work() == listed.at_work() == ["trial 0"]
    later(tmp_path, 300)
    assert here.at_work() == listed.at_work() == []


# -- another host


def test_a_dead_hosts_trial_is_found_by_its_silence(tmp_path: Path) -> None:
    there, here = on_host(tmp_path, "there"), on_host(tmp_path, "here")
    trial = die(there)
    for _ in range(2):
        assert here.recover() == 0
        time.sleep(1.6)
    later(tmp_path, 60)
    assert here.recover() == 0  # the clock may have jumped
    time.sleep(1.6)
    assert here.recover() == 1
    assert here.view().trials[0].reason == "its process was silent for 4 s"
    assert here.queued() == [trial.params]
    assert there.recover() == 0


def test_a_living_hosts_trial_survives_a_jump_of_the_databases_clock(tmp_path: Path) -> None:
    there, here = on_host(tmp_path, "there", 3), on_host(tmp_path, "here", 3)
    trial, hold = ask(there)
    later(tmp_path, 3600)
    assert here._rows.silent(here._rows.trials(), grace=12) == [0]
    assert here.recover() == 0
    time.sleep(4.6)
    assert here.recover() == 0
    assert there.tell(trial, TrialState.COMPLETE, metrics=METRICS) is TrialState.COMPLETE
    hold.close()


def test_a_trial_that_never_had_a_heartbeat_is_found(tmp_path: Path) -> None:
    there, here = on_host(tmp_path, "there"), on_host(tmp_path, "here")
    there._rows.ask()  # its process died at once
    assert here.recover() == 0
    time.sleep(1.6)
    assert here.recover() == 1


def test_what_lives_after_all_changes_nothing(tmp_path: Path) -> None:
    there, here = on_host(tmp_path, "there"), on_host(tmp_path, "here")
    trial, hold = ask(there)
    there._heart.remove(trial._trial_id)  # a suspended laptop
    later(tmp_path, 60)
    here.recover()
    time.sleep(1.6)
    assert here.recover() == 1
    with pytest.raises(TrialTakenError, match=r"trial 0 is dropped here.*took it for dead"):
        there.note(trial, weights_path="trials/00000/adapter")
    assert there.tell(trial, TrialState.COMPLETE, metrics=METRICS) is TrialState.INTERRUPTED
    hold.close()
    again, _ = ask(here)
    assert (again.number, again.params) == (1, trial.params)
    assert here.trial_folder(0) != here.trial_folder(1)
    assert here.view().trials[0].metrics == {}


@pytest.mark.parametrize("seen_first", ["death", "end"])
def test_a_death_and_an_end_at_the_same_moment_are_one_of_them(tmp_path: Path, seen_first: str) -> None:
    """Whichever of the two reaches Optuna's state first, the other one's words beside it do not count."""
    ledger = start(tmp_path)
    trial, _ = ask(ledger)
    ledger.note(trial, state=TrialState.COMPLETE, metrics=METRICS)
    ledger.note(trial, death={"state": "interrupted", "reason": "its process ended without a word"})
    if seen_first == "death":
        ledger._study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert ledger.tell(trial, TrialState.COMPLETE, metrics=METRICS) is ledger.view().trials[0].state
    ledger.recover()
    assert states(ledger) == [TrialState.INTERRUPTED if seen_first == "death" else TrialState.COMPLETE]
    assert len(ledger.queued()) == (seen_first == "death")


def test_a_process_stopped_and_continued_drops_its_result(tmp_path: Path) -> None:
    url = server(tmp_path)
    here = on_host(tmp_path, "here")
    process = SPAWN.Process(target=hang_then_tell, args=(tmp_path / "there", url))
    process.start()
    asked = tmp_path / "there" / "asked"
    ends = time.monotonic() + PATIENCE
    while not asked.exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert process.pid is not None
    time.sleep(3)
    assert here.recover() == 0  # it beats
    os.kill(process.pid, signal.SIGSTOP)
    while not here.recover() and time.monotonic() < ends:
        time.sleep(0.2)
    trial, hold = ask(here)
    (tmp_path / "there" / "go").touch()
    os.kill(process.pid, signal.SIGCONT)
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert (tmp_path / "there" / "told").read_text() == "interrupted"
    assert here.tell(trial, TrialState.COMPLETE, metrics=METRICS) is TrialState.COMPLETE
    hold.close()
    assert states(here) == [TrialState.INTERRUPTED, TrialState.COMPLETE]
    assert here.queued() == []


# -- this host


def test_a_stopped_process_of_this_host_lives(tmp_path: Path) -> None:
    ledger, other = start(tmp_path, heartbeat_seconds=1), start(tmp_path, heartbeat_seconds=1)
    trial, hold = ask(ledger)
    ledger._heart.remove(trial._trial_id)
    time.sleep(5.5)
    for _ in range(2):
        assert other.recover() == 0
        time.sleep(1.6)
    hold.close()


def test_who_waits_knows_whom_for(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial, hold = ask(ledger)
    assert (ledger.left(1), ledger.awaited(1)) == (0, [0])
    assert (ledger.left(2), ledger.awaited(2)) == (1, [0])
    ledger.tell(trial, TrialState.COMPLETE, metrics=METRICS)
    hold.close()
    assert (ledger.left(1), ledger.awaited(1)) == (0, [])
    die(ledger)
    assert ledger.awaited(1) == []
    assert (ledger.left(2), ledger.awaited(2)) == (1, [])


# -- the beat itself


def test_a_heart_beats_for_what_is_in_hand_and_survives_a_database_that_is_away() -> None:
    beats: list[int] = []

    def beat(trial_id: int) -> None:
        beats.append(trial_id)
        if len(beats) == 2:
            raise OSError("the database is away")

    heart = Heart(beat, 0.05)
    heart.add(7)
    assert beats == [7]
    ends = time.monotonic() + 10
    while len(beats) < 4 and time.monotonic() < ends:
        time.sleep(0.01)
    heart.remove(7)
    time.sleep(0.2)
    count = len(beats)
    time.sleep(0.2)
    assert (set(beats), len(beats)) == ({7}, count)
    heart.add(8)
    assert beats[-1] == 8
    heart.remove(8)
