"""What can be done with a study as a whole: looked over, stopped, removed, packed into a file and unpacked again."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import StudyView
from adapter_sweep.study.archive import free_bytes, open_archive, write_archive
from adapter_sweep.study.commands import command
from adapter_sweep.study.confirmation import CONFIRMED, confirming_study
from adapter_sweep.study.exchange import complete_import, exported, import_study, imported_identity, is_half_imported
from adapter_sweep.study.facts import IDENTITY
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.locking import folder_errors
from adapter_sweep.study.opening import DELETING
from adapter_sweep.study.ownership import MARK, check_not_anothers, is_own, mark
from adapter_sweep.study.presence import exclusively
from adapter_sweep.study.rows import Rows
from adapter_sweep.study.stopping import STOP
from adapter_sweep.study.storage import ledger_errors, locks_folder, open_storage

__all__ = [
    "Overview",
    "archive_study",
    "ask_to_stop",
    "delete_study",
    "overview",
    "overviews",
    "restore_study",
    "who_works",
]

_SPARE_BYTES = 64 << 20  # that are left free by a restore


@dataclass(frozen=True)
class Overview:
    """A study, and how it stands as a whole.

    Attributes:
        view: the study, without its confirmation.
        confirmed: the study of its finalists, where they were confirmed.
        at_work: who works on either now, in words.
        deleting: whether it is half deleted.
        stopped: when it was last asked to stop; None where it never was.
        changed: when a trial of it last began or ended.
    """

    view: StudyView
    confirmed: StudyView | None
    at_work: tuple[str, ...]
    deleting: bool
    stopped: datetime | None
    changed: datetime | None


def overviews(*, url: str, results_dir: Path) -> list[Overview]:
    """Every study of a ledger but those of finalists, by name; makes no file.

    Raises:
        UserInputError: the database is not there, or is another program's.
        AdapterSweepError: it cannot be used.
    """
    ledgers = {ledger.name: ledger for ledger in Ledger.read_all(url=url, results_dir=results_dir)}
    return [
        _overview(ledger, ledgers.get(confirming_study(name)))
        for name, ledger in ledgers.items()
        if not name.endswith(CONFIRMED)
    ]


def overview(name: str, *, url: str, results_dir: Path) -> Overview:
    """One study; raises as `overviews`, and where there is no such study."""
    return _overview(*_ledgers(name, url, results_dir))


def who_works(name: str, *, url: str, results_dir: Path) -> list[str]:
    """Who works on a study or on its finalists, in words."""
    return [who for ledger in _ledgers(name, url, results_dir) if ledger is not None for who in ledger.at_work()]


def ask_to_stop(name: str, *, url: str, results_dir: Path) -> None:
    """Ask all who work on a study, or on its finalists, to leave: between two steps, each marks its trials."""
    for ledger in _ledgers(name, url, results_dir):
        if ledger is not None:
            with ledger_errors(f"study {name!r} cannot be asked to stop"):
                ledger.ask_to_stop()


def delete_study(name: str, *, url: str, results_dir: Path, before: Callable[[StudyView], None]) -> list[Path]:
    """Remove a study with its finalists and its files, for ever. Cut short, it is finished by doing it again.

    Returns the folders that were left, as they are not known to be the study's: see `is_own`.

    Args:
        name: the study.
        url: its database.
        results_dir: the results folder.
        before: removes what shows the study elsewhere; called first, as all else is needed to find that.

    Raises:
        UserInputError: there is no such study, or somebody works on it.
        AdapterSweepError: something cannot be removed. Where that is what `before` removes, the study is as it was;
            else it is marked as half deleted.
    """
    ledgers = [ledger for ledger in _ledgers(name, url, results_dir) if ledger is not None]
    left: list[Path] = []
    with _nobody_works(name, ledgers, url, results_dir, "delete"), ledger_errors(f"study {name!r} cannot be deleted"):
        before(ledgers[0].view())  # a server that is down leaves the study as it was, and of use
        for ledger in ledgers:
            ledger.set_facts(**{DELETING: True})
        for ledger in reversed(ledgers):  # the study last: where it is, there is something to delete
            left += _remove_own(ledger.folder, ledger.fact(IDENTITY), url)
            _forget(ledger.optuna_study._storage, ledger.name)
            for slot in (locks_folder(url, results_dir) / ledger.name).glob("[0-9]*.lock"):
                slot.unlink(missing_ok=True)
        database, confirming = Rows(ledgers[0].optuna_study).database, confirming_study(name)
        if confirming in optuna.get_all_study_names(database) and is_half_imported(database, confirming):
            # Of a restore that was cut short, which no command shows.
            left += _remove_own(results_dir / confirming, imported_identity(database, confirming), url)
            _forget(database, confirming)
    return left


def archive_study(name: str, path: Path, *, url: str, results_dir: Path) -> list[Path]:
    """Write a study with its finalists into one file; returns what was left out, see `write_archive`.

    Raises:
        UserInputError: there is no such study, somebody works on it, it is half deleted, its folder is another
            study's, or the file exists.
        AdapterSweepError: the file cannot be written, or the database cannot be read.
    """
    ledgers = [ledger for ledger in _ledgers(name, url, results_dir) if ledger is not None]
    if any(ledger.fact(DELETING) for ledger in ledgers):
        finish = command("delete", name, url=url, results_dir=results_dir)
        raise UserInputError(f"study {name!r} is half deleted; finish it: {finish}")
    for ledger in ledgers:
        check_not_anothers(ledger.folder, ledger.fact(IDENTITY))
    with _nobody_works(name, ledgers, url, results_dir, "archive"):
        with ledger_errors(f"study {name!r} cannot be read"):
            told = {ledger.name: exported(ledger.optuna_study) for ledger in ledgers}
        return write_archive(path, name, told, {ledger.name: ledger.folder for ledger in ledgers})


def restore_study(path: Path, *, url: str, results_dir: Path) -> str:
    """Unpack an archived study into a results folder and a database, and return its name.

    The study is there when this returns, and not before: files are checked and unpacked aside, the ledger's study is
    nobody's until all of it is in place. What an earlier restore left that was cut short is replaced.

    Raises:
        UserInputError: the file is no archive, is damaged or dangerous, is of a newer version; there is a study of
            that name, or a folder of that name in the results folder.
        AdapterSweepError: the database or the folder cannot be written.
    """
    with open_archive(path) as contents, ExitStack() as held, ExitStack() as undo:
        storage = open_storage(url, results_dir)
        names = sorted(contents.ledger, key=len, reverse=True)  # that of the finalists first
        for name in (contents.study, confirming_study(contents.study)):
            held.enter_context(exclusively(storage, locks_folder(url, results_dir) / name, name))
            _make_room(storage, name, results_dir / name, url)
        if contents.total_bytes + _SPARE_BYTES > free_bytes(results_dir):
            raise AdapterSweepError(
                f"{results_dir}: no room for the study's files: {contents.total_bytes:,} bytes are needed"
            )
        asides = {name: results_dir / f".{name}.restoring" for name in names}
        identities = {name: secrets.token_hex(16) for name in names}
        for name in names:
            undo.callback(_remove, asides[name])
            _remove(asides[name])
            contents.unpack(name, asides[name])
            with folder_errors(str(asides[name])):
                mark(asides[name], identities[name])
        with ledger_errors(f"study {contents.study!r} cannot be restored"):
            for name in names:
                import_study(storage, name, contents.ledger[name], identities[name])
                undo.callback(_forget, storage, name)  # now it is ours to remove
            for name in names:
                asides[name].replace(results_dir / name)
                undo.callback(_remove, results_dir / name)
                _let_go(contents.ledger[name], locks_folder(url, results_dir) / name)
            for name in reversed(names):  # the study first: finalists without theirs could not be deleted
                complete_import(storage, name, contents.ledger[name])
        undo.pop_all()
        return contents.study


def _overview(ledger: Ledger, confirming: Ledger | None) -> Overview:
    view, finalists = ledger.view(), confirming.view() if confirming is not None else None
    moments = [
        moment
        for trial in (*view.trials, *(finalists.trials if finalists else ()))
        for moment in (trial.started, trial.ended)
        if moment is not None
    ]
    stop: dict[str, Any] = ledger.fact(STOP) or {}
    return Overview(
        view=view,
        confirmed=finalists,
        at_work=tuple(who for one in (ledger, confirming) if one is not None for who in one.at_work()),
        deleting=bool(ledger.fact(DELETING)),
        stopped=datetime.fromisoformat(stop["asked"]) if stop else None,
        changed=max(moments, default=None),
    )


def _ledgers(name: str, url: str, results_dir: Path) -> tuple[Ledger, Ledger | None]:
    """A study's ledger, and that of its finalists where it has one."""
    if name.endswith(CONFIRMED):
        raise UserInputError(
            f"study {name!r} holds another one's finalists, and goes with it: name {name.removesuffix(CONFIRMED)!r}"
        )
    ledger = Ledger.read(name, url=url, results_dir=results_dir)
    confirming = None
    with suppress(UserInputError):
        confirming = Ledger.read(confirming_study(name), url=url, results_dir=results_dir)
    return ledger, confirming


