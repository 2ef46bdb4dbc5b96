"""Trials that are interrupted, mostly by a real signal, and go on from their checkpoints as if they never had been."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapter_sweep import resuming
from adapter_sweep.checkpoints import CHECKPOINT_FILE, discard
from adapter_sweep.cohort import Ready, make_ready, train_trials
from adapter_sweep.engine.backbone import structure_of
from adapter_sweep.interrupts import listening
from adapter_sweep.resuming import TrialsKeeper
from adapter_sweep.study.stopping import Stopped
from adapter_sweep.trial import Outcome, Prepared, prepare_trial
from toy_bench import Table, Watch, toy_bench, toy_config, undisturbed

STEPS = 6  # of an epoch
TIMES = {"train_seconds", "eval_seconds"}
TOGETHER: tuple[dict[str, Any], ...] = (
    {"train__lr": 1e-2},
    {"train__lr": 3e-3, "method__width": 7, "method__placement": "post_ffn", "train__epochs": 1},
    {"train__lr": 1e-3, "train__seed": 5, "train__data_seed": 0, "train__weight_decay": 0.1},
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with undisturbed(monkeypatch, tmp_path):
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Studio:
    """Trains trials on one bench, each in a folder of its own."""

    def __init__(self, tiny_bert: Path, folder: Path) -> None:
        self.tiny_bert, self.folder = tiny_bert, folder
        self.bench = toy_bench(tiny_bert)
        self.table = Table()
        self.runs = 0

    def ready(self, *before: Path, watch: Watch | None = None, **params: Any) -> Ready:
        self.runs += 1
        watch = watch or Watch()
        prepared = prepare_trial(toy_config(self.tiny_bert, **params), self.bench, self.table, watch)
        assert isinstance(prepared, Prepared)
        return make_ready(prepared, self.bench, self.folder / str(self.runs), watch, before)

    def train(self, ready: Sequence[Ready]) -> list[Outcome]:
        """As the study's loop does: those that can share a pass together."""
        groups: dict[object, list[Ready]] = {}
        for one in ready:
            groups.setdefault(one.pass_key, []).append(one)
        found: dict[int, Outcome] = {}
        for group in groups.values():
            for one, outcome in zip(group, train_trials(group, self.bench), strict=True):
                assert isinstance(outcome, Outcome), outcome
                found[id(one)] = outcome
        return [found[id(one)] for one in ready]

    def interrupted(self, at: str, times: int, *each: dict[str, Any]) -> list[Ready]:
        """Trials that a signal came to when the first one's watcher was told of an event so often."""
        watches = [Watch(_signal(at, times)), *(Watch() for _ in each[1:])]
        ready = [self.ready(watch=watch, **own) for watch, own in zip(watches, each, strict=True)]
        with pytest.raises(KeyboardInterrupt), listening(60, again="ignored"):
            self.train(ready)
        return ready

    def resumed(self, before: Sequence[Ready], *each: dict[str, Any]) -> tuple[list[Outcome], list[list[int]]]:
        """The same trials again: how they end, and the steps they went on from."""
        ready = [self.ready(old.folder, *old.before, **own) for old, own in zip(before, each, strict=True)]
        outcomes = self.train(ready)
        return outcomes, [one.watch.resumes for one in ready]  # type: ignore[attr-defined]


def _signal(wanted: str, times: int) -> Callable[[str], None]:
    left = [times]

    def at(event: str) -> None:
        left[0] -= event == wanted
        if event == wanted and left[0] == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    return at


@pytest.fixture
def studio(tiny_bert: Path, tmp_path: Path) -> Studio:
    return Studio(tiny_bert, tmp_path)


def assert_identical(outcome: Outcome, whole: Outcome) -> None:
    assert outcome.weights is not None
    assert whole.weights is not None
    found, expected = load_file(outcome.weights), load_file(whole.weights)
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    assert outcome.curves == whole.curves
    assert outcome.predictions == whole.predictions
    numbers, others = ({k: v for k, v in own.metrics.items() if k not in TIMES} for own in (outcome, whole))
    assert numbers == others


