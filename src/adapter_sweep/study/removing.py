"""Removing what a study has: its rows in a database, and its folder."""

import shutil
from pathlib import Path

import optuna

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.study.locking import folder_errors
from adapter_sweep.study.ownership import MARK, is_own

__all__ = ["forget", "remove", "remove_own"]


def forget(storage: optuna.storages.BaseStorage, name: str) -> None:
    """Remove a study from a database, where it is in it."""
    if name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)


def remove_own(folder: Path, identity: str | None, url: str) -> list[Path]:
    """Remove a study's folder; where it is not known to be the study's, leave it, and return it.

    Raises:
        AdapterSweepError: it cannot be removed, or is a link.
    """
    if not folder.exists():
        return []
    if not is_own(folder, identity, url):
        return [folder]
    if folder.is_symlink():
        raise AdapterSweepError(f"{folder} is a link; remove what it leads to, and the link, by hand")
    with folder_errors(str(folder)):  # what says whose it is goes last: cut short, this can be finished
        for path in [path for path in folder.iterdir() if path.name != MARK]:
            remove(path)
    remove(folder)
    return []


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, or a file, where it is there.

    Raises:
        AdapterSweepError: it cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AdapterSweepError(f"{error.filename or path}: cannot be removed: {error.strerror}") from None
