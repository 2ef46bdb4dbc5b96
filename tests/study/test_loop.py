import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from ledgers import start

from adapter_sweep.checkpoints import CHECKPOINT_FILE
from adapter_sweep.config.quoting import literal
from adapter_sweep.config.space import parse_space
from adapter_sweep.engine.saving import load_adapted
from adapter_sweep.errors import AdapterSweepError, DiskError, GuardError, SpoiltProcessError
from adapter_sweep.records import TrialState
from adapter_sweep.study import loop
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.loop import ERROR_FILE, run_trials
from descriptors import open_files
from toy_bench import StudyWatch, toy_bench, toy_data, toy_values, undisturbed

SPACE = {"method.width": "int(interval(2, 9))", "train.lr": "tag(log, interval(1e-3, 1e-2))"}
OBJECTIVES = {"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"}


class Room:
    """A study on the toy bench."""

    def __init__(self, tiny_bert: Path, folder: Path) -> None:
        self.bench = toy_bench(tiny_bert)
        self.values = toy_values(tiny_bert)
        self.values["train"]["epochs"] = 1
        self.folder = folder
        self.ledger = self.open()
        self.ledger.set_facts(config=self.values)
        self.watch = StudyWatch()
        self.told: list[int] = []

    def open(self, **changes: Any) -> Ledger:
        return start(self.folder, SPACE, objectives=OBJECTIVES, **changes)

    def run(self, n_trials: int, **options: Any) -> list[TrialState]:
        told = options.pop("told", self.told.append)
        run_trials(self.ledger, self.bench, self.values, n_trials, self.watch, told=told, **options)
        return self.states()

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.ledger.view().trials]

    def break_at(self, wanted: str, error: BaseException) -> None:
        """Raise once, when the watcher is told of an event."""
        events: Iterator[BaseException] = iter([error])

        def at(event: str) -> None:
            if event == wanted and (found := next(events, None)) is not None:
                raise found

        self.watch.at = at


