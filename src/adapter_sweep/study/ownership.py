"""Whose a study's folder is: studies of several ledgers may have one name, and one results folder."""

import socket
from contextlib import suppress
from pathlib import Path

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.locking import folder_errors
from adapter_sweep.study.storage import holds_study, own_database, sqlite_file

__all__ = ["MARK", "check_not_anothers", "claim", "folder_taken", "is_own", "is_taken", "mark"]

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


def is_taken(folder: Path) -> bool:
    """Whether there is anything in a folder: no new study may take it."""
    return folder.is_dir() and any(folder.iterdir())


def folder_taken(folder: Path, *, begun: bool) -> UserInputError:
    """What is wrong where the folder that a study would have is another one's, or the user's.

    Args:
        folder: the folder.
        begun: whether the study is in its ledger already, and so has its name for good.
    """
    other_name = "" if begun else "give this one another study.name, "
    return UserInputError(
        f"study.name={folder.name}: {folder}, on {socket.gethostname()}, holds what is not this study's: another "
        f"ledger's study of that name, say, or one that is gone; {other_name}choose another results_dir, or remove "
        "that folder"
    )


def claim(folder: Path, identity: str | None, url: str, *, begun: bool) -> None:
    """Make a folder that of a study, for good; it is made where it is missing.

    Args:
        folder: the folder, in the results folder.
        identity: the study's; None of one that an earlier version began, which marks nothing.
        url: the study's database.
        begun: whether the study has trials: then a folder without a mark, which an earlier version made, is taken for
            its own, unless the ledger beside it has a study of that name, too.

    Raises:
        UserInputError: it is another study's.
        AdapterSweepError: it cannot be written.
    """
    with folder_errors(str(folder)):
        unmarked = _marked(folder) is None and is_taken(folder)
        if _is_anothers(folder, identity) or (unmarked and not (begun and _may_be_own(folder, url))):
            raise folder_taken(folder, begun=begun)
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
        raise folder_taken(folder, begun=True)


def _is_anothers(folder: Path, identity: str | None) -> bool:
    return _marked(folder) not in (None, identity)


def _marked(folder: Path) -> str | None:
    try:
        return (folder / MARK).read_text(encoding="utf-8", errors="replace").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise AdapterSweepError(f"{folder / MARK}: cannot be read: {error.strerror}") from None


def _may_be_own(folder: Path, url: str) -> bool:
    beside = own_database(folder.parent)
    return sqlite_file(url) == beside or not (beside.is_file() and holds_study(beside, folder.name))
