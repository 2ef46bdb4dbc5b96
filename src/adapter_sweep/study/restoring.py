"""A study out of an archive, into a database and a results folder: all of it, or nothing."""

import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.archive import free_bytes, open_archive
from adapter_sweep.study.confirmation import CONFIRMED, confirming_study
from adapter_sweep.study.exchange import complete_import, import_study, imported_identity, is_half_imported
from adapter_sweep.study.locking import folder_errors
from adapter_sweep.study.ownership import mark
from adapter_sweep.study.presence import exclusively
from adapter_sweep.study.removing import forget, remove, remove_own
from adapter_sweep.study.storage import ledger_errors, locks_folder, open_storage

__all__ = ["restore_study"]

_SPARE_BYTES = 64 << 20  # that are left free by a restore


def restore_study(path: Path, *, url: str, results_dir: Path) -> str:
    """Unpack an archived study into a results folder and a database, and return its name.

    The study is there when this returns, and not before: files are checked and unpacked aside, the ledger's study is
    nobody's until all of it is in place. What an earlier restore left that was cut short is replaced.

    Raises:
        UserInputError: the file is no archive, is damaged or dangerous, is of a newer version; there is a study of
            that name, or a folder of that name in the results folder.
        AdapterSweepError: the database or the folder cannot be written.
    """
    with (
        ledger_errors(f"{path} cannot be restored"),
        open_archive(path) as contents,
        ExitStack() as held,
        ExitStack() as undo,
    ):
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
            undo.callback(remove, asides[name])
            remove(asides[name])
            contents.unpack(name, asides[name])
            with folder_errors(str(asides[name])):
                mark(asides[name], identities[name])
        with ledger_errors(f"study {contents.study!r} cannot be restored"):
            for name in names:
                import_study(storage, name, contents.ledger[name], identities[name])
                undo.callback(forget, storage, name)  # now it is ours to remove
            for name in names:
                asides[name].replace(results_dir / name)
                undo.callback(remove, results_dir / name)
                _let_go(contents.ledger[name], locks_folder(url, results_dir) / name)
            for name in reversed(names):  # the study first: finalists without theirs could not be deleted
                complete_import(storage, name, contents.ledger[name])
        undo.pop_all()
        return contents.study


def _make_room(storage: optuna.storages.RDBStorage, name: str, folder: Path, url: str) -> None:
    """Remove what a restore left that was cut short; refuse where there is anything else of that name."""
    with ledger_errors(f"study {name!r} cannot be restored"):
        names = optuna.get_all_study_names(storage)
        known = name in names
        # Finalists whose study is gone belong to nobody, and no command could name them.
        alone = name.endswith(CONFIRMED) and name.removesuffix(CONFIRMED) not in names
        if known and (alone or is_half_imported(storage, name)):
            remove_own(folder, imported_identity(storage, name), url)
            forget(storage, name)
        elif known:
            raise UserInputError(f"there is a study {name!r} already; restore into another results_dir")
    if folder.exists():
        raise UserInputError(f"{folder} exists already; restore into another results_dir")


def _let_go(told: dict[str, Any], locks: Path) -> None:
    """Mark the trials that ran when the study was archived as nobody's: else another host's might be meant."""
    for trial in told["trials"]:
        if trial["state"] == "RUNNING":
            locks.mkdir(parents=True, exist_ok=True)
            (locks / f"{trial['number']}.lock").touch()
