"""The one way in which tracking fails: quickly, with one error, and without a password in its message."""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import AdapterSweepError, UserInputError

__all__ = ["HASTY", "PATIENT", "Deadline", "Patience", "TrackingError", "prepare_environment", "tracking_errors"]

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# Only where the user has not decided: every one of these can be set from the shell.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow reports its use to its makers unless told not to
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what fails reaches the user once, as a TrackingError
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else a server's runs print two lines each
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's own: seven
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server could ask for minutes
}


@dataclass(frozen=True)
class Patience:
    """How long a server may take.

    Attributes:
        request_seconds: for one answer, unless the user's MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise; MLflow's own is
            120 s. The first tracker of a process decides.
        call_seconds: for all of one public call.
        lock_seconds: for the other processes of this machine that write to the same store; one that died holds no lock.
    """

    request_seconds: int
    call_seconds: float
    lock_seconds: float


HASTY = Patience(5, 15.0, 60.0)  # a user waits
PATIENT = Patience(30, math.inf, 600.0)  # in the background, and where the user has asked for nothing else


class TrackingError(AdapterSweepError):
    """The tracking store could not be read or written. The ledger is unharmed: `reconcile` sends it again."""


class Deadline:
    """How long one public call may go on: a slow server is given up, it does not hold up a trial.

    It is looked at between requests, so a call ends at most one request (with its retry) after it.
    """

    def __init__(self, patience: Patience) -> None:
        request_seconds = float(os.environ.get(_TIMEOUT, patience.request_seconds))
        self.seconds = max(patience.call_seconds, 3 * request_seconds)
        self._ends = time.monotonic() + self.seconds

    def check(self) -> None:
        """Raise `TimeoutError` once the time is over."""
        if time.monotonic() > self._ends:
            raise TimeoutError(f"gave up after {self.seconds:.0f} s")


def prepare_environment(patience: Patience = HASTY) -> None:
    """Set MLflow's switches that the user has not set. Call before the first import of mlflow."""
    os.environ.setdefault(_TIMEOUT, str(patience.request_seconds))
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def tracking_errors(doing: str, uri: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one `TrackingError` that names the store, credentials masked.

    The cause is named in the message and not chained: its own text and traceback may hold the password.
    """
    with _quiet_retries():
        try:
            yield
        except (TrackingError, UserInputError):
            raise
        except Exception as error:  # whatever it is, it must not cost a trial
            cause = mask_credentials(str(error)).strip().partition("\n")[0]
            raise TrackingError(f"{doing} failed at {mask_credentials(uri)}: {type(error).__name__}: {cause}") from None


class _QuietHere(logging.Filter):
    """Drops records of the threads that are inside `tracking_errors`, and of no other."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = threading.local()

    def filter(self, _record: logging.LogRecord) -> bool:
        return getattr(self.threads, "depth", 0) == 0


_quiet = _QuietHere()


@contextmanager
def _quiet_retries() -> Iterator[None]:
    # urllib3 warns of each retry with the address in it; downloads in other threads keep their warnings.
    logger = logging.getLogger("urllib3.connectionpool")
    if _quiet not in logger.filters:
        logger.addFilter(_quiet)
    _quiet.threads.depth = getattr(_quiet.threads, "depth", 0) + 1
    try:
        yield
    finally:
        _quiet.threads.depth -= 1
