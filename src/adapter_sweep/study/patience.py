"""Waiting for a ledger that is away for a while: a database that is started again, or locked by somebody else."""

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import LedgerAwayError
from adapter_sweep.study.storage import ledger_errors

__all__ = ["AWAY_SECONDS", "patient"]

AWAY_SECONDS = 60.0
"""So long the ledger may be away and cost nothing."""
_PAUSES = (0.1, 0.3, 1.0)  # before the next tries; the last one again and again
_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger(__name__)
_waiting = threading.local()


def patient(call: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a call that asks the ledger made again while the ledger is away, for a minute.

    A try may have been cut short anywhere, so the call must come to the same when it is made again. Of calls within one
    another the outermost waits: a lock that an inner one relies on is gone with the database. What fails for another
    reason than that the ledger is away is raised at once.

    Raises:
        LedgerAwayError: the ledger was away all the time.
    """

    @functools.wraps(call)
    def waiting(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if getattr(_waiting, "inside", False):
            return call(*args, **kwargs)
        began, tries = time.monotonic(), 0
        while True:
            _waiting.inside = True
            try:
                with ledger_errors("the ledger failed; the same command continues the study once it is back"):
                    return call(*args, **kwargs)
            except LedgerAwayError as error:
                if time.monotonic() - began >= AWAY_SECONDS:
                    raise
                if tries == 0:
                    told = mask_credentials(str(error))
                    _log.warning("the ledger is away, and is waited for up to %.0f s: %s", AWAY_SECONDS, told)
            finally:
                _waiting.inside = False
            time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1

    return waiting
