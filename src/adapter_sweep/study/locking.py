"""One at a time: what the processes of a ledger may do only one after another, wherever they are."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from adapter_sweep.errors import AdapterSweepError

__all__ = ["folder_errors", "one_opening", "one_using"]

_POLL_SECONDS = 0.005  # a file's lock tells nobody that it is free again

# A lock goes with its holder's session, so the server must learn of a host that is gone, or of a process that hangs.
_LET_GO = sqlalchemy.text(
    "SELECT set_config('tcp_keepalives_idle', '30', true), set_config('tcp_keepalives_interval', '10', true), "
    "set_config('tcp_keepalives_count', '3', true), set_config('idle_in_transaction_session_timeout', :idle, true)"
)
_IDLE_SECONDS = 60
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
    with ExitStack() as stack:
        _hold(stack, sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool), "tables")
        yield


@contextmanager
def one_using(storage: RDBStorage, locks: Path, study: str, *, however_long: bool = False) -> Iterator[None]:
    """While open, no other process of this study is here: none of any host on PostgreSQL, else none of this host.

    PostgreSQL frees the lock with its holder's connection, and where the holder is stopped for long inside;
    with `however_long` only with its connection, as the holder is busy with files for as long as they take.

    Args:
        storage: the ledger's.
        locks: the folder of this host's locks.
        study: its name.
        however_long: whether the lock is kept while the holder asks the database for nothing.

    Raises:
        StorageInternalError: the database cannot be reached.
        OSError: the folder of the locks cannot be written.
    """
    with ExitStack() as stack:
        if storage.engine.dialect.name == "postgresql":
            try:
                _hold(stack, storage.engine, f"study {study}", 0 if however_long else _IDLE_SECONDS)
            except SQLAlchemyError as error:
                raise StorageInternalError("the study cannot be locked") from error
        else:
            locks.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(locks / "study.lock", poll_interval=_POLL_SECONDS))
        yield


@contextmanager
def folder_errors(what: str) -> Iterator[None]:
    """Turn what a file system refuses into an AdapterSweepError of one line, which begins with `what`."""
    try:
        yield
    except OSError as error:
        raise AdapterSweepError(f"{what}: cannot be written: {error.strerror}") from None


def _hold(stack: ExitStack, engine: sqlalchemy.Engine, name: str, idle_seconds: int = _IDLE_SECONDS) -> None:
    """Hold PostgreSQL's advisory lock of that name until the stack ends: fair, and told at once to who waits.

    It is freed when its holder sends nothing for `idle_seconds`; 0 is for ever.
    """
    key = int.from_bytes(hashlib.blake2b(f"adapter-sweep {name}".encode(), digest_size=8).digest(), "big", signed=True)
    connection = engine.connect()
    stack.callback(_close_quietly, connection)
    connection.execute(_LET_GO, {"idle": f"{idle_seconds}s"})
    connection.execute(_LOCK, {"key": key})


def _close_quietly(connection: sqlalchemy.Connection) -> None:
    # The server may have closed it already, and with it freed the lock.
    with suppress(SQLAlchemyError):
        connection.rollback()
    with suppress(SQLAlchemyError):
        connection.close()
