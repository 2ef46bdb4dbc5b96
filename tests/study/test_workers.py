"""Workers as the study sees them: real processes on the toy task."""

from pathlib import Path

import pytest
from rooms import Room

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import TrialState


@pytest.fixture
def room(tiny_bert: Path, toy_csv: Path, tmp_path: Path) -> Room:
    return Room(tiny_bert, toy_csv, tmp_path)


def test_what_happens_is_told(room: Room) -> None:
    room.run(3, 2, overrides=("task.split_seed=3",))
    assert sorted(room.told) == [0, 1, 2]
    assert sorted(number for number, _ in room.watch.begun) == [0, 1, 2]
    assert sorted(trial.number for trial in room.watch.ended) == [0, 1, 2]
    assert {trial.state for trial in room.watch.ended} == {TrialState.COMPLETE}
    assert sorted(room.watch.epochs) == [(number, epoch) for number in range(3) for epoch in (1, 2)]
    last = dict(room.watch.steps)
    assert all(progress.step == progress.steps for progress in last.values())
    assert [list(seconds) for seconds in room.watch.started] == [
        ["process", "imports", "backbone and data", "ledger"]
    ] * len(room.watch.started)
    assert room.watch.warnings == []
    assert {trial.overrides[0] for trial in room.ledger.view().trials} == {"task.split_seed=3"}

    room.run(3, 2)  # the study is whole
    assert len(room.told) == 3


def test_wrong_input_is_told_once(room: Room) -> None:
    room.values["task"]["path"] = "gone.csv"
    with pytest.raises(UserInputError, match=r"task\.path=gone\.csv: no such file") as caught:
        room.run(4, 2)
    assert len(caught.value.problems) == 1
    assert room.watch.warnings == []
    assert room.ledger.view().trials == ()


def test_a_fault_keeps_its_traceback(room: Room) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*TypeError"):
        room.run(1, 1, ledger={**room.study, "nonsense": 1})


def test_an_interrupted_parent_stops_its_workers(room: Room) -> None:
    def at(event: str) -> None:
        if event == "epoch":
            raise KeyboardInterrupt

    room.watch.at = at
    room.values["train"]["epochs"] = 1000
    with pytest.raises(KeyboardInterrupt):
        room.run(2, 1)
    (trial,) = room.ledger.view().trials
    assert (trial.state, trial.reason) == (
        TrialState.INTERRUPTED,
        "interrupted by Ctrl-C or SIGTERM",
    )
    assert room.told == [0]


def test_a_watcher_that_fails_costs_no_trial_and_is_logged_once(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    def at(_: str) -> None:
        raise BrokenPipeError

    room.watch.at = at
    room.run(1, 1)
    assert [trial.state for trial in room.ledger.view().trials] == [TrialState.COMPLETE]
    assert len(caplog.records) == 1
