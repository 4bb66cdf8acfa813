"""The C library's allocator, told to keep the blocks that training frees."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc accepts no more (HEAP_MAX_SIZE / 2 on 64 bits)
_NEVER = 2**31 - 1


def keep_freed_blocks() -> bool:
    """Make glibc reuse freed memory instead of giving it back; whether that worked.

    By default every block above 128 KiB is mapped afresh and unmapped when freed, so each training step on a CPU
    pays page faults for all its activations. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
