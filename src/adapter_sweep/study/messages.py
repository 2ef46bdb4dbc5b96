"""What crosses between a study's process and its workers: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Event", "Failed", "Job", "Message", "Ready", "Told", "Warned"]


@dataclass(frozen=True)
class Job:
    """All that a worker needs.

    Attributes:
        ledger: the arguments of `Ledger.start`.
        values: the study's configuration as plain values, with this worker's device.
        n_trials: how many trials the study is to have in all.
        threads: CPU threads of the worker.
        overrides: what reproduces the study's fixed settings on the command line.
        on_test: whether trials are scored on the test split.
    """

    ledger: Mapping[str, Any]
    values: Mapping[str, Any]
    n_trials: int
    threads: int
    overrides: tuple[str, ...] = ()
    on_test: bool = False


@dataclass(frozen=True)
class Ready:
    """The worker is about to ask for its first trial; the seconds of each stage of its start, in order."""

    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Event:
    """Something for the study's watcher: the method's name and its arguments."""

    name: Literal["begin", "stage", "step", "epoch", "resumed", "end"]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Told:
    """The ledger was told how a trial ended."""

    number: int


@dataclass(frozen=True)
class Warned:
    """Something for the user to read."""

    text: str


@dataclass(frozen=True)
class Failed:
    """The worker ends with this error: an AdapterSweepError, or a RuntimeError that holds the traceback of a fault."""

    error: Exception


Message = Ready | Event | Told | Warned | Failed
