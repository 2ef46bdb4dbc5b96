"""Ctrl-C and SIGTERM: an interrupt waits for what must not be cut short, and the process is gone by a deadline.

Python's own KeyboardInterrupt comes at any moment, and not at all while one long call computes. Here it comes between
two training steps where that is soon, and a thread that a signal wakes at once ends the process where it is not.
"""

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Literal

__all__ = ["INTERRUPTED", "LEAVE_SECONDS", "at_last", "held", "listening"]

INTERRUPTED = 130
LEAVE_SECONDS = 9.5
"""For a command or a worker to be gone after an interrupt: a node that is taken away leaves no more."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HELD_SECONDS = 3.0  # an interrupt waits no longer than this
_WORDS_SECONDS = 1.5  # for the last words, before the deadline
_AT_ONCE_SECONDS = 1.0  # to leave after a second signal
_ONE_SECONDS = 0.5  # signals this close are one: the terminal sends to all of a group, and a parent to its own again
_STOP = 0  # no signal's number


@contextmanager
def listening(
    leave_seconds: float, *, again: Literal["leaves", "ignored"], also: Sequence[signal.Signals] = ()
) -> Iterator[None]:
    """While open, Ctrl-C and SIGTERM are KeyboardInterrupts of the main thread that `held` puts off.

    Guarantees: the process is gone at most `leave_seconds` after the first signal, with status 130, whatever it
    computes or waits for; unless this was closed before. What the user's shell has a command ignore stays ignored.

    Args:
        leave_seconds: until this process is gone.
        again: what further signals do. `leaves`: another KeyboardInterrupt, which nothing puts off, and a second
            later the process is gone. `ignored`: nothing, not even once this is closed; for a process that is about to
            end, and that others may tell twice.
        also: further signals that say the same.
    """
    global _listener
    if threading.current_thread() is not threading.main_thread() or _listener is not None:
        yield
        return
    signals = (*_SIGNALS, *also)
    listener = _Listener(leave_seconds, again, signals)
    before = {number: signal.getsignal(number) for number in signals}
    heard = [number for number in signals if before[number] is not signal.SIG_IGN]
    _listener = listener
    try:
        listener.start()
        for number in heard:
            signal.signal(number, listener.handle)
        yield
    finally:
        for number in heard:
            # Not SIG_IGN: Python complains of a signal that it has seen and finds nobody to tell.
            signal.signal(number, _do_nothing if again == "ignored" else before[number])
        _listener = None
        listener.stop()


@contextmanager
def held() -> Iterator[None]:
    """While open, an interrupt waits, up to 3 s: what is inside should take less."""
    listener = _listener
    if listener is None or threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    listener.held += 1
    try:
        yield
    finally:
        listener.held -= 1
        if listener.pending and not listener.held:
            listener.pending = False
            raise KeyboardInterrupt


@contextmanager
def at_last(call: Callable[[], None]) -> Iterator[None]:
    """While open, `call` is called in another thread before the process is ended by the deadline.

    It has 1.5 s, and may find the main thread anywhere.
    """
    _last_words.append(call)
    try:
        yield
    finally:
        _last_words.remove(call)


class _Listener:
    """What has been heard, and the thread that keeps the deadline."""

    def __init__(
        self, leave_seconds: float, again: Literal["leaves", "ignored"], signals: Sequence[signal.Signals]
    ) -> None:
        self.held = 0
        self.pending = False
        self._leave_seconds = leave_seconds
        self._again = again
        self._signals = signals
        self._first: float | None = None
        self._overdue = False
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._keep_deadline, name="deadline", daemon=True)
        self._woken_before = -1

    def start(self) -> None:
        self._woken_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(self._woken_before)
        os.write(self._writing, bytes([_STOP]))
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        """In the main thread, between two instructions of it."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if self.held:
                self.pending = True
                return
            raise KeyboardInterrupt
        overdue, self._overdue = self._overdue, False
        again = self._again == "leaves" and now - self._first > _ONE_SECONDS
        if self.pending if overdue else again:
            self.pending = False
            raise KeyboardInterrupt

    def _keep_deadline(self) -> None:
        """Hear each signal as it comes, though the main thread may be far from any instruction."""
        heard: list[float] = []
        first = own = 0
        nudge = _HELD_SECONDS
        while True:
            until = min(self._leave_at(heard), heard[0] + nudge) if heard else 0.0
            select.select([self._reading], [], [], max(0.0, until - time.monotonic()) if heard else None)
            for number in self._read():
                if number == _STOP:
                    return
                if own and number == first:  # the nudge below
                    own = 0
                    continue
                now = time.monotonic()
                if number in self._signals and (not heard or now - heard[-1] > _ONE_SECONDS):
                    heard.append(now)
                    first = first or number
            now = time.monotonic()
            if heard and now >= heard[0] + nudge:
                nudge = math.inf
                if self.pending:
                    self._overdue, own = True, 1
                    main = threading.main_thread().ident
                    assert main is not None
                    signal.pthread_kill(main, first)
            if heard and now >= self._leave_at(heard):
                _leave()

    def _leave_at(self, heard: list[float]) -> float:
        words_at = heard[0] + self._leave_seconds - _WORDS_SECONDS
        twice = self._again == "leaves" and len(heard) > 1
        return min(words_at, heard[1] + _AT_ONCE_SECONDS) if twice else words_at

    def _read(self) -> bytes:
        try:
            return os.read(self._reading, 64)
        except BlockingIOError:
            return b""


_listener: _Listener | None = None
_last_words: list[Callable[[], None]] = []


def _leave() -> None:
    """End the process, once what is to be said has been said."""

    def say() -> None:
        for call in reversed(_last_words):
            with suppress(Exception):
                call()
        sys.stdout.flush()
        sys.stderr.flush()

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(_WORDS_SECONDS)
    os._exit(INTERRUPTED)


def _do_nothing(_signal: int, _frame: FrameType | None) -> None:
    pass
