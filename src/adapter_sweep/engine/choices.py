"""Choices made by measurement, once per machine.

Timings are kept in the cache folder under all that they depend on, so every process of a machine chooses alike, now
and later. A file that is damaged or cannot be written costs a measurement and nothing else.
"""

import json
import logging
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import transformers

from adapter_sweep.engine.assets import cache_dir
from adapter_sweep.engine.latency import quiet_host
from adapter_sweep.provenance import cpu_name

__all__ = ["FILE", "Choice", "Seconds", "measured", "time_in_turn"]

FILE = "measured.json"
Seconds = dict[str, float]
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice(Generic[T]):
    """What was chosen, and why, in a few words for people."""

    value: T
    reason: str


def measured(what: str, names: Collection[str], device: torch.device, measure: Callable[[], Seconds]) -> Seconds:
    """Seconds that each alternative takes: those kept on this machine, or measured now and kept.

    Of several processes that ask at once one measures, on a quiet host, and the others wait and take its numbers.
    Never fails for a file: where none can be kept, each call measures.

    Args:
        what: the measurement in words: every shape, precision and model it depends on. The device, the threads and the
            versions of torch and transformers are added to it.
        names: the alternatives.
        measure: gives the seconds of each of them, above 0.
    """
    folder = cache_dir()
    key = f"{what}; {_machine(device)}"
    with ExitStack() as held:
        try:
            from filelock import FileLock

            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / f".{FILE}.lock"))
        except (OSError, NotImplementedError) as error:  # a cache that is only read, a file system without locks
            _log.info("%s cannot be locked: %s", folder / FILE, error)
        kept = _read(folder / FILE)
        known = _sound(kept.get(key), names)
        if known is not None:
            _log.info("%s: %s, as measured before", key, known)
            return known
        with quiet_host():
            seconds = measure()
        _log.info("%s: %s, measured now", key, seconds)
        _write(folder / FILE, {**kept, key: seconds})
        return seconds


def time_in_turn(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    budget_seconds: float = 2.0,
    rounds: tuple[int, int] = (2, 10),
) -> Seconds:
    """The median seconds of each call, timed in turn, forwards and backwards, so that a drift falls on all of them.

    Each is called once before, unread. Then rounds go on until the budget is spent, within the bounds on their number.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    ends = time.perf_counter() + budget_seconds
    least, most = rounds
    for done in range(most):
        if done >= least and time.perf_counter() >= ends:
            break
        for name in list(calls) if done % 2 == 0 else reversed(list(calls)):
            seconds[name].append(_seconds(calls[name], device))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _machine(device: torch.device) -> str:
    """What any speed depends on. A virtual processor's name may say little, so the features that decide are added."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = " ".join([cpu_name(), platform.machine(), torch.backends.cpu.get_cpu_capability(), *_bf16_features()])
    threads = torch.get_num_threads()
    return f"{name}; {threads} threads; torch {torch.__version__}; transformers {transformers.__version__}"


def _bf16_features() -> list[str]:
    """The processor's features for bf16, as the system names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    words = next((line.split() for line in lines if line.lower().startswith(("flags", "features"))), [])
    return sorted(word for word in words if "bf16" in word)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read and is made anew: %s", path, error)
        return {}
    return kept if isinstance(kept, dict) else {}


def _sound(entry: object, names: Collection[str]) -> Seconds | None:
    """An entry as it was written; None for anything else."""
    if not isinstance(entry, dict) or entry.keys() != set(names):
        return None
    numbers = [value for value in entry.values() if isinstance(value, float) and 0 < value < math.inf]
    return dict(entry) if len(numbers) == len(entry) else None


def _write(path: Path, entries: Mapping[str, object]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        _log.info("%s cannot be written: %s", path, error)
        with suppress(OSError):
            aside.unlink(missing_ok=True)
