"""Room for large tensors: memory while it lasts, then mapped files."""

import errno
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Room"]

_log = logging.getLogger(__name__)
# The disk is the user's: the larger part of what is free stays free, however many entries there come to be.
_SHARE_OF_DISK = 0.5


class Room:
    """Room that is given out once and ends with the process.

    Args:
        limit_bytes: how much is held in memory; what does not fit lies in memory-mapped files.
        folder: where these files are made; they have no name, and the operating system frees them with the process.
    """

    def __init__(self, *, limit_bytes: int, folder: Path) -> None:
        self._left = limit_bytes
        self._folder = folder

    def take(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, what: str) -> Tensor | None:
        """An uninitialised tensor: in memory while the limit allows, else on a mapped file; None where neither can be.

        Args:
            what: it is for, in the warning that there is no room.
        """
        wanted = math.prod(shape) * dtype.itemsize
        if wanted <= self._left:
            with suppress(RuntimeError):  # less may be free than allowed
                taken = torch.empty(*shape, dtype=dtype, device=device)
                self._left -= wanted
                return taken
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
            if wanted > free * _SHARE_OF_DISK:
                raise OSError(errno.ENOSPC, f"{free / 1e9:.1f} GB are free in {self._folder}, and half of it is left")
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="activations-", suffix=".tmp") as file:
                # Reserved at once: a mapped page that finds the disk full would kill the process.
                os.posix_fallocate(file.fileno(), 0, wanted)
                mapped = torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=dtype)
        except (OSError, RuntimeError) as error:  # torch raises the second where a file cannot be mapped
            _log.warning("no room for %.1f GB of %s: %s", wanted / 1e9, what, error)
            return None
        return mapped.view(*shape)
