"""How worker processes are started: from nothing, or forked from a process that has imported what they need."""

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from adapter_sweep.environment import variables

__all__ = ["prepare_workers", "signals_blocked", "workers_context"]

_IMPORTS = [
    "adapter_sweep.opening",
    "adapter_sweep.study.ledger",
    "adapter_sweep.study.loop",
    "transformers.loss.loss_utils",  # which loading a model imports, with half of the library
]
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SPAWN = multiprocessing.get_context("spawn")
_FORKSERVER = multiprocessing.get_context("forkserver")
_prepared = False


def prepare_workers() -> None:
    """Begin to import what workers need, in a process of its own; workers started later share its memory and time.

    Returns at once. The workers get the environment as it is now. Where there is a GPU this does nothing: libraries may
    look at it while they are imported, and a process that has done so must not be forked. The same holds for macOS,
    whose system libraries do not survive a fork, and there is no fork on Windows.
    """
    global _prepared
    if _prepared or sys.platform != "linux" or Path("/proc/driver/nvidia").exists():
        return
    _FORKSERVER.set_forkserver_preload(_IMPORTS)
    resource_tracker.ensure_running()  # which unblocks signals when it starts
    with signals_blocked(), variables(dict.fromkeys(_THREADS, "1")):  # a fork would lose threads; torch's come later
        forkserver.ensure_running()
    _prepared = True


def workers_context() -> SpawnContext | ForkServerContext:
    """What to start workers with."""
    return _FORKSERVER if _prepared else _SPAWN


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """While open, no interrupt reaches this thread, nor the processes it starts until they listen."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
