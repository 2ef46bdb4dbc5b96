"""What signals do to a process: real ones, to real processes."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

HEAD = """
import hashlib, time
from adapter_sweep import interrupts
from adapter_sweep.interrupts import at_last, held, listening
def ready(): print("ready", flush=True)
def one_call(): hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # which no signal is handled in
"""


BUSY = 15.0
"""Seconds that a busy machine may add to what takes none; what waits for the wrong thing waits longer."""


def after(
    body: str, *signals: tuple[signal.Signals, float], deadline: float = 60, again: str = "leaves", changed: str = ""
) -> tuple[int, float, str]:
    """Run code that listens, with a deadline: its status, seconds from the first signal on, and its words."""
    listening = f"try:\n    with listening({deadline}, again={again!r}):\n"
    lines = textwrap.indent(textwrap.dedent(body), "        ")
    head = f"{HEAD}\n{changed}\n{listening}"
    code = f"{head}{lines}\nexcept KeyboardInterrupt:\n    print('interrupted')\n    raise SystemExit(130)"
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        for number, seconds in signals:
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert errors == ""
    return process.returncode, time.monotonic() - began, out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_comes_at_once_where_nothing_is_held(number: signal.Signals) -> None:
    status, seconds, out = after("ready(); time.sleep(60)", (number, 0))
    assert (status, out) == (130, "interrupted\n")
    assert seconds < BUSY


def test_it_waits_for_what_is_held() -> None:
    body = """
        with held():
            ready(); time.sleep(1.5); print("done", flush=True)
        time.sleep(60)
    """
    status, seconds, out = after(body, (signal.SIGTERM, 0))
    assert (status, out) == (130, "done\ninterrupted\n")
    assert seconds < BUSY


def test_but_not_for_long() -> None:
    status, seconds, out = after("with held(): ready(); time.sleep(60)", (signal.SIGTERM, 0))
    assert (status, out) == (130, "interrupted\n")
    assert 2.8 < seconds < BUSY


@pytest.mark.parametrize("again", ["leaves", "ignored"])
def test_the_process_is_gone_by_the_deadline_whatever_it_computes(again: str) -> None:
    body = "with at_last(lambda: print('words')): ready(); one_call()"
    status, seconds, out = after(body, (signal.SIGTERM, 0), deadline=5, again=again)
    assert (status, out) == (130, "words\n")
    assert 3.3 < seconds < 5 + BUSY


def test_last_words_have_their_time() -> None:
    body = "with at_last(lambda: time.sleep(60)): ready(); one_call()"
    status, seconds, out = after(body, (signal.SIGTERM, 0), deadline=5)
    assert (status, out) == (130, "")
    assert 4.8 < seconds < 5 + BUSY


def test_a_second_one_is_put_off_by_nothing() -> None:
    body, longer = "with held(): ready(); time.sleep(100)", "interrupts._HELD_SECONDS = 90"
    status, seconds, out = after(body, (signal.SIGINT, 0), (signal.SIGINT, 0.8), changed=longer)
    assert (status, out) == (130, "interrupted\n")
    assert 0.8 < seconds < BUSY


def test_a_second_one_ends_what_computes_within_a_second() -> None:
    status, seconds, _ = after("ready(); one_call()", (signal.SIGINT, 0), (signal.SIGINT, 0.8))
    assert status == 130
    assert seconds < BUSY


def test_two_that_come_together_are_one() -> None:
    body = """
        with held():
            ready(); time.sleep(1.5); print("done", flush=True)
    """
    longer = "interrupts._ONE_SECONDS = 30"  # on a busy machine 0.2 s may become half a second
    status, _, out = after(body, (signal.SIGINT, 0), (signal.SIGTERM, 0.2), changed=longer)
    assert (status, out) == (130, "done\ninterrupted\n")


def test_further_ones_may_be_ignored() -> None:
    body = """
        try:
            ready(); time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(1.5); print("marked", flush=True); raise
    """
    status, _, out = after(body, (signal.SIGINT, 0), (signal.SIGTERM, 0.8), again="ignored")
    assert (status, out) == (130, "marked\ninterrupted\n")
