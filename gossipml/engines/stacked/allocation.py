"""How the C library hands out memory while blocks are worked on."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # from malloc.h of glibc


@cache
def keep_freed_memory() -> None:
    """Keep the memory of freed block arrays for the next block.

    A block makes and frees arrays of a megabyte thousands of times a second. By default glibc
    returns each to the kernel at once, and the faults of touching it anew then take longer than
    the arithmetic. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 32 << 20)
    mallopt(_TRIM_THRESHOLD, 256 << 20)
    mallopt(_TOP_PAD, 16 << 20)
