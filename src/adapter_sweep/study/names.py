"""Names from a database that become paths: a ledger may be another's, and says what it likes."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from adapter_sweep.config.section import NAME, RESERVED
from adapter_sweep.errors import UserInputError

__all__ = ["CONFIRMED", "check_new_name", "inside", "study_folder"]

CONFIRMED = ".confirmed"  # what a study's name is followed by in that of its finalists'


def study_folder(results_dir: Path, name: str) -> Path:
    """The folder of a study.

    Raises:
        UserInputError: the name is none that a study of ours can have, e.g. `../../home`.
    """
    plain = name.removesuffix(CONFIRMED)
    if re.fullmatch(NAME, plain) is None or plain.casefold() in RESERVED:
        raise UserInputError(
            f"study {name!r}: not a name that a folder is given here; allowed: at most 100 letters, digits, '.', '_' "
            f"and '-', the first a letter or digit, and none of {', '.join(sorted(RESERVED))}"
        )
    return results_dir / name


def check_new_name(name: str, known: Iterable[str]) -> None:
    """See that two studies of a ledger never share a folder where case does not tell files apart.

    Raises:
        UserInputError: a study's name differs from this one in upper and lower case alone.
    """
    same = [other for other in known if other != name and other.casefold() == name.casefold()]
    if same:
        raise UserInputError(
            f"study.name={name!r}: differs from study {same[0]!r} in upper and lower case alone, and some file systems "
            "keep one folder for both; repeat that name, or give another"
        )


def inside(folder: Path, name: object) -> Path | None:
    """The path of a file that a database says is in `folder`; None where it would be elsewhere."""
    path = PurePosixPath(str(name))
    usable = not path.is_absolute() and ".." not in path.parts and "\0" not in str(name)
    return folder / path if usable else None
