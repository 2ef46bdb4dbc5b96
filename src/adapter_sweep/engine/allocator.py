"""The C library's allocator, told what training is like."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# mallopt(3): parameters by number, and values no tensor of a step exceeds.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_PAD_BYTES = 64 << 20
_MAPPED_FROM = (1 << 30, 32 << 20)  # older versions refuse the first, and then no longer adapt the default


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
    if not any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MAPPED_FROM):
        return
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
    mallopt(_M_TOP_PAD, _PAD_BYTES)
