"""What can be done with a study as a whole: looked over, stopped, removed, packed into a file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView
from adapter_sweep.study.archive import write_archive
from adapter_sweep.study.commands import command
from adapter_sweep.study.confirmation import CONFIRMED, confirming_study
from adapter_sweep.study.exchange import exported, imported_identity, is_half_imported
from adapter_sweep.study.facts import IDENTITY
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.opening import DELETING
from adapter_sweep.study.ownership import check_not_anothers
from adapter_sweep.study.presence import exclusively
from adapter_sweep.study.removing import forget, remove_own
from adapter_sweep.study.rows import Rows
from adapter_sweep.study.stopping import STOP
from adapter_sweep.study.storage import ledger_errors, locks_folder

__all__ = [
    "Overview",
    "archive_study",
    "ask_to_stop",
    "delete_study",
    "overview",
    "overviews",
    "who_works",
]


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
            Rows(ledger.optuna_study).set(DELETING, True)  # at once or not at all: the lock is gone with the database
        for ledger in reversed(ledgers):  # the study last: where it is, there is something to delete
            left += remove_own(ledger.folder, Rows(ledger.optuna_study).fact(IDENTITY), url)
            forget(ledger.optuna_study._storage, ledger.name)
            for slot in (locks_folder(url, results_dir) / ledger.name).glob("[0-9]*.lock"):
                slot.unlink(missing_ok=True)
        database, confirming = Rows(ledgers[0].optuna_study).database, confirming_study(name)
        if confirming in optuna.get_all_study_names(database) and is_half_imported(database, confirming):
            # Of a restore that was cut short, which no command shows.
            left += remove_own(results_dir / confirming, imported_identity(database, confirming), url)
            forget(database, confirming)
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
