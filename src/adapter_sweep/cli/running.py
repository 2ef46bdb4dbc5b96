"""Running a study's trials, here or in worker processes, with everything shown and published beside them."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console

from adapter_sweep.bench import Bench
from adapter_sweep.cli.capacity import Capacity
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.config import with_params
from adapter_sweep.records import ParamValue
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.loop import run_trials
from adapter_sweep.study.messages import Job
from adapter_sweep.study.workers import run_workers

__all__ = ["Work", "run_work"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """Trials to be run.

    Attributes:
        ledger: their study.
        arguments: those of `Ledger.start`, with which workers open it.
        bench: its backbone and data.
        values: the configuration as plain values, in which each trial's parameters are set.
        capacity: the workers.
        done: trials that the study has.
        total: trials it is to have; None for one more.
        overrides: what reproduces the study's fixed settings on the command line.
        fixed: parameters to show where nothing is searched.
        anchors: finds out what the trials stand beside, and keeps it; None where that is known.
    """

    ledger: Ledger
    arguments: Mapping[str, Any]
    bench: Bench
    values: Mapping[str, Any]
    capacity: Capacity
    done: int
    total: int | None
    overrides: tuple[str, ...] = ()
    fixed: Mapping[str, ParamValue] = field(default_factory=dict)
    anchors: Callable[[], None] | None = None


def run_work(work: Work, display: Display, publisher: Publisher, console: Console) -> list[int]:
    """Run the trials; the numbers of those that this process ran itself."""
    if work.capacity.workers > 1 and work.total is not None:
        _in_workers(work, work.total, display, publisher)
        return []
    torch.set_num_threads(work.capacity.threads)
    publisher.open()
    publisher.begin()
    if work.anchors is not None:
        with console.status("Scoring the backbone without adapters …"):
            _score_anchors(work.anchors)
    with display.progress(work.done, work.done + 1 if work.total is None else work.total):
        return run_trials(
            work.ledger,
            work.bench,
            work.values,
            work.total,
            display,
            overrides=work.overrides,
            fixed=work.fixed,
            told=publisher.soon_trial,
            wait=True,
        )


def _score_anchors(anchors: Callable[[], None]) -> None:
    """Score the anchors. What fails there, no room for hidden states say, is no trial's failure: it is logged."""
    try:
        anchors()
    except Exception:
        _log.warning("the backbone without adapters could not be scored, and the study goes on", exc_info=True)


@contextmanager
def _meanwhile(anchors: Callable[[], None] | None) -> Iterator[None]:
    """Score the anchors, where they are to be, while what is inside goes on; the end waits for them."""
    if anchors is None:
        yield
        return
    thread = threading.Thread(target=_score_anchors, args=(anchors,), name="anchors", daemon=True)
    thread.start()
    yield
    thread.join()


def _in_workers(work: Work, total: int, display: Display, publisher: Publisher) -> None:
    """Run the trials in worker processes. This one shows them, scores the anchors and publishes beside them."""
    capacity = work.capacity
    if capacity.bound:
        display.warn(f"{capacity.workers} workers: {capacity.bound}")
    torch.set_num_threads(capacity.threads)  # for the anchors: the rest of the machine is the workers'
    # What `auto` came to here, so that it is measured once and all workers have the same.
    known = {
        "train.precision": work.bench.backbone.precision,
        "backbone.attention": work.bench.backbone.attention,
        "workers.count": capacity.workers,
    }
    values = with_params(work.values, known)
    assert work.ledger.stop_sign is not None
    arguments = {**work.arguments, "stops_before": work.ledger.stop_sign.before}
    jobs = [
        Job(
            ledger=arguments,
            values=with_params(values, {"train.device": device}),
            n_trials=total,
            threads=capacity.threads,
            overrides=work.overrides,
            on_test=work.bench.scored == "test",
        )
        for device in capacity.devices
    ]
    publisher.begin()
    with _meanwhile(work.anchors), display.progress(work.done, total):
        run_workers(work.ledger, jobs, display, told=publisher.soon_trial)
