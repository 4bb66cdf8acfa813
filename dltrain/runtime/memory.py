"""Memory: keep freed blocks in the C library's allocator, and explain errors when memory runs out."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from dltrain.errors import OutOfMemory, UsageError
from dltrain.runtime.cores import CGROUPS

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc accepts no more (HEAP_MAX_SIZE / 2 on 64 bits)
_NEVER = 2**31 - 1

TOO_LARGE = ("calculation overflowed", "multiplication overflow", "invalid array size", "numel: integer")
"""What torch says of a tensor whose size in bytes does not fit into 64 bits."""


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


def measure_machine_memory() -> int:
    """The bytes of memory of this machine, or of this process's control group where that has fewer."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # `max` is no limit
            whole = min(whole, int((CGROUPS / name).read_text()))
    return whole


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python means that no memory is left, on a device or on this machine."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@contextmanager
def explain_memory_errors() -> Iterator[None]:
    """Turns what torch and Python raise when no memory is left into OutOfMemory, which says what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        text = str(error)
        if any(sign in text for sign in TOO_LARGE):
            raise UsageError(
                f"a size is too large, no memory can hold its tensors: {text.splitlines()[0]}",
                advice="lower the sizes in the config's section model, or data.batch_size",
            ) from error
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"no memory left: {text.splitlines()[0] if text else 'the machine has none to give'}",
            advice="lower data.batch_size (trainer.accumulate makes up for it) or the model's sizes, or set "
            "trainer.precision: bf16",
        ) from error
