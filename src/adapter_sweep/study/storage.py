"""The ledger's database: opening it, and where the processes that share it find each other's locks."""

import contextlib
import os
import socket
import sqlite3
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from adapter_sweep.credentials import remember_credentials
from adapter_sweep.errors import AdapterSweepError, LedgerAwayError, LedgerError, UserInputError
from adapter_sweep.study.locking import folder_errors, one_opening

__all__ = [
    "GRACE",
    "HEARTBEAT_SECONDS",
    "STORAGE_VARIABLE",
    "holds_studies",
    "holds_study",
    "ledger_errors",
    "locks_folder",
    "open_storage",
    "own_database",
    "sqlite_file",
    "storage_to_read",
    "storage_url",
]

STORAGE_VARIABLE = "ADAPTER_SWEEP_STORAGE"
"""Names the ledger's database where a command line, which others on the host can read, should not."""
HEARTBEAT_SECONDS = 30
# PostgreSQL's error codes: connections, a server that is stopped or started, none that is free, one that sat idle.
_AWAY_CLASSES = ("08", "57P")
_AWAY_STATES = ("53300", "25P03")
GRACE = 4
"""Heartbeats that may fail to come before a trial of another host is looked at as dead."""


def storage_url(storage: str | None, results_dir: Path) -> str:
    """The ledger's database URL: the user's, that of the environment's `STORAGE_VARIABLE`, or SQLite in the folder.

    Raises:
        UserInputError: it names a database in memory.
    """
    url = storage or os.environ.get(STORAGE_VARIABLE) or f"sqlite:///{own_database(results_dir)}"
    if url.startswith("sqlite") and _in_memory(_parse(url)):
        raise UserInputError(
            f"study.storage={url}: a database in memory is each process's own, and ends with it; name a file, "
            "sqlite:///path/to/file.db, or a server's database, postgresql://host/db"
        )
    return url


def _in_memory(url: URL) -> bool:
    return not url.database or ":memory:" in url.database or "mode=memory" in url.render_as_string()


def own_database(results_dir: Path) -> Path:
    """The SQLite file of a results folder, where nothing else is named."""
    return (results_dir / "optuna.db").absolute()


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a server's database, and for one in memory."""
    parsed = _parse(url)
    database = parsed.database or ""
    named = parsed.get_backend_name() == "sqlite" and database and not database.startswith((":memory:", "file:"))
    return Path(database).absolute() if named else None


def holds_studies(file: Path) -> bool:
    """Whether a file is a database with Optuna's tables; True as well where that cannot be found out."""
    return _finds(file, "SELECT 1 FROM sqlite_master WHERE name = 'studies'")


def holds_study(file: Path, name: str) -> bool:
    """Whether a file is a database with a study of that name; True as well where that cannot be found out."""
    return holds_studies(file) and _finds(file, "SELECT 1 FROM studies WHERE study_name = ?", name)


def _finds(file: Path, query: str, *values: str) -> bool:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
        ) as database:
            found = database.execute(query, values).fetchone()
    except sqlite3.Error:  # no database at all, say: who opens it tells
        return True
    return found is not None


def locks_folder(url: str, results_dir: Path) -> Path:
    """Where the locks are that the processes of a ledger share.

    They lie beside an SQLite file, because all who use it are on its host, whatever results folder each has. Users of a
    server's database may be on many hosts, so there each host has its own.
    """
    file = sqlite_file(url)
    return file.with_name(f".{file.name}.locks") if file else results_dir / f".{socket.gethostname()}.locks"