@contextmanager
def _nobody_works(name: str, ledgers: list[Ledger], url: str, results_dir: Path, doing: str) -> Iterator[None]:
    """While open, nobody of this host begins to work on a study or its finalists, on which nobody works."""
    with ExitStack() as held:
        for study in (name, confirming_study(name)):
            reads, storage = doing == "archive", Rows(ledgers[0].optuna_study).database
            held.enter_context(exclusively(storage, locks_folder(url, results_dir) / study, study, only_to_read=reads))
        working = [who for ledger in ledgers for who in ledger.at_work()]
        if working:
            raise UserInputError(
                f"{doing}: study {name!r} is being worked on: {', '.join(working)}; "
                f"first: {command('stop', name, url=url, results_dir=results_dir)}"
            )
        yield


def _make_room(storage: optuna.storages.RDBStorage, name: str, folder: Path, url: str) -> None:
    """Remove what a restore left that was cut short; refuse where there is anything else of that name."""
    with ledger_errors(f"study {name!r} cannot be restored"):
        names = optuna.get_all_study_names(storage)
        known = name in names
        # Finalists whose study is gone belong to nobody, and no command could name them.
        alone = name.endswith(CONFIRMED) and name.removesuffix(CONFIRMED) not in names
        if known and (alone or is_half_imported(storage, name)):
            _remove_own(folder, imported_identity(storage, name), url)
            _forget(storage, name)
        elif known:
            raise UserInputError(f"there is a study {name!r} already; restore into another results_dir")
    if folder.exists():
        raise UserInputError(f"{folder} exists already; restore into another results_dir")


def _forget(storage: optuna.storages.BaseStorage, name: str) -> None:
    if name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)


def _remove_own(folder: Path, identity: str | None, url: str) -> list[Path]:
    """Remove a study's folder; where it is not known to be the study's, leave it, and return it."""
    if not folder.exists():
        return []
    if not is_own(folder, identity, url):
        return [folder]
    if folder.is_symlink():
        raise AdapterSweepError(f"{folder} is a link; remove what it leads to, and the link, by hand")
    with folder_errors(str(folder)):  # what says whose it is goes last: cut short, this can be finished
        for path in [path for path in folder.iterdir() if path.name != MARK]:
            _remove(path)
    _remove(folder)
    return []


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AdapterSweepError(f"{error.filename or path}: cannot be removed: {error.strerror}") from None


def _let_go(told: dict[str, Any], locks: Path) -> None:
    """Mark the trials that ran when the study was archived as nobody's: else another host's might be meant."""
    for trial in told["trials"]:
        if trial["state"] == "RUNNING":
            locks.mkdir(parents=True, exist_ok=True)
            (locks / f"{trial['number']}.lock").touch()