FULL = {"method": {"kind": "full"}, "train__lr": 1e-4}
LORA = {"method": {"kind": "lora", "rank": 2, "alpha": 4, "targets": ["query", "value"]}}


@pytest.mark.parametrize(
    ("at", "times", "step"),
    [("step", 1, 1), ("step", 3, 3), ("step", STEPS, STEPS), ("scoring", 1, STEPS), ("step", 8, 8), ("scoring", 2, 12)],
)
def test_a_trial_goes_on_from_any_place(studio: Studio, at: str, times: int, step: int) -> None:
    (whole,) = studio.train([studio.ready(train__checkpoint_every=5)])
    before = studio.interrupted(at, times, {})
    (outcome,), steps = studio.resumed(before, {"train__checkpoint_every": 5})
    assert steps == [[step]]
    assert_identical(outcome, whole)


@pytest.mark.parametrize(
    "params",
    [
        FULL,
        LORA,
        {"train__early_stopping": 1, "train__epochs": 4, "train__lr": 0.03},
        {"train__micro_batches": 3},
        {"train__gradient_checkpointing": True},
        {"method__layers": "top:1"},
        {"method": {"kind": "head"}},
        {"train__score_epochs": "last"},
        {"train__weight_decay": 0.1, "train__max_grad_norm": 0.0, "train__label_smoothing": 0.1},
    ],
)
@pytest.mark.parametrize("at", [("step", 4), ("step", STEPS + 2)])
def test_so_does_one_of_any_kind(studio: Studio, params: dict[str, Any], at: tuple[str, int]) -> None:
    (whole,) = studio.train([studio.ready(**params)])
    structure = structure_of(studio.bench.backbone.model)
    before = studio.interrupted(*at, params)
    assert structure_of(studio.bench.backbone.model) == structure
    (outcome,), steps = studio.resumed(before, params)
    assert steps == [[at[1]]]
    assert_identical(outcome, whole)


def test_the_optimizer_goes_on_as_well(studio: Studio) -> None:
    every = {"train__checkpoint_every": 10}
    uninterrupted = studio.ready(**every)
    studio.train([uninterrupted])
    before = studio.interrupted("step", 3, {"train__checkpoint_every": None})
    resumed = studio.ready(before[0].folder, **every, train__epochs=2)
    resumed.watch.at = _signal("step", 10 - 3)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt), listening(60, again="ignored"):
        studio.train([resumed])
    found, expected = (load_file(one.folder / CHECKPOINT_FILE) for one in (resumed, uninterrupted))
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert sum(name.startswith("moments.") for name in found) == 7


@pytest.mark.parametrize("step", [2, STEPS + 3])
def test_trials_that_shared_a_pass_share_it_again(studio: Studio, step: int) -> None:
    """At the second place one of them has had all its epochs."""
    whole = studio.train([studio.ready(**own) for own in TOGETHER])
    before = studio.interrupted("step", step, *TOGETHER)
    outcomes, steps = studio.resumed(before, *TOGETHER)
    assert steps == [[step], [min(step, STEPS)], [step]]
    for outcome, expected in zip(outcomes, whole, strict=True):
        assert_identical(outcome, expected)
    assert [outcome.metrics["cohort_size"] for outcome in outcomes] == [3, 3, 3]


def test_trials_from_different_places_go_apart(studio: Studio) -> None:
    early, late = (studio.interrupted("step", step, {})[0] for step in (2, 3))
    keys = {studio.ready(*folders).pass_key for folders in [(early.folder,), (late.folder,), ()]}
    assert len(keys) == 3


def test_the_chain_is_followed_and_only_the_newest_is_kept(studio: Studio) -> None:
    (first,) = studio.interrupted("step", 3, {})
    died_early = studio.ready(first.folder)  # without a step of its own
    third = studio.ready(died_early.folder, first.folder, train__checkpoint_every=2)
    assert (first.folder / CHECKPOINT_FILE).exists()
    studio.train([third])
    assert third.watch.resumes == [3]  # type: ignore[attr-defined]
    kept = [path.parent for path in studio.folder.rglob("*checkpoint*") if path.is_file()]
    assert kept == [third.folder]
    discard((third.folder, *third.before))
    assert not (third.folder / CHECKPOINT_FILE).exists()


