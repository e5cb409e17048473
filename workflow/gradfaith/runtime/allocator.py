"""Keep freed memory in the process (glibc only), so that a pass reuses its buffers instead of requesting new ones.

By default glibc maps and unmaps each large buffer separately. Every layer of every forward pass then receives fresh pages,
which the system must clear first. With both thresholds below raised, buffers come from the heap, and the process keeps the
heap until it ends. This changes no number.
"""

import ctypes
import os
from dataclasses import dataclass

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h
MMAP_THRESHOLD = 1 << 30  # bytes; larger buffers are still mapped by themselves
TRIM_THRESHOLD = 2**31 - 1  # bytes at the top of the heap that may stay unused: never returned to the system


@dataclass
class AllocatorFacts:
    """The allocator settings of this process, for logs and stamps."""

    keeps_freed_memory: bool = False


facts = AllocatorFacts()


def keep_freed_memory() -> bool:
    """Set glibc to keep freed memory. Return whether that worked; other C libraries stay unchanged."""
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
