"""Whether an error is that of a disk: full, over its quota, or not to be written."""

import errno
import os
import re

__all__ = ["disk_trouble"]

_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_TOLD = re.compile(r"\(os error (\d+)\)")  # by libraries that are not Python's, as safetensors


def disk_trouble(error: BaseException | None) -> str | None:
    """What is wrong with the disk, in the system's words, where an error or what caused it says so; else None."""
    while error is not None:
        told = _TOLD.search(str(error))
        code = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if code in _CODES:
            return os.strerror(code)
        error = error.__cause__ or error.__context__
    return None
