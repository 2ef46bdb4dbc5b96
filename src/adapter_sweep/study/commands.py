"""Commands that are named to the user: what one says finds the same studies, in this shell and folder."""

import os
import shlex
from pathlib import Path

from adapter_sweep.config.quoting import quoted
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.study.storage import STORAGE_VARIABLE, own_database, sqlite_file

__all__ = ["command"]

_USUAL = "results"


def command(*words: str, url: str | None, results_dir: Path, tracking: str | None = None) -> str:
    """A command line of this program, as a shell and Hydra read it, with no password in it.

    Args:
        words: the command and what it is given, `stop`, `quickstart` say.
        url: the ledger's database; None for a command that needs none.
        results_dir: the results folder.
        tracking: the MLflow store, where it was named.
    """
    given = []
    if results_dir.absolute() != Path(_USUAL).absolute():
        given.append(f"results_dir={quoted(str(results_dir))}")
    usual = os.environ.get(STORAGE_VARIABLE) or f"sqlite:///{own_database(results_dir)}"
    if url is not None and url != usual and (sqlite_file(url) is None or sqlite_file(url) != sqlite_file(usual)):
        given.append(f"study.storage={quoted(mask_credentials(url))}")
    if tracking is not None:
        given.append(f"tracking.uri={quoted(mask_credentials(tracking))}")
    return shlex.join(["adapter-sweep", *words, *given])
