import multiprocessing
import threading
import time
from dataclasses import replace
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

import pytest
import torch

from adapter_sweep.engine import latency
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.latency import (
    LatencySpec,
    Reading,
    _in_turn,
    latency_metrics,
    measure,
    measure_merged,
    merged_metrics,
    quiet_host,
    training_step,
)
from adapter_sweep.engine.methods import FullSpec, LoraSpec
from adapter_sweep.records import METRIC_HELP
from families import tiny_backbone
from processes import wait_for

SPEC = LatencySpec(tokens=8, batch_size=4, pairs=9, batch_pairs=7, warmup_seconds=0.05, threads=1)


def test_the_two_models_are_timed_in_turn() -> None:
    order: list[str] = []

    def call(name: str) -> float:
        order.append(name)
        return float(len(order))

    ours, theirs, again = _in_turn(lambda: call("adapted"), lambda: call("frozen"), 3)
    adapted = [i for i, name in enumerate(order) if name == "adapted"]
    assert adapted == [0, 5, 6]  # A B B', B' B A, A B B'
    assert (len(ours), len(theirs), len(again)) == (3, 3, 3)
    assert all(abs(a - b) == 1 for a, b in zip(ours, theirs, strict=True))
    assert all(abs(b - c) == 1 for b, c in zip(theirs, again, strict=True))


def test_a_reading_is_whole_and_leaves_threads_as_they_were() -> None:
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0)
    threads = torch.get_num_threads()
    single, batch = measure(model, SPEC)
    assert torch.get_num_threads() == threads
    for reading in (single, batch):
        assert 0 < reading.p50_ms <= reading.p90_ms
        assert reading.ratio_low <= reading.ratio <= reading.ratio_high
        assert reading.noise_floor >= 0
    assert not model.backbone.model.encoder.layer[0].output.dense._forward_hooks  # type: ignore[union-attr,index]


def test_weights_are_cast_once_for_all_readings_as_in_a_model_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AdaptedModel(tiny_backbone(precision="bf16"), FullSpec(), 2, 0)
    made, weights = [], model.insertion.weights
    assert weights is not None
    noting = replace(model.insertion, weights=lambda: made.append(1) or weights())
    monkeypatch.setattr(AdaptedModel, "insertion", noting)
    measure(model, SPEC)
    assert made == [1]
    assert all(p.dtype == torch.bfloat16 and not p.requires_grad for p in model.backbone.model.parameters())


def test_a_slow_adapter_reads_slow() -> None:
    """The ratio must see what is put in: a sleep in one adapter, several times the tiny backbone's whole pass."""
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0)
    next(iter(model.adapters.values())).register_forward_hook(lambda *_: time.sleep(0.03))
    single, _ = measure(model, SPEC)
    assert single.ratio > 2
    assert single.ratio_low > 1.5
    assert single.p50_ms > 30


def test_weights_are_merged_once_for_all_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AdaptedModel(tiny_backbone(), LoraSpec(2), 2, seed=0)
    made, real = [], AdaptedModel.merge
    monkeypatch.setattr(AdaptedModel, "merge", lambda self: made.append(self) or real(self))
    measure_merged(model, SPEC)
    assert made == [model]


def test_what_is_merged_costs_no_time() -> None:
    """What is slow beside the weights is not in them any more."""
    model = AdaptedModel(tiny_backbone(), LoraSpec(2), 2, 0)
    next(iter(model.insertion.replaced.values())).register_forward_hook(lambda *_: time.sleep(0.03))
    single, _ = measure(model, SPEC)
    merged = measure_merged(model, SPEC)
    assert single.ratio > 2
    assert merged.ratio < 1.5
    assert merged.ratio_low <= merged.ratio <= merged.ratio_high
    assert set(merged_metrics(merged)) == {name for name in METRIC_HELP if name.startswith("merged_")}
    assert merged.noise_floor == merged_metrics(merged)["merged_latency_noise_floor"]
    with pytest.raises(ValueError, match="cannot be merged"):
        measure_merged(AdaptedModel(model.backbone, BottleneckSpec(2), 2, 0), SPEC)


def test_the_record_names_both_batch_shapes() -> None:
    reading = Reading(1.0, 2.0, 1.1, 1.0, 1.2, 0.01, True)
    metrics = latency_metrics(reading, reading)
    assert metrics["latency_ratio"] == metrics["batch_latency_ratio"] == 1.1
    assert metrics["latency_noisy"] == 1.0
    assert set(metrics) <= set(METRIC_HELP)


def _step_forever(steps: "Synchronized[int]", stop: Event) -> None:
    while not stop.is_set():
        with training_step():
            time.sleep(0.01)
            steps.value += 1


def test_nobody_trains_while_latency_is_read() -> None:
    """A real second process steps; while the host is quiet it never holds a step."""
    context = multiprocessing.get_context("spawn")
    steps, stop = context.Value("i"), context.Event()
    worker = context.Process(target=_step_forever, args=(steps, stop))
    worker.start()
    try:
        wait_for(lambda: steps.value > 0)
        with quiet_host():
            before = steps.value
            time.sleep(0.25)
            assert steps.value == before
        wait_for(lambda: steps.value > before)
    finally:
        stop.set()
        worker.join(30)
    assert worker.exitcode == 0


def test_who_waits_for_long_says_for_what(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(latency, "_PATIENCE_SECONDS", 0.01)

    def train() -> None:
        with training_step():
            pass

    def read() -> None:
        with quiet_host():
            pass

    said = []
    for holding, waiting in ((quiet_host, train), (training_step, read)):
        caplog.clear()
        waiter = threading.Thread(target=waiting)
        with holding():
            waiter.start()
            ends = time.monotonic() + 30
            while not caplog.messages and time.monotonic() < ends:
                time.sleep(0.01)
        waiter.join(30)
        said.append(caplog.messages)
    assert [[text.rpartition("; they hold ")[0] for text in texts] for texts in said] == [
        ["waiting for other processes of yours on this host that read latency"],
        ["waiting for other processes of yours on this host that train"],
    ]
    caplog.clear()
    train()
    assert caplog.messages == []


def test_training_steps_do_not_wait_for_each_other() -> None:
    with training_step():
        done = threading.Event()

        def other() -> None:
            with training_step():
                done.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(5)
        thread.join()
