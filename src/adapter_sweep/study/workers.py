"""The worker processes of a study: started, followed, and stopped together."""

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from adapter_sweep.errors import AdapterSweepError, LedgerError, SpoiltProcessError
from adapter_sweep.interrupts import INTERRUPTED
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.loop import POLL_SECONDS
from adapter_sweep.study.messages import Event, Failed, Job, Message, Ready, Told, Warned
from adapter_sweep.study.starting import signals_blocked, workers_context
from adapter_sweep.study.watching import Watcher
from adapter_sweep.study.worker import work

__all__ = ["CrewWatcher", "run_workers"]

_STOP_SECONDS = 7.5  # for interrupted workers to mark their trials and leave
_FRUITLESS_ENDS = 3  # one after another, without a trial told or found: the next worker would end so as well
_log = logging.getLogger(__name__)


class CrewWatcher(Watcher, Protocol):
    """Whoever watches a study that workers run. What it raises is logged once and costs no trial."""

    def ready(self, worker: int, seconds: Mapping[str, float]) -> None:
        """A worker is about to ask for its first trial; the seconds of each stage of its start."""

    def warn(self, text: str) -> None:
        """Something for the user to read."""


def run_workers(
    ledger: Ledger,
    jobs: Sequence[Job],
    watch: CrewWatcher,
    *,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Run a study's trials in worker processes, one for each job, until the ledger holds as many as the jobs say.

    A worker that dies is told as a warning, its trial is queued again, and another worker takes its place at once;
    but after three ends one after another that no trial came of. Trials of other processes are waited for, and taken
    over where those die. Everything is told from this thread.

    Args:
        ledger: the study, which exists; the workers open it themselves.
        jobs: what each worker is to do; all of one study.
        watch: told of all that happens.
        told: called with each trial's number once the ledger has it.

    Raises:
        KeyboardInterrupt: as it came, once every worker has marked its trial and ended; those that take longer than
            7.5 s, or that a second one finds, are killed, and their trials marked here.
        AdapterSweepError: no worker is left and the study does not have its trials; the first worker's own error where
            it had one, a UserInputError among them.
        LedgerError: the ledger was away for longer than a minute, or failed; the workers have been stopped, as above.
        RuntimeError: a fault of ours in a worker, with its traceback.
    """
    crew = _Crew(watch, told)
    n_trials = jobs[0].n_trials
    idle, fruitless, waiting = list(jobs), 0, False
    try:
        while True:
            if ledger.stop_sign is not None:
                ledger.stop_sign.check(now=True)
            left = ledger.left(n_trials)
            starting = max(0, left - crew.starting)
            crew.start(idle[:starting])
            idle = idle[starting:]
            if not crew.alive:
                awaited = ledger.awaited(n_trials)
                if left or not awaited:
                    break
                if not waiting:
                    watch.warn(f"waiting for trial {', '.join(map(str, awaited))} of another process; Ctrl-C ends it")
                waiting = True
                time.sleep(POLL_SECONDS)
                continue
            ended = crew.follow(time.monotonic() + POLL_SECONDS if idle else None)
            if ended is None:
                continue
            if crew.fruits() + ledger.recover():
                fruitless = 0
            elif ledger.left(n_trials):
                fruitless += 1
            if not ended.failed and fruitless < _FRUITLESS_ENDS:
                idle.append(ended.job)
    except KeyboardInterrupt:
        _stop(crew, watch)
        crew.kill()
        ledger.recover()
        raise
    except LedgerError:  # which the workers have met as well, or will
        _stop(crew, watch)
        raise
    finally:
        crew.kill()
    if left:
        raise crew.errors[0] if crew.errors else _all_died(left)
    for error in crew.errors:
        watch.warn(f"a worker stopped, and the others went on: {error}")


def _all_died(left: int) -> AdapterSweepError:
    return AdapterSweepError(
        f"all workers ended with {left} trial{'s' if left > 1 else ''} left; the same command continues the study"
    )


def _stop(crew: "_Crew", watch: CrewWatcher) -> None:
    """Let every worker mark its trial; a second Ctrl-C ends the waiting."""
    with contextlib.suppress(KeyboardInterrupt):
        crew.interrupt()
        if crew.alive:
            watch.warn("waiting for the workers to stop; Ctrl-C again kills them")
        until = time.monotonic() + _STOP_SECONDS
        while crew.alive and time.monotonic() < until:
            crew.follow(until)


@dataclass(frozen=True)
class _Ended:
    """A worker that ended: its job, and whether it had an error that another one would have too."""

    job: Job
    failed: bool


class _Crew:
    """The workers that live.

    Each one's messages are read by a thread of its own, which no interrupt can cut short in the middle of a message.
    """

    def __init__(self, watch: CrewWatcher, told: Callable[[int], None]) -> None:
        self.errors: list[Exception] = []
        self.alive: dict[int, BaseProcess] = {}
        self._watch = watch
        self._told = told
        self._messages: queue.SimpleQueue[tuple[int, Message | None]] = queue.SimpleQueue()
        self._failed: set[int] = set()
        self._warned: set[str] = set()
        self._logged = False
        self._stopping = False
        self._started = 0
        self._jobs: dict[int, Job] = {}
        self._not_ready: set[int] = set()
        self._spoilt: set[int] = set()
        self._fruits = 0

    @property
    def starting(self) -> int:
        """How many workers have not asked for a trial yet."""
        return len(self._not_ready)

    def fruits(self) -> int:
        """How many trials were told since this was last asked."""
        fruits, self._fruits = self._fruits, 0
        return fruits

    def start(self, jobs: Sequence[Job]) -> None:
        resource_tracker.ensure_running()  # which unblocks signals when it starts
        context = workers_context()
        with signals_blocked():  # until the worker listens: an interrupt of its start would be a traceback
            for job in jobs:
                receiving, sending = context.Pipe(duplex=False)
                process = context.Process(target=work, args=(job, time.time(), sending), name=f"worker {self._started}")
                process.start()
                sending.close()
                self.alive[self._started] = process
                self._jobs[self._started] = job
                self._not_ready.add(self._started)
                arguments = (self._started, process, receiving)
                threading.Thread(target=self._read, args=arguments, daemon=True).start()
                self._started += 1

    def follow(self, until: float | None = None) -> _Ended | None:
        """Tell what the workers tell, until one has ended, or the monotonic clock shows `until`: then None."""
        while True:
            try:
                worker, message = self._messages.get(
                    timeout=None if until is None else max(0, until - time.monotonic())
                )
            except queue.Empty:
                return None
            if message is None:
                return self._ended(worker)
            self._take(worker, message)

    def interrupt(self) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)  # not SIGINT, which a shell may have all of them ignore

    def kill(self) -> None:
        self._stopping = True
        self._signal(signal.SIGKILL)
        for process in self.alive.values():
            process.join()
        self.alive.clear()

    def _signal(self, number: signal.Signals) -> None:
        for process in self.alive.values():
            if process.is_alive() and process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def _read(self, worker: int, process: BaseProcess, receiving: "Connection[None, Message]") -> None:
        with receiving, contextlib.suppress(EOFError, OSError):
            while True:
                self._messages.put((worker, receiving.recv()))
        process.join()
        self._messages.put((worker, None))

    def _take(self, worker: int, message: Message) -> None:
        if isinstance(message, Event):
            self._tell(getattr(self._watch, message.name), *message.arguments)
        elif isinstance(message, Told):
            self._fruits += 1
            self._tell(self._told, message.number)
        elif isinstance(message, Ready):
            self._not_ready.discard(worker)
            self._tell(self._watch.ready, worker, message.seconds)
        elif isinstance(message, Warned):
            self._warn(message.text)
        elif isinstance(message, Failed) and isinstance(message.error, SpoiltProcessError):
            self._spoilt.add(worker)
            self._warn(f"worker {worker} is replaced: {message.error}")
        elif isinstance(message, Failed):
            self.errors.append(message.error)
            self._failed.add(worker)

    def _ended(self, worker: int) -> _Ended:
        process = self.alive.pop(worker)
        process.join()
        self._not_ready.discard(worker)
        failed = worker in self._failed
        told = failed or worker in self._spoilt
        if process.exitcode not in (0, INTERRUPTED) and not told and not self._stopping:
            hint = ", as when memory runs out" if process.exitcode == -signal.SIGKILL else ""
            self._warn(f"worker {worker} died with exit code {process.exitcode}{hint}; its trial will be run again")
        return _Ended(self._jobs.pop(worker), failed)

    def _warn(self, text: str) -> None:
        if text not in self._warned:  # what one worker is warned of, all are
            self._warned.add(text)
            self._tell(self._watch.warn, text)

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            if not self._logged:
                _log.warning("whoever watches the study failed, and the study goes on", exc_info=True)
            self._logged = True
