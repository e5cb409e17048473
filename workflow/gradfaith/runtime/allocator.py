"""Keep freed memory in the process, where the C library is glibc: a pass then does not ask the system for its buffers again.

glibc maps each large buffer by itself and unmaps it when it is freed, so every layer of every forward pass receives fresh
pages, which the system must clear first. A convolution's output is such a buffer. With both thresholds below raised, buffers
come from the heap, and the heap is not given back before the process ends. No number depends on it.
"""

import ctypes
import os
from dataclasses import dataclass

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
MMAP_THRESHOLD = 1 << 30  # bytes; larger buffers are still mapped by themselves
TRIM_THRESHOLD = 2**31 - 1  # bytes at the top of the heap that may lie unused: never given back


@dataclass
class AllocatorFacts:
    """What is set in this process, for logs and stamps."""

    keeps_freed_memory: bool = False


facts = AllocatorFacts()


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, and return whether it does; another C library is left as it is."""
    if not facts.keeps_freed_memory and _is_glibc():
        mallopt = ctypes.CDLL(None).mallopt
        accepted = [mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD), mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)]
        facts.keeps_freed_memory = accepted == [1, 1]
    return facts.keeps_freed_memory


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # another system, or another C library
        return False
