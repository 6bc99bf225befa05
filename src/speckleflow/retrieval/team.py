"""Pieces of an image that several threads work on, each piece by one thread from start to end.

torch shares every single operation out to its threads. On the short operations of the retrieval (a strip of rows
that stays in the cache) they would spend their time waiting for each other; shared out by pieces, they meet once
a piece. The pieces do not depend on the number of threads, and so neither do the results, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

Piece = TypeVar("Piece")

#: bytes of one stack's strip of rows on a CPU: the strip, its three partners and the intermediates of the
#: warp then stay in the caches of common processors
_STRIP_BYTES = 1 << 20
#: bytes of a strip of rows of all maps that a function of every pixel alone is given: shorter ones cost more in
#: calls than they gain
_MAPS_BYTES = 1 << 22
_pool: ContextVar[ThreadPoolExecutor | None] = ContextVar("pool", default=None)


@contextmanager
def team(device: torch.device) -> Iterator[None]:
    """Inside, :func:`each` shares its pieces out to as many threads as torch has on the CPU.

    The threads end with the block: none is left that a forked process would miss.
    """
    threads = torch.get_num_threads()
    if not _in_pieces(device) or threads == 1 or _pool.get() is not None:
        yield
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, "retrieval", torch.set_num_threads, (1,)) as pool:
            before = _pool.set(pool)
            try:
                yield
            finally:
                _pool.reset(before)
    finally:
        torch.set_num_threads(threads)


def each(work: Callable[[Piece], object], pieces: Iterable[Piece]) -> None:
    """``work`` on every piece; it writes into tensors made before. Its first error is raised here."""
    pool, pieces = _pool.get(), list(pieces)
    if pool is None or len(pieces) == 1:
        for piece in pieces:
            work(piece)
        return
    inference = torch.is_inference_mode_enabled()  # a new thread begins with torch's defaults

    def one(piece: Piece) -> None:
        with torch.inference_mode() if inference else torch.no_grad():
            work(piece)

    for _ in pool.map(one, pieces):
        pass


def one_by_one(images: int, device: torch.device) -> list[slice]:
    """The images of a stack as pieces (all of them at once on a GPU, which shares out each operation itself)."""
    return [slice(k, k + 1) for k in range(images)] if _in_pieces(device) else [slice(None)]


def strips(n: int, height: int, width: int, device: torch.device, size: int = _STRIP_BYTES) -> list[slice]:
    """Rows of a stack (n, height, width) as pieces of at most ``size`` bytes (all of them at once on a GPU)."""
    rows = max(1, size // (4 * n * width)) if _in_pieces(device) else height
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def _in_pieces(device: torch.device) -> bool:
    """Whether work is cut into pieces at all: on a CPU, unless it is traced for another program."""
    return device.type == "cpu" and not torch.compiler.is_compiling()


def by_rows(
    function: Callable[..., tuple[Tensor, ...]], like: tuple[Tensor, ...], *maps: Tensor
) -> tuple[Tensor, ...]:
    """``function`` of maps (..., y, x) that works on every pixel alone, strip by strip; its results are shaped as
    ``like``."""
    out = tuple(torch.empty_like(part) for part in like)

    def strip(rows: slice) -> None:
        found = function(*(part[..., rows, :] for part in maps))
        for whole, part in zip(out, found, strict=True):
            whole[..., rows, :] = part

    height, width = maps[0].shape[-2:]
    channels = sum(part[..., 0, 0].numel() for part in maps)
    each(strip, strips(channels, height, width, maps[0].device, _MAPS_BYTES))
    return out
