"""The C library's allocator, told what training is like."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# mallopt(3): parameters by number, and values no tensor of a step exceeds.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_PAD_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Have this process reuse the memory it freed, instead of giving it back to the operating system and asking again.

    A training step allocates and frees the same hundreds of megabytes over and over. By default glibc maps each large
    block anew, and the kernel fills it with zeros page by page: 5 to 10 % of a step. Where there is no glibc, nothing
    is changed.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
    mallopt(_M_TOP_PAD, _PAD_BYTES)
