"""What a study must be to be opened: there, ours, and of the same definition."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from adapter_sweep.config.definitions import as_defined_now
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import Direction
from adapter_sweep.study.facts import IDENTITY, PREFIX, differences
from adapter_sweep.study.rows import Rows
from adapter_sweep.study.storage import ledger_errors, storage_to_read

__all__ = ["DELETING", "define", "existing_study"]

DELETING = "deleting"  # the fact of a study that is being deleted


def existing_study(name: str, url: str, results_dir: Path) -> optuna.Study:
    """A study of ours; makes no file.

    Raises:
        UserInputError: there is none of that name; lists those that exist.
        AdapterSweepError: the database cannot be used.
    """
    storage = storage_to_read(url, results_dir)
    with ledger_errors(f"study {name!r} cannot be read"):
        names = optuna.get_all_study_names(storage)
        if name not in names:
            raise UserInputError(f"there is no study {name!r}; there are: {', '.join(sorted(names)) or 'none'}")
        study = optuna.load_study(study_name=name, storage=storage)
        if PREFIX + "definition" not in study.user_attrs:
            raise UserInputError(f"study {name!r} was not made by adapter-sweep")
    return study


def define(rows: Rows, definition: Mapping[str, Any], objectives: Mapping[str, Direction], *, delete: str) -> None:
    """Give a study its definition, or check that it has this one. To be called with the study locked.

    Args:
        rows: the study.
        definition, objectives: what it is to have.
        delete: the command that deletes it.

    Raises:
        UserInputError: it has another (says what differs), or it is not ours.
    """
    known = rows.fact("definition")
    if known is None:
        _adopt(rows, definition, objectives)
        return
    if rows.fact(DELETING):
        raise UserInputError(f"study {rows.name!r} is half deleted; finish it first: {delete}")
    changes = differences(as_defined_now(known), as_defined_now(definition))
    if changes:
        raise UserInputError(
            f"study {rows.name!r} exists with another definition, and its trials would not be comparable; "
            "repeat its settings, or give this one a name of its own with study.name=NAME. What differs:",
            *(f"  {change}" for change in changes),
        )


def _adopt(rows: Rows, definition: Mapping[str, Any], objectives: Mapping[str, Direction]) -> None:
    """Make a study ours that has no definition yet: one just created, or left so by a process that died."""
    directions = [direction.name.lower() for direction in rows.study.directions]
    if rows.trials() or directions != list(objectives.values()):
        raise UserInputError(
            f"study {rows.name!r} exists and was not made by adapter-sweep; "
            "give this one a name of its own with study.name=NAME"
        )
    # The definition last: where it is, the rest is.
    rows.set("objectives", dict(objectives))
    rows.set(IDENTITY, secrets.token_hex(16))
    rows.set("definition", dict(definition))
