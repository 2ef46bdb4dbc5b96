"""Where a trial's checkpoint lies, and its removal, for those who need no torch."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["CHECKPOINT_FILE", "discard"]

CHECKPOINT_FILE = "checkpoint.safetensors"


def discard(folders: Iterable[Path]) -> None:
    """Delete the checkpoints of these folders, and what was left of writing them."""
    for folder in folders:
        for path in (folder / CHECKPOINT_FILE, *folder.glob(f".{CHECKPOINT_FILE}.*")):
            with suppress(OSError):
                path.unlink(missing_ok=True)
