"""Tuning of the C library's memory allocator."""

from __future__ import annotations

import ctypes

#: parameters of glibc's mallopt (malloc.h) and the largest values that it takes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGEST = 2**31 - 1, 32 << 20


def keep_freed_memory() -> None:
    """Let the C library keep freed arrays up to 32 MiB for the next ones, instead of returning them to the system.

    A retrieval allocates and frees the same arrays for every projection; new pages must be mapped and zeroed first,
    which took a third of the time of a job (benchmarks/umpa.md). To be called at the start of a retrieval process.
    Does nothing where the C library is not glibc.
    """
    _set(_MMAP_THRESHOLD, _LARGEST)
    _set(_TRIM_THRESHOLD, _NEVER)


def return_freed_memory() -> None:
    """Let the C library return every freed array of 1 MiB or more to the system at once.

    By default it takes arrays up to 32 MiB from its heap once one of that size was freed; a small block behind each of
    them then keeps their memory, and a reconstruction of 32 slices took 237 to 352 MB in runs of the same job. Does
    nothing where the C library is not glibc.
    """
    _set(_MMAP_THRESHOLD, 1 << 20)


def _set(parameter: int, value: int) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc (musl, macOS, Windows)
        return
    mallopt(parameter, value)
