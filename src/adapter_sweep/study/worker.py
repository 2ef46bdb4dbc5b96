"""One worker process: opens its own bench and runs a study's trials beside others that share the ledger.

Nothing heavy is imported before the process has its environment: torch reads its number of threads once.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.interrupts import INTERRUPTED, held, listening
from adapter_sweep.records import ParamValue, TrialView
from adapter_sweep.study.messages import Event, Failed, Job, Message, Ready, Told, Warned

if TYPE_CHECKING:
    from adapter_sweep.engine.training import Progress

__all__ = ["work"]

_STEP_SECONDS = 0.2  # between two steps of a trial that are told
_LEAVE_SECONDS = 7.0  # to be gone after an interrupt: before the parent has to be
_ORPHAN_SECONDS = 30.0  # to end by itself once the parent is gone
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def work(job: Job, spawned: float, pipe: "Connection[Message, None]") -> None:
    """Run trials until the study has them all; the target of a spawned process, whose signals are blocked.

    Exits with 0 when the study has its trials, 130 when interrupted (the running trial is marked so and queued
    again) or when the parent is gone, 1 when it could not go on, which it told.

    Args:
        job: what to do.
        spawned: the wall clock when the process was started.
        pipe: where to tell what happens.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(job.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    teller = _Teller(pipe)
    status = 1
    try:
        with listening(_LEAVE_SECONDS, again="ignored"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # what came before is heard now
            _end_with_parent()
            _forward_warnings(teller)
            _run(job, teller, spawned)
        status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except AdapterSweepError as error:
        teller.tell(Failed(error))
    except Exception:
        teller.tell(Failed(RuntimeError(traceback.format_exc())))
    sys.exit(status)


def _run(job: Job, teller: "_Teller", spawned: float) -> None:
    seconds: dict[str, float] = {}
    since = spawned

    def ended(stage: str) -> None:
        nonlocal since
        now = time.time()
        seconds[stage] = now - since
        since = now

    ended("process")
    from adapter_sweep.config import validate, with_params
    from adapter_sweep.opening import open_bench
    from adapter_sweep.study.ledger import Ledger
    from adapter_sweep.study.loop import run_trials
    from adapter_sweep.study.patience import patient

    ended("imports")
    values = with_params(job.values, {"train.threads": job.threads})
    bench = open_bench(validate(values))
    if job.on_test:
        bench = bench.on_test()
    ended("backbone and data")
    ledger = patient(Ledger.start)(**job.ledger)  # the study is open: its ledger was there
    ended("ledger")
    teller.tell(Ready(seconds))
    run_trials(
        ledger,
        bench,
        values,
        job.n_trials,
        teller,
        overrides=job.overrides,
        told=lambda number: teller.tell(Told(number)),
    )


class _Teller:
    """Watches this worker's trials for the parent. A parent that is gone is no error: the process is about to end."""

    def __init__(self, pipe: "Connection[Message, None]") -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._next_step = 0.0

    def tell(self, message: Message) -> None:
        """Send one message whole: one cut short would spoil those after it."""
        with held(), self._lock, suppress(OSError):
            self._pipe.send(message)

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        self.tell(Event("begin", (number, dict(params))))

    def stage(self, number: int, text: str) -> None:
        self.tell(Event("stage", (number, text)))

    def step(self, number: int, progress: "Progress") -> None:
        now = time.monotonic()
        if now >= self._next_step or progress.step == progress.steps:
            self._next_step = now + _STEP_SECONDS
            self.tell(Event("step", (number, progress)))

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self.tell(Event("epoch", (number, epoch, epochs, loss, accuracy)))

    def resumed(self, number: int, step: int) -> None:
        self.tell(Event("resumed", (number, step)))

    def end(self, trial: TrialView) -> None:
        self.tell(Event("end", (replace(trial, curves={}, config={}),)))


class _Forward(logging.Handler):
    """Tells the parent what was logged as a warning or worse."""

    def __init__(self, teller: _Teller) -> None:
        super().__init__(logging.WARNING)
        self._teller = teller

    def emit(self, record: logging.LogRecord) -> None:
        self._teller.tell(Warned(self.format(record)))


def _forward_warnings(teller: _Teller) -> None:
    logging.captureWarnings(True)
    logging.getLogger().addHandler(_Forward(teller))


def _end_with_parent() -> None:
    """Interrupt this process once its parent is gone, and end it where that is not heard."""
    parent = multiprocessing.parent_process()
    main = threading.main_thread().ident
    assert parent is not None
    assert main is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(_ORPHAN_SECONDS)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