@pytest.fixture
def room(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with undisturbed(monkeypatch, tmp_path):
        yield Room(tiny_bert, tmp_path)


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Make one of the loop's own functions raise at its first call."""
    real: Callable[..., Any] = getattr(loop, name)
    calls = itertools.count()

    def broken(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 0:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, name, broken)


def test_a_study_gets_its_trials_and_no_more(room: Room) -> None:
    assert room.run(2, overrides=("task.split_seed=3",)) == [TrialState.COMPLETE] * 2
    room.run(2)
    assert room.told == [0, 1]
    assert [number for number, _ in room.watch.begun] == [0, 1]
    assert [trial.number for trial in room.watch.ended] == [0, 1]
    for trial in room.watch.ended:
        width, lr = trial.params["method.width"], trial.params["train.lr"]
        assert trial.overrides == ("task.split_seed=3", f"method.width={width}", f"train.lr={lr!r}")
        assert trial.config["method"]["width"] == width  # type: ignore[index]
        assert trial.provenance == room.bench.provenance()
        assert len(trial.curves["accuracy"]) == 1
        assert trial.weights_path is not None
        model, _ = load_adapted(room.bench.backbone, Path(trial.weights_path).parent)
        assert model.count_params().total == trial.metrics["trainable_params"]
        assert sorted(p.name for p in room.ledger.trial_folder(trial.number).iterdir()) == ["adapter", "curves.json"]


def test_a_single_trial_shows_its_fixed_parameters(room: Room, tmp_path: Path) -> None:
    room.ledger = start(tmp_path, {}, name="single", objectives=OBJECTIVES)
    room.run(1, fixed={"method.width": 4})
    assert room.watch.begun == [(0, {"method.width": 4})]
    (trial,) = room.ledger.view().trials
    assert (trial.state, dict(trial.params), trial.overrides) == (TrialState.COMPLETE, {"method.width": 4}, ())


def test_the_same_single_trial_goes_on_where_it_was_interrupted(room: Room, tmp_path: Path) -> None:
    room.ledger = start(tmp_path, {}, name="single", objectives=OBJECTIVES)
    room.values["train"]["checkpoint_every"] = 1

    def run(**train: object) -> list[str]:
        values = {**room.values, "train": {**room.values["train"], **train}}
        run_trials(room.ledger, room.bench, values, None, room.watch)
        return sorted(path.parent.name for path in tmp_path.glob(f"single/trials/*/{CHECKPOINT_FILE}"))

    room.break_at("scoring", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run()
    assert run(lr=1e-4) == ["00000"]  # another trial, which neither goes on from it nor takes it away
    assert room.watch.resumes == []
    assert run() == []
    assert [number for number, _ in room.watch.resumes] == [2]
    assert room.states() == [TrialState.INTERRUPTED, TrialState.COMPLETE, TrialState.COMPLETE]


def test_over_budget_trials_are_refused_and_the_sampler_is_told(room: Room) -> None:
    room.values["budget"]["max_trainable_params"] = 10
    assert room.run(2) == [TrialState.REFUSED] * 2
    assert all(trial.constraints["trainable_params"] > 0 for trial in room.ledger._study.trials)
    assert all(trial.metrics.keys() >= {"trainable_params"} for trial in room.watch.ended)


def test_a_guard_fails_its_trial_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, "prepare_trial", GuardError("the loss is nan at step 1"))
    assert room.run(2) == [TrialState.FAILED, TrialState.COMPLETE]
    assert room.ledger.view().trials[0].reason == "the loss is nan at step 1"
    assert not (room.ledger.trial_folder(0) / ERROR_FILE).exists()


def test_a_configuration_that_cannot_be_is_that_trials_end(room: Room) -> None:
    room.values["train"]["max_length"] = 1000
    assert room.run(1) == [TrialState.FAILED]
    assert "takes at most 64 tokens" in str(room.ledger.view().trials[0].reason)


def test_a_trial_that_counts_leaves_no_checkpoint_however_it_ended(room: Room) -> None:
    room.values["train"]["checkpoint_every"] = 1
    objectives = {"accuracy": "maximize", "never_measured": "minimize"}
    room.ledger = start(room.folder, SPACE, name="unmeasured", objectives=objectives)
    assert room.run(1) == [TrialState.FAILED]
    assert room.ledger.view().trials[0].reason == "not measured: never_measured"
    assert [*room.ledger.trial_folder(0).glob("*checkpoint*")] == []


def test_whatever_goes_wrong_fails_its_trial_alone_and_is_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, "prepare_trial", MemoryError("no more"))
    assert room.run(2) == [TrialState.FAILED, TrialState.COMPLETE]
    assert room.ledger.view().trials[0].reason == "MemoryError: no more"
    assert "Traceback" in (room.ledger.trial_folder(0) / ERROR_FILE).read_text()


def test_a_full_disk_is_no_failure_of_the_trial(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, "train_trials", OSError(28, "No space left on device"))
    with pytest.raises(DiskError, match="No space left on device"):
        room.run(2)
    assert room.states() == [TrialState.INTERRUPTED]
    assert room.run(2) == [TrialState.INTERRUPTED, TrialState.COMPLETE, TrialState.COMPLETE]


def test_an_error_whose_story_cannot_be_kept_is_told_all_the_same(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, "train_trials", RuntimeError("broken"))
    (room.ledger.trial_folder(0) / ERROR_FILE).mkdir(parents=True)  # so that it cannot be written, even as root
    assert room.run(2) == [TrialState.FAILED, TrialState.COMPLETE]
    assert room.ledger.view().trials[0].reason == "RuntimeError: broken"


