"""Parallel map over images and strips of rows on CPU threads, one thread for each work item from start to end.

torch parallelises every single operation. On the short operations of the retrieval (a strip of rows that stays in the
cache) its threads would mostly wait for each other; with larger work items they meet once an item. The items do not
depend on the number of threads, so the results are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")

#: bytes of one stack's strip of rows on a CPU: the strip, its three partners and the intermediates of the
#: warp then stay in the caches of common processors
_STRIP_BYTES = 1 << 20
#: bytes of a strip of rows of all maps that a function of every pixel alone is given: shorter ones cost more in
#: calls than they gain
_MAPS_BYTES = 1 << 22
_pool: ContextVar[ThreadPoolExecutor | None] = ContextVar("pool", default=None)


@contextmanager
def thread_pool(device: torch.device) -> Iterator[None]:
    """Context in which :func:`parallel_for` uses as many threads as torch has on the CPU.

    The threads end with the context, so that a process can be forked afterwards.
    """
    threads = torch.get_num_threads()
    if not _is_split(device) or threads == 1 or _pool.get() is not None:
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


def parallel_for(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call ``work`` on every item; it writes into tensors allocated before. Its first error is raised here."""
    pool, items = _pool.get(), list(items)
    if pool is None or len(items) == 1:
        for item in items:
            work(item)
        return
    inference = torch.is_inference_mode_enabled()  # a new thread begins with torch's defaults

    def run_item(item: Item) -> None:
        with torch.inference_mode() if inference else torch.no_grad():
            work(item)

    for _ in pool.map(run_item, items):
        pass


def split_images(images: int, device: torch.device) -> list[slice]:
    """Slices of single images of a stack (of all images on a GPU, which parallelises each operation itself)."""
    return [slice(k, k + 1) for k in range(images)] if _is_split(device) else [slice(None)]


def row_strips(
    n: int, height: int, width: int, device: torch.device, size: int = _STRIP_BYTES
) -> list[slice]:
    """Slices of rows of a stack (n, height, width), at most ``size`` bytes each (all rows on a GPU)."""
    rows = max(1, size // (4 * n * width)) if _is_split(device) else height
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def _is_split(device: torch.device) -> bool:
    """Whether work is split at all: on a CPU, unless it is traced for another program."""
    return device.type == "cpu" and not torch.compiler.is_compiling()


def map_rows(
    function: Callable[..., tuple[Tensor, ...]], like: tuple[Tensor, ...], *maps: Tensor
) -> tuple[Tensor, ...]:
    """Apply a pointwise ``function`` to maps (..., y, x), strip by strip; its results are shaped as ``like``."""
    out = tuple(torch.empty_like(part) for part in like)

    def strip(rows: slice) -> None:
        results = function(*(part[..., rows, :] for part in maps))
        for whole, part in zip(out, results, strict=True):
            whole[..., rows, :] = part

    height, width = maps[0].shape[-2:]
    channels = sum(part[..., 0, 0].numel() for part in maps)
    parallel_for(strip, row_strips(channels, height, width, maps[0].device, _MAPS_BYTES))
    return out
