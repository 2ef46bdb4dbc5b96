"""Whose a study's folder is: studies of several ledgers may have one name, and one results folder."""

from contextlib import suppress
from pathlib import Path

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.locking import folder_errors
from adapter_sweep.study.reading import trial_folder
from adapter_sweep.study.storage import own_database, sqlite_file

__all__ = ["MARK", "check_not_anothers", "claim", "folder_taken", "holds_a_study", "is_own", "mark"]

MARK = ".identity"
"""The file in a study's folder that says whose it is: the study's identity, see `StudyView.identity`."""


def is_own(folder: Path, identity: str | None, url: str) -> bool:
    """Whether a folder is that of a study, and may go with it.

    One without a mark, which an earlier version made, is that of the ledger beside it.

    Args:
        folder: the folder, in the results folder.
        identity: the study's; None of one that an earlier version began.
        url: the study's database.
    """
    found = _marked(folder)
    if found is not None:
        return found == identity
    return sqlite_file(url) == own_database(folder.parent)


def check_not_anothers(folder: Path, identity: str | None) -> None:
    """Check that a folder does not say that it is another study's than that of this identity.

    Raises:
        UserInputError: it does.
    """
    if _is_anothers(folder, identity):
        raise UserInputError(
            f"{folder} holds another study of that name, of another ledger; name the results_dir with the files of "
            "this one"
        )


def holds_a_study(folder: Path) -> bool:
    """Whether a folder is that of some study, or has trials in it."""
    return _marked(folder) is not None or _has_trials(folder)


def folder_taken(folder: Path) -> UserInputError:
    """What is wrong where the folder that a study would have is another one's."""
    return UserInputError(
        f"study.name={folder.name}: {folder} holds another study of that name, of another ledger or of one that is "
        "gone; give this one another study.name, choose another results_dir, or remove that folder"
    )


def claim(folder: Path, identity: str | None, *, begun: bool) -> None:
    """Make a folder that of a study, for good; it is made where it is missing.

    Args:
        folder: the folder.
        identity: the study's; None of one that an earlier version began, which marks nothing.
        begun: whether the study has trials: then those of a folder without a mark are taken for its own.

    Raises:
        UserInputError: it is another study's.
        AdapterSweepError: it cannot be written.
    """
    if _is_anothers(folder, identity) or (_marked(folder) is None and _has_trials(folder) and not begun):
        raise folder_taken(folder)
    with folder_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        if identity is not None and _marked(folder) is None:
            mark(folder, identity)


def mark(folder: Path, identity: str) -> None:
    """Write into a folder whose it is.

    Raises:
        UserInputError: it is another study's, which came first.
        OSError: the folder cannot be written.
    """
    with suppress(FileExistsError), (folder / MARK).open("x", encoding="ascii") as file:
        file.write(identity)
    if _marked(folder) is None:  # of a machine that crashed in writing it
        (folder / MARK).write_text(identity, encoding="ascii")
    if _is_anothers(folder, identity):
        raise folder_taken(folder)


def _is_anothers(folder: Path, identity: str | None) -> bool:
    return _marked(folder) not in (None, identity)


def _marked(folder: Path) -> str | None:
    try:
        return (folder / MARK).read_text(encoding="utf-8", errors="replace").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise AdapterSweepError(f"{folder / MARK}: cannot be read: {error.strerror}") from None


def _has_trials(folder: Path) -> bool:
    trials = trial_folder(folder, 0).parent
    return trials.is_dir() and any(trials.iterdir())
