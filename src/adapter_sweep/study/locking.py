"""One at a time: what the processes of a ledger may do only one after another, wherever they are."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

__all__ = ["one_opening", "one_using"]

_POLL_SECONDS = 0.005  # a file's lock tells nobody that it is free again

# A lock goes with its holder's session, so the server must learn of a host that is gone, or of a process that hangs.
_LET_GO = sqlalchemy.text(
    "SELECT set_config('tcp_keepalives_idle', '30', true), set_config('tcp_keepalives_interval', '10', true), "
    "set_config('tcp_keepalives_count', '3', true), set_config('idle_in_transaction_session_timeout', '10min', true)"
)
_LOCK = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")


@contextmanager
def one_opening(url: str, locks: Path) -> Iterator[None]:
    """While open, no other process makes or migrates this database's tables.

    Raises:
        SQLAlchemyError: the database cannot be reached.
        ImportError: its driver is not installed.
    """
    if sqlalchemy.make_url(url).get_backend_name() != "postgresql":
        with FileLock(locks / "storage.lock"):
            yield
        return
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with _held(engine, "tables"):
        yield


@contextmanager
def one_using(storage: Any, locks: Path, study: str) -> Iterator[None]:
    """While open, no other process of this study is here: none of any host on PostgreSQL, else none of this host.

    Args:
        storage: Optuna's, of the study.
        locks: the folder of this host's locks.
        study: its name.

    Raises:
        StorageInternalError: the database cannot be reached.
    """
    engine = getattr(storage, "_backend", storage).engine  # Optuna puts a cache before the storage it is given
    if engine.dialect.name == "postgresql":
        try:
            with _held(engine, f"study {study}"):
                yield
        except SQLAlchemyError as error:
            raise StorageInternalError("the study cannot be locked") from error
    else:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "study.lock", poll_interval=_POLL_SECONDS):
            yield


@contextmanager
def _held(engine: sqlalchemy.Engine, name: str) -> Iterator[None]:
    """Hold PostgreSQL's advisory lock of that name: fair, told at once to who waits, freed with its session."""
    key = int.from_bytes(hashlib.blake2b(f"adapter-sweep {name}".encode(), digest_size=8).digest(), signed=True)
    with engine.begin() as connection:
        connection.execute(_LET_GO)
        connection.execute(_LOCK, {"key": key})
        yield
