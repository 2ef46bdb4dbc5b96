"""Kills processes of a study at named points; of tests only, and loaded by a Python that has this folder in its path.

The points are Python's own audit events, so nothing of the product is replaced. What is to be killed next is the first
of the files in the folder that `ADAPTER_SWEEP_KILLS` names: `<order>-<role>-<point>-<count>`, which the process that
reaches the point for the count-th time moves away before it dies.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

_TICKETS = os.environ.get("ADAPTER_SWEEP_KILLS")
_TRIAL_FILES = {"adapter.safetensors": "weights", "adapter.json": "adapter", "curves.json": "curves"}
_SHARED_LOCK = 5  # fcntl.LOCK_SH | fcntl.LOCK_NB, which is tried before each training step
_seen: dict[str, int] = {}
_busy = False
_in_trial = False


def _point(event: str, args: tuple[Any, ...]) -> str | None:
    """Which of the named points an event is."""
    global _in_trial
    if event == "fcntl.flock":
        return "step" if _in_trial and args[1] == _SHARED_LOCK else None
    if event not in ("os.mkdir", "os.rename", "open") or not isinstance(args[0], str | os.PathLike):
        return None
    path = Path(args[0])
    if event == "os.mkdir" and path.parent.name == "trials":
        _in_trial = True
        return "cost"  # asked for, and nothing known of it yet
    if event == "os.rename" and "mlartifacts" in Path(args[1]).parts:
        return "published"  # half of it
    if event == "os.rename":
        _in_trial = _in_trial and Path(args[1]).name != "adapter.safetensors"
        return _TRIAL_FILES.get(Path(args[1]).name) or ("table" if Path(args[1]).name == "trials.csv" else None)
    if event == "open" and path.name == "curves.json" and args[1] == "r":
        return "told"  # the ledger knows, and nobody else does
    if event == "open" and path.suffix == ".lock" and path.stem.isdigit() and args[2] & os.O_CREAT:
        return "asked"  # in the ledger, and nobody is marked as working on it
    return None


def _role() -> str:
    process: Any = sys.modules.get("multiprocessing.process")
    name = process.current_process().name if process else "MainProcess"
    return "worker" if name.startswith("worker") else "parent"


def _audit(event: str, args: tuple[Any, ...]) -> None:
    global _busy
    if _busy or event not in ("fcntl.flock", "os.mkdir", "os.rename", "open"):
        return
    _busy = True
    try:
        point = _point(event, args)
        tickets = Path(_TICKETS or "")
        ticket = min((path.name for path in tickets.iterdir()), default=None) if point else None
        if ticket is None:
            return
        _, role, wanted, count = ticket.split("-")
        if (role, wanted) != (_role(), point):
            return
        _seen[ticket] = _seen.get(ticket, 0) + 1
        if _seen[ticket] == int(count):
            # Who moves it is who dies, however many reach the point at once.
            (tickets / ticket).rename(tickets.with_name("spent") / ticket)
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        pass
    finally:
        _busy = False


if _TICKETS:
    sys.addaudithook(_audit)
