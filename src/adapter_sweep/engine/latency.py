"""Latency of an adapted model against its frozen backbone, measured so that it can be believed.

The two are timed in turn (ABBA), so that a drift of the machine's speed falls on both; the ratio is the median over
pairs with a bootstrap interval; the backbone is timed against itself for the noise floor. Nothing else of this
product trains on the host while a reading is taken: `training_step` and `quiet_host` share one lock file.
"""

import fcntl
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.methods.insertion import Insertion, inserted, served
from adapter_sweep.engine.modality import random_inputs

__all__ = [
    "LatencySpec",
    "Reading",
    "latency_metrics",
    "measure",
    "measure_merged",
    "merged_metrics",
    "quiet_host",
    "training_step",
]

NOISY_IQR_OVER_MEDIAN = 0.10
_BOOTSTRAP = 2000
_PATIENCE_SECONDS = 60.0  # of waiting that nobody is told of: a study's own workers read latency in turn, too
_log = logging.getLogger(__name__)
_LOCK = Path(tempfile.gettempdir()) / f"adapter-sweep-latency-{os.getuid()}.lock"
# Every step passes the gate and a reader keeps it shut: without it, overlapping steps would keep readers out for ever.
_GATE = _LOCK.with_suffix(".gate")


@dataclass(frozen=True)
class LatencySpec:
    """The batch shapes and the effort.

    Attributes:
        tokens: length of every text, in tokens; an image is as large as the model takes it.
        batch_size: examples in the throughput batch.
        pairs: paired readings, adapted and frozen, at batch 1.
        batch_pairs: the same at the throughput batch.
        warmup_seconds: the longest to warm up in all; it ends sooner when readings are steady.
        threads: CPU threads during a reading.
    """

    tokens: int
    batch_size: int
    pairs: int
    batch_pairs: int
    warmup_seconds: float
    threads: int


@dataclass(frozen=True)
class Reading:
    """Latency at one batch shape.

    Attributes:
        p50_ms, p90_ms: of the adapted model, one forward pass.
        ratio: adapted over frozen, median over pairs; `ratio_low` and `ratio_high` its 95 % bootstrap interval.
        noise_floor: how far from 1 the backbone against itself may read: the farther end of that ratio's 95 % bootstrap
            interval, in the same session, from as many pairs.
        noisy: the IQR of the adapted model's or the backbone's latency is over 10 % of its median.
    """

    p50_ms: float
    p90_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    noise_floor: float
    noisy: bool


def latency_metrics(single: Reading, batch: Reading) -> dict[str, float]:
    """The two readings under the record's names: batch 1 as `latency_*`, the throughput batch as `batch_latency_*`."""
    metrics: dict[str, float] = {}
    for prefix, reading in (("latency", single), ("batch_latency", batch)):
        metrics |= {f"{prefix}_{name}": float(value) for name, value in asdict(reading).items()}
    return metrics


def measure(model: AdaptedModel, spec: LatencySpec, seed: int = 0) -> tuple[Reading, Reading]:
    """Read the latency of one forward pass at batch 1 and at the throughput batch, on a quiet host.

    Latency does not depend on trained values, so the model may be untrained.
    """
    insertion = served(model.insertion)
    with _undisturbed(spec.threads):
        single = _seconds(model, insertion, spec, 1, spec.pairs, seed)
        batch = _seconds(model, insertion, spec, spec.batch_size, spec.batch_pairs, seed)
    # Out of the quiet: nobody needs to wait for arithmetic.
    return _reading(*single, seed), _reading(*batch, seed)


def measure_merged(model: AdaptedModel, spec: LatencySpec, seed: int = 0) -> Reading:
    """Read the latency at batch 1 of a model whose method is merged into the weights, in the same way.

    Raises:
        ValueError: the method cannot be merged.
    """
    merged = model.merge()  # once: a merge before each reading would leave the caches as no user's are
    with _undisturbed(spec.threads):
        seconds = _seconds(model, merged, spec, 1, spec.pairs, seed)
    return _reading(*seconds, seed)


def merged_metrics(reading: Reading) -> dict[str, float]:
    """The reading of a merged model under the record's names."""
    names = ("ratio", "ratio_low", "ratio_high", "p50_ms", "noise_floor", "noisy")
    return {f"merged_latency_{name}": float(getattr(reading, name)) for name in names}