@pytest.mark.parametrize("where", ["begin", "stage", "step", "epoch", "end", "told"])
def test_a_watcher_that_fails_costs_no_trial_and_is_logged_once(
    room: Room, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    if where == "told":
        room.run(1, told=broken)
    else:
        setattr(room.watch, where, broken)
        room.run(1)
    assert room.states() == [TrialState.COMPLETE]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("event", ["begin", "measuring latency", "step", "scoring", "saving"])
def test_ctrl_c_marks_the_trial_and_queues_it_again(room: Room, event: str) -> None:
    room.break_at(event, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        room.run(1)
    (trial,) = room.ledger.view().trials
    assert (trial.state, trial.reason) == (
        TrialState.INTERRUPTED,
        "interrupted by Ctrl-C or SIGTERM",
    )
    assert room.told == [0]
    room.ledger = room.open()
    assert room.ledger.recover() == 0
    assert room.run(1) == [TrialState.INTERRUPTED, TrialState.COMPLETE]
    assert room.ledger.view().trials[1].params == trial.params
    assert room.ledger._study.trials[1].state == optuna.trial.TrialState.COMPLETE


def test_ctrl_c_while_the_ledger_is_asked_about_a_trial_is_no_death(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "predecessors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        room.run(1)
    assert room.told == [0]
    (trial,) = room.ledger.view().trials
    assert (trial.state, trial.reason) == (TrialState.INTERRUPTED, "interrupted by Ctrl-C or SIGTERM")


def test_ctrl_c_after_the_ledger_was_told_leaves_the_trial_complete(room: Room) -> None:
    room.break_at("end", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        room.run(2)
    assert room.states() == [TrialState.COMPLETE]
    assert room.run(2) == [TrialState.COMPLETE] * 2


def test_a_ledger_that_fails_ends_the_run_and_loses_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise optuna.exceptions.StorageInternalError from OSError(28, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", full)
        with pytest.raises(AdapterSweepError, match=r"the ledger failed; the same command continues.*disk full"):
            room.run(1)
    assert room.states() == [TrialState.RUNNING]
    assert room.run(1) == [TrialState.INTERRUPTED, TrialState.COMPLETE]


def test_no_descriptor_is_left_open(room: Room) -> None:
    room.run(2)
    before = open_files(room.folder)
    room.run(5)
    room.ledger._rows.database.engine.dispose()  # its pool keeps as many as were used at once
    assert open_files(room.folder) - before == Counter()


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        3,
        -1,
        1e-05,
        0.1 + 0.2,
        "both",
        "a b",
        "a,b",
        "it's",
        "back\\slash",
        "1e3",
        "true",
        "a=b",
    ],
)
def test_overrides_read_back_as_the_value(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    read = OverridesParser.create().parse_override(f"key={literal(value)}").value()
    read = getattr(read, "text", read)
    assert (type(read), read) == (type(value), value)


def test_the_toy_is_what_it_says() -> None:
    data = toy_data()
    assert (len(data.train), len(data.validation)) == (48, 16)
    assert list(parse_space(SPACE)) == list(SPACE)


# -- cohorts


def test_a_cohort_gives_each_trial_what_it_gets_alone(room: Room, tmp_path: Path) -> None:
    room.run(5)
    together = Room(Path(room.values["backbone"]["path"]), tmp_path / "together")
    together.values["train"]["cohort"] = 3
    together.run(5)
    alone, shared = room.ledger.view().trials, together.ledger.view().trials
    assert [t.params for t in shared] == [t.params for t in alone]
    assert [t.metrics["accuracy"] for t in shared] == [t.metrics["accuracy"] for t in alone]
    assert [t.metrics["train_loss"] for t in shared] == pytest.approx([t.metrics["train_loss"] for t in alone])
    assert [t.metrics["cohort_size"] for t in alone + shared] == [1] * 5 + [3, 3, 3, 2, 2]
    assert together.watch.begun == room.watch.begun


def test_a_trial_that_fails_in_a_cohort_fails_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.values["train"]["cohort"] = 3
    fail_once(monkeypatch, "prepare_trial", GuardError("no good"))
    assert room.run(3) == [TrialState.FAILED, TrialState.COMPLETE, TrialState.COMPLETE]
    assert [t.metrics.get("cohort_size") for t in room.ledger.view().trials] == [None, 2, 2]
    assert sorted(room.told) == [0, 1, 2]


def test_trials_of_different_batches_share_no_pass(room: Room) -> None:
    room.values["train"]["cohort"] = 4
    space = {"train.batch_size": "choice(4, 8)", "train.lr": "choice(1e-3, 2e-3)"}
    room.ledger = start(room.folder, space, name="batches", objectives=OBJECTIVES, sampler="grid")
    room.run(4)
    assert room.states() == [TrialState.COMPLETE] * 4
    assert {t.metrics["cohort_size"] for t in room.ledger.view().trials} == {2}


def test_seeds_share_a_pass_where_the_order_of_the_data_is_fixed(room: Room) -> None:
    room.values["train"] |= {"cohort": 4, "data_seed": 0}
    room.ledger = start(room.folder, {"train.seed": "choice(1, 2, 3)"}, objectives=OBJECTIVES, sampler="grid", name="s")
    room.run(3)
    trials = room.ledger.view().trials
    assert [t.metrics["cohort_size"] for t in trials] == [3] * 3
    assert len({t.metrics["train_loss"] for t in trials}) == 3


def test_ctrl_c_queues_a_whole_cohort_again(room: Room) -> None:
    room.values["train"]["cohort"] = 3
    room.break_at("step", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        room.run(3)
    assert room.states() == [TrialState.INTERRUPTED] * 3
    assert room.told == [0, 1, 2]
    room.run(3)
    trials = room.ledger.view().trials
    assert [t.state for t in trials[3:]] == [TrialState.COMPLETE] * 3
    assert [t.params for t in trials[3:]] == [t.params for t in trials[:3]]


def test_a_cohort_takes_no_more_trials_than_are_left(room: Room) -> None:
    room.values["train"]["cohort"] = 8
    assert room.run(2) == [TrialState.COMPLETE] * 2


# -- processes that can train no more


def test_a_trial_that_changes_the_frozen_weights_fails_and_ends_its_process(room: Room) -> None:
    def at(event: str) -> None:
        if event == "epoch":
            next(room.bench.backbone.model.parameters()).data.add_(1.0)

    room.watch.at = at
    with pytest.raises(SpoiltProcessError, match="the frozen backbone's weights changed"):
        room.run(3)
    (trial,) = room.ledger.view().trials
    assert (trial.state, trial.reason) == (
        TrialState.FAILED,
        "the frozen backbone's weights changed during the trial",
    )
    assert room.told == [0]


def test_of_a_cohort_whose_process_is_spoilt_each_is_tried_again_alone(room: Room, tiny_bert: Path) -> None:
    room.values["train"]["cohort"] = 3
    at = room.watch.at

    def spoil(event: str) -> None:
        if event == "epoch":
            next(room.bench.backbone.model.parameters()).data.add_(1.0)

    room.watch.at = spoil
    with pytest.raises(SpoiltProcessError):
        room.run(3)
    assert room.states() == [TrialState.INTERRUPTED] * 3
    assert sorted(room.told) == [0, 1, 2]

    room.watch.at, room.bench = at, toy_bench(tiny_bert)  # another process
    room.run(3)
    trials = room.ledger.view().trials
    assert [trial.params for trial in trials[3:]] == [trial.params for trial in trials[:3]]
    assert [(t.state, t.metrics["cohort_size"]) for t in trials[3:]] == [(TrialState.COMPLETE, 1)] * 3


def test_a_cohort_without_memory_is_halved_until_one_is_left(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a device that has room for the hidden states of two trials."""
    train = loop.train_trials
    sizes: list[int] = []

    def with_room_for_two(trials: Any, bench: Any) -> Any:
        sizes.append(len(trials))
        if len(trials) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(trials, bench)

    monkeypatch.setattr(loop, "train_trials", with_room_for_two)
    room.values["train"]["cohort"] = 5
    assert room.run(5) == [TrialState.COMPLETE] * 5
    assert sizes == [5, 2, 3, 1, 2]
    assert [t.metrics["cohort_size"] for t in room.ledger.view().trials] == [2, 2, 1, 2, 2]


def test_who_waits_takes_over_what_another_process_leaves(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.05)
    other = room.open()
    asked = other.ask(2)
    assert asked is not None
    trial, hold = asked
    threading.Timer(5.0, lambda: (other._heart.remove(trial._trial_id), hold.close())).start()
    assert room.run(2, wait=True) == [TrialState.INTERRUPTED, TrialState.COMPLETE, TrialState.COMPLETE]


def test_who_has_its_trials_waits_for_none_that_another_asked_for(room: Room) -> None:
    room.run(1)
    asked = room.open().ask(2)
    assert asked is not None
    assert room.run(1, wait=True) == [TrialState.COMPLETE, TrialState.RUNNING]
    asked[1].close()