def test_so_does_a_trial_whose_watcher_stops_it(studio: Studio) -> None:
    """As `adapter-sweep stop` does: no signal, but an exception from where a step is told."""
    together = TOGETHER[0], TOGETHER[2]
    whole = studio.train([studio.ready(**own) for own in together])
    left = itertools.count(1)

    def stop(event: str) -> None:
        if event == "step" and next(left) == 4:
            raise Stopped

    watches = Watch(stop), Watch()
    before = [studio.ready(watch=watch, **own) for watch, own in zip(watches, together, strict=True)]
    with pytest.raises(Stopped):
        studio.train(before)
    outcomes, steps = studio.resumed(before, *together)
    assert steps == [[4], [4]]
    for outcome, expected in zip(outcomes, whole, strict=True):
        assert_identical(outcome, expected)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_broken_checkpoint_costs_no_trial(studio: Studio, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    (whole,) = studio.train([studio.ready()])
    (before,) = studio.interrupted("step", 3, {})
    path = before.folder / CHECKPOINT_FILE
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes({"cut": data[:-9], "flipped": data, "empty": b"", "text": b"no tensors"}[damage])
    (outcome,), steps = studio.resumed([before], {})
    assert steps == [[]]
    assert_identical(outcome, whole)
    assert caplog.text.count("is not used") == 1


@pytest.mark.parametrize(
    "params", [{"train__lr": 2e-2}, {"method__width": 5}, {"train__seed": 1}, {"method__init_std": 0.02}]
)
def test_another_trials_checkpoint_is_not_gone_on_from(
    studio: Studio, params: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (before,) = studio.interrupted("step", 3, {})
    assert studio.ready(before.folder, **params).kept is None
    assert "made with other settings" in caplog.text


def test_packages_are_part_of_what_it_belongs_to(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = studio.interrupted("step", 3, {})
    assert studio.ready(before.folder, train__cache_gb=0.5, train__checkpoint_every=None).kept is not None
    monkeypatch.setattr("adapter_sweep.provenance.version", lambda _: "0.0")
    monkeypatch.setattr("adapter_sweep.bench.code_provenance", lambda: {"torch": "0.0"})
    assert studio.ready(before.folder).kept is None


def test_a_full_disk_costs_no_trial(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (whole,) = studio.train([studio.ready()])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapter_sweep.engine.checkpoint.save_file", full)
    (outcome,) = studio.train([studio.ready(train__checkpoint_every=1)])
    assert_identical(outcome, whole)
    assert caplog.text.count("no checkpoint could be written") == 1
    assert [path for path in studio.folder.rglob("*checkpoint*") if path.is_file()] == []


def test_left_to_us_it_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that checkpoints of 0.25 s advance: none is due before they are 0.5 % of the time."""
    now = [0.0]
    monkeypatch.setattr(resuming.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(resuming, "save_checkpoints", lambda _: now.__setitem__(0, now[0] + 0.25))
    keeper = TrialsKeeper([("key", [Path("none")])], "auto", 1_000_000, lambda _place, _standing: None)  # type: ignore[arg-type,return-value]
    kept = 0
    for _ in range(10_000):
        now[0] += 0.1
        if keeper.due():
            keeper.keep({})
            kept += 1
    assert 18 <= kept <= 20
    assert kept * 0.25 / now[0] <= 0.005


def test_none_is_written_but_at_an_interrupt(studio: Studio) -> None:
    ready = studio.ready(train__checkpoint_every=None)
    studio.train([ready])
    assert not (ready.folder / CHECKPOINT_FILE).exists()
    (before,) = studio.interrupted("step", 3, {"train__checkpoint_every": None})
    assert (before.folder / CHECKPOINT_FILE).exists()