@contextmanager
def _undisturbed(threads: int) -> Iterator[None]:
    """While open, the host is quiet and torch has so many threads."""
    before = torch.get_num_threads()
    try:
        with quiet_host():
            torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def _seconds(
    model: AdaptedModel,
    insertion: Insertion,
    spec: LatencySpec,
    batch_size: int,
    pairs: int,
    seed: int,
) -> tuple[list[float], list[float], list[float]]:
    """What `_in_turn` gives for the model, adapted by the insertion, on one batch shape, warmed up."""
    backbone = model.backbone
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    inputs = random_inputs(backbone.model, rows=batch_size, tokens=spec.tokens, generator=generator)

    def forward() -> Tensor:
        return model.read(inputs)

    def frozen() -> float:
        return _time(forward, device)

    def adapted() -> float:
        with inserted(backbone.model, insertion):
            return _time(forward, device)

    _warm_up((adapted, frozen), spec.warmup_seconds / 2)  # the other half is the other batch shape's
    return _in_turn(adapted, frozen, pairs)


def _reading(ours: list[float], theirs: list[float], again: list[float], seed: int) -> Reading:
    """What the seconds of `_in_turn` say."""
    generator = torch.Generator().manual_seed(seed)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high = _bootstrap_median(ratios, generator)
    same = _bootstrap_median([b / c for b, c in zip(theirs, again, strict=True)], generator)
    floor = max(abs(1 - end) for end in same)
    p50, p90 = (1000 * torch.tensor(ours, dtype=torch.float64).quantile(q).item() for q in (0.5, 0.9))
    noisy = max(_spread(ours), _spread(theirs)) > NOISY_IQR_OVER_MEDIAN
    return Reading(p50, p90, statistics.median(ratios), low, high, floor, noisy)


def _in_turn(
    adapted: Callable[[], float], frozen: Callable[[], float], pairs: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of the adapted model, of the backbone, and of the backbone again: A B B', then B' B A, and so on.

    A and B are always neighbours, in either order (ABBA), and so are B and B', which give the noise floor.
    """
    ours: list[float] = []
    theirs: list[float] = []
    again: list[float] = []
    calls = [(adapted, ours), (frozen, theirs), (frozen, again)]
    for i in range(pairs):
        for call, seconds in calls if i % 2 == 0 else reversed(calls):
            seconds.append(call())
    return ours, theirs, again


def _time(forward: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds of one call: CUDA events on a GPU, the monotonic clock elsewhere."""
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(device)  # which need not be the current device's
        start.record(stream)
        forward()
        end.record(stream)
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000
    started = time.perf_counter()
    forward()
    return time.perf_counter() - started


def _warm_up(calls: Sequence[Callable[[], float]], seconds: float) -> None:
    """Call each in turn until its medians of two consecutive windows of three agree to 5 %, or the time is up."""
    ends = time.perf_counter() + seconds
    before = _medians(calls)
    while time.perf_counter() < ends:
        after = _medians(calls)
        if all(abs(new - old) <= 0.05 * old for old, new in zip(before, after, strict=True)):
            return
        before = after


def _medians(calls: Sequence[Callable[[], float]]) -> list[float]:
    window = [[call() for call in calls] for _ in range(3)]
    return [statistics.median(seconds) for seconds in zip(*window, strict=True)]


def _bootstrap_median(values: list[float], generator: torch.Generator) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the median (Efron 1979)."""
    data = torch.tensor(values, dtype=torch.float64)
    picks = torch.randint(len(values), (_BOOTSTRAP, len(values)), generator=generator)
    medians = data[picks].quantile(0.5, dim=1)
    low, high = medians.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _spread(seconds: list[float]) -> float:
    """IQR over median."""
    q1, q2, q3 = (
        torch.tensor(seconds, dtype=torch.float64)
        .quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
        .tolist()
    )
    return float((q3 - q1) / q2)


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    """Hold a lock on one of the host's files; the operating system frees it should the process die."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        # Who holds the gate reads; beyond it only a reader finds others, who train.
        _wait_for(descriptor, operation, "train" if path == _LOCK and operation == fcntl.LOCK_EX else "read latency")
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, operation: int, others: str) -> None:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        pass
    teller = threading.Timer(_PATIENCE_SECONDS, _tell_of_waiting, [others])
    teller.daemon = True
    teller.start()
    try:
        fcntl.flock(descriptor, operation)
    finally:
        teller.cancel()


def _tell_of_waiting(others: str) -> None:
    _log.warning("waiting for other processes of yours on this host that %s; they hold %s", others, _LOCK)


@contextmanager
def quiet_host() -> Iterator[None]:
    """While open, no training step of this user runs on the host."""
    with _locked(_GATE, fcntl.LOCK_EX), _locked(_LOCK, fcntl.LOCK_EX):
        yield


@contextmanager
def training_step() -> Iterator[None]:
    """While open, nobody reads latency on the host; many training steps may be open at once."""
    with ExitStack() as held:
        with _locked(_GATE, fcntl.LOCK_SH):
            held.enter_context(_locked(_LOCK, fcntl.LOCK_SH))
        yield
