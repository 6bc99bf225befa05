"""Memory that the process keeps when an array is freed, for the next one of the same size."""

from __future__ import annotations

import ctypes

#: parameters of glibc's mallopt (malloc.h) and the largest values that it takes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGEST = 2**31 - 1, 32 << 20


def keep_freed_pages() -> None:
    """Let the C library keep freed arrays up to 32 MiB instead of giving each back to the system.

    A retrieval makes and frees the same arrays for every projection; pages that come back from the system must
    be mapped and zeroed first, which took a third of the time of a job (benchmarks/umpa.md). For a process whose
    purpose is retrieval, at its start. Does nothing where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc (musl, macOS, Windows)
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, _NEVER)