def storage_to_read(url: str, results_dir: Path) -> optuna.storages.RDBStorage:
    """Open the ledger's database where it holds studies; it may lie where nothing can be written.

    Raises:
        UserInputError: there is no study in it; or as `open_storage`.
        AdapterSweepError: the database cannot be used.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise UserInputError(f"{file.parent} holds no study; start one with: adapter-sweep run")
    if file is not None and not holds_studies(file):  # opening would make Optuna's tables in it
        raise UserInputError(f"{file} holds no study: it is empty, or another program's")
    return open_storage(url, results_dir, only_to_read=True)


def open_storage(
    url: str, results_dir: Path, heartbeat_seconds: int = HEARTBEAT_SECONDS, *, only_to_read: bool = False
) -> optuna.storages.RDBStorage:
    """Open the ledger's database, creating and migrating it once, however many processes start together.

    That holds for the processes of this host, and on PostgreSQL for those of all hosts.

    Args:
        url: the database.
        results_dir: the results folder, made where it is missing.
        heartbeat_seconds: between two heartbeats of a trial.
        only_to_read: whether the database is there and is to be read; then no folder that cannot be written is in the
            way.

    Raises:
        UserInputError: the URL is not one SQLAlchemy understands, its driver is not installed, or its folder is not
            there.
        AdapterSweepError: the database cannot be opened. Neither names the URL's password.
    """
    # A query may hold a password, too.
    remember_credentials(url)
    shown = _parse(url).set(query={}).render_as_string(hide_password=True)
    # A server's database may have been started again since a connection was made: it is tried before it is used.
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if _is_sqlite(url) else {"pool_pre_ping": True}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not only_to_read:
        with folder_errors(f"results_dir={results_dir}"):
            results_dir.mkdir(parents=True, exist_ok=True)
    file = sqlite_file(url)
    if file and not file.parent.is_dir():
        raise UserInputError(f"study.storage={shown}: there is no folder {file.parent}")
    try:
        with (
            ledger_errors(f"study.storage={shown}: the ledger cannot be opened"),
            _one_opening(url, locks_folder(url, results_dir), only_to_read),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
                storage = optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat_seconds,
                    grace_period=GRACE * heartbeat_seconds,
                )
            _keep_in_utc(storage)
            weakref.finalize(storage, storage.engine.dispose)  # its connections end with it
            return storage
    except (ImportError, NoSuchModuleError) as error:
        raise UserInputError(f"study.storage={shown}: its driver is not installed: {error}") from None
    except RuntimeError as error:  # a database of another version of Optuna
        raise AdapterSweepError(f"study.storage={shown}: the ledger cannot be opened: {_cause(error)}") from None


@contextlib.contextmanager
def _one_opening(url: str, locks: Path, only_to_read: bool) -> Iterator[None]:
    """`one_opening`; a folder that cannot be written is no hindrance where nothing is to be made."""
    try:
        with folder_errors(str(locks.parent)):
            locks.mkdir(parents=True, exist_ok=True)
            os.close(os.open(locks / "storage.lock", os.O_CREAT | os.O_RDWR))
    except AdapterSweepError:
        if not only_to_read:
            raise
        yield
        return
    with one_opening(url, locks):
        yield


def _keep_in_utc(storage: optuna.storages.RDBStorage) -> None:
    """Heartbeats are kept without their zone: a server's local time, or each host's own, would jump by hours."""
    if storage.engine.dialect.name != "postgresql":
        return

    def in_utc(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.close()
        connection.commit()

    event.listen(storage.engine, "connect", in_utc)
    storage.engine.dispose()  # the connections that were made before


@contextlib.contextmanager
def ledger_errors(doing: str) -> Iterator[None]:
    """Turn what a database raises into a LedgerError of one line, which begins with `doing`.

    It is a LedgerAwayError where the database may answer again in a while.
    """
    try:
        yield
    except NoSuchModuleError:
        raise
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        kind = LedgerAwayError if _is_away(error) else LedgerError
        raise kind(f"{doing}: {_cause(error)}") from None


def _cause(error: BaseException) -> str:
    """The driver's own words, which Optuna and SQLAlchemy each wrap in theirs."""
    error = _unwrapped(error)
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]


def _is_away(error: BaseException) -> bool:
    """Whether a database is locked, or a server is not there, goes or comes; not that it has no room, say."""
    error = _unwrapped(error)
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    raised = error.orig
    if isinstance(raised, sqlite3.Error):
        code = getattr(raised, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds of its reasons
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    state = getattr(raised, "sqlstate", None)
    if state is None:  # no server said it: there was none to say it
        return error.connection_invalidated or type(raised).__name__ in ("OperationalError", "InterfaceError")
    return state in _AWAY_STATES or state.startswith(_AWAY_CLASSES)


def _unwrapped(error: BaseException) -> BaseException:
    """What SQLAlchemy raised, which Optuna wraps."""
    while isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise UserInputError(
            "study.storage: not a database URL; expected e.g. sqlite:///file.db or postgresql://host/db"
        ) from None


def _is_sqlite(url: str) -> bool:
    return _parse(url).get_backend_name() == "sqlite"
