import json
import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adapter_sweep.engine.choices import FILE, Seconds, measured, time_in_turn
from adapter_sweep.engine.latency import training_step

CPU = torch.device("cpu")
ONCE = {"a": 1.0, "b": 2.0}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(folder))
    monkeypatch.setattr("adapter_sweep.engine.latency._LOCK", tmp_path / "quiet.lock")
    monkeypatch.setattr("adapter_sweep.engine.latency._GATE", tmp_path / "quiet.gate")
    return folder


@pytest.fixture
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Stopwatch:
    """Returns other seconds at each call, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Seconds:
        self.calls += 1
        return {name: seconds + self.calls - 1 for name, seconds in ONCE.items()}


def test_what_was_measured_is_kept(cache: Path) -> None:
    watch = Stopwatch()
    assert [measured("it", "ab", CPU, watch) for _ in range(3)] == [ONCE] * 3
    assert watch.calls == 1
    ((key, seconds),) = json.loads((cache / FILE).read_text()).items()
    assert seconds == ONCE
    assert key.startswith("it; ")
    assert f"torch {torch.__version__}" in key
    assert sorted(path.name for path in cache.iterdir()) == [f".{FILE}.lock", FILE]


@pytest.mark.usefixtures("_two_threads")
def test_another_thing_and_another_number_of_threads_are_measured_anew(cache: Path) -> None:
    watch = Stopwatch()
    torch.set_num_threads(1)
    first = measured("it", "ab", CPU, watch)
    assert measured("another", "ab", CPU, watch) != first
    torch.set_num_threads(2)
    assert measured("it", "ab", CPU, watch) != first
    torch.set_num_threads(1)
    assert measured("it", "ab", CPU, watch) == first
    assert watch.calls == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[1]", b"null"],
)
def test_a_damaged_file_is_replaced(cache: Path, content: bytes) -> None:
    cache.mkdir()
    (cache / FILE).write_bytes(content)
    watch = Stopwatch()
    assert [measured("it", "ab", CPU, watch) for _ in range(2)] == [ONCE] * 2
    assert watch.calls == 1


@pytest.mark.parametrize(
    "entry", [None, {}, {"a": 1.0}, {"a": "1", "b": 2.0}, {"a": -1.0, "b": 2.0}, {"a": 1.0, "c": 2.0}, [1.0, 2.0]]
)
def test_a_damaged_entry_is_measured_again_and_the_others_stay(cache: Path, entry: object) -> None:
    measured("it", "ab", CPU, Stopwatch())
    measured("another", "cd", CPU, lambda: {"c": 3.0, "d": 4.0})
    entries = json.loads((cache / FILE).read_text())
    key = next(key for key in entries if key.startswith("it; "))
    (cache / FILE).write_text(json.dumps({**entries, key: entry}))
    watch = Stopwatch()
    assert measured("it", "ab", CPU, watch) == ONCE
    assert watch.calls == 1
    assert json.loads((cache / FILE).read_text()) == entries


def test_a_cache_that_cannot_be_made_costs_a_measurement_each(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder should be")
    watch = Stopwatch()
    with caplog.at_level(logging.INFO):
        assert measured("it", "ab", CPU, watch) == ONCE
        measured("it", "ab", CPU, watch)
    assert watch.calls == 2
    assert "cannot be locked" in caplog.text
    assert "cannot be written" in caplog.text


def test_a_file_that_cannot_be_replaced_leaves_nothing_aside(cache: Path) -> None:
    (cache / FILE).mkdir(parents=True)
    (cache / FILE / "full").touch()
    assert measured("it", "ab", CPU, Stopwatch()) == ONCE
    assert sorted(path.name for path in cache.iterdir()) == [f".{FILE}.lock", FILE]


def _measure_at_once(start: Path, calls: Path) -> Seconds:
    def measure() -> Seconds:
        (calls / str(os.getpid())).touch()
        time.sleep(0.2)  # long enough for the other to arrive
        return {"a": float(os.getpid()), "b": 1.0}

    while not start.exists():
        time.sleep(0.01)
    return measured("it", "ab", CPU, measure)


def test_processes_that_start_at_once_measure_once_and_agree(cache: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = [pool.apply_async(_measure_at_once, (tmp_path / "start", calls)) for _ in range(2)]
        (tmp_path / "start").touch()
        one, two = (result.get(timeout=120) for result in results)
    assert one == two
    assert len(list(calls.iterdir())) == 1


def _hold_a_step(ready: Path, ended: Path) -> None:
    with training_step():
        ready.touch()
        time.sleep(0.5)
        ended.touch()


def test_nothing_is_measured_while_a_training_step_runs(cache: Path, tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    process = multiprocessing.get_context("fork").Process(target=_hold_a_step, args=(ready, ended))
    process.start()
    try:
        while not ready.exists():
            time.sleep(0.01)
        assert measured("it", "ab", CPU, lambda: {"a": 1.0 if ended.exists() else 2.0, "b": 1.0})["a"] == 1.0
    finally:
        process.join()


def test_calls_are_timed_in_turn_after_one_unread_call_each() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = time_in_turn(calls, CPU, budget_seconds=0, rounds=(3, 9))
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert seconds.keys() == {"a", "b"}
    order.clear()
    time_in_turn(calls, CPU, budget_seconds=1e9, rounds=(1, 2))
    assert "".join(order) == "ab" + "ab" + "ba"
