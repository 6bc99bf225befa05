"""Images in pieces: tiles with a halo, as large as the free memory allows, smaller when it was not enough."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speckleflow.errors import SpeckleflowError

log = logging.getLogger(__name__)

#: share of the free memory that a method plans with: the estimate is good to about a third
SHARE = 0.6
#: a process keeps this much for itself and for batches that wait
RESERVE = 200e6
#: what torch's allocator, C++, oneDNN and the system's threads say when there is no more memory
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "could not create a primitive",
    "could not create a memory object",
    "can't start new thread",
)


@dataclass(frozen=True)
class Tile:
    """Rows and columns that a tile delivers (``inner``) and those that it is computed from (``outer``)."""

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]

    def cut(self, image: Tensor) -> Tensor:
        """The piece of (..., y, x) that the tile is computed from."""
        return image[(..., *self.outer)]

    def core(self, result: Tensor) -> Tensor:
        """The part of the tile's result (..., y, x) that it delivers."""
        rows, columns = (
            slice(i.start - o.start, i.stop - o.start) for i, o in zip(self.inner, self.outer, strict=True)
        )
        return result[..., rows, columns]


def make_tiles(height: int, width: int, side: int, halo: int, multiple: int) -> list[Tile]:
    """Tiles of ``side`` that cover an image whose sides are multiples of ``multiple``; one where it fits.

    Tiles and their halos begin at multiples, so that a tile's pyramid has the pixels of the whole image's.
    """
    halo = -(-halo // multiple) * multiple
    side = max(multiple, side // multiple * multiple)

    def ranges(length: int) -> list[tuple[slice, slice]]:
        if length <= side + 2 * halo:
            return [(slice(0, length), slice(0, length))]
        starts = range(0, length, side)
        inner = [slice(s, min(s + side, length)) for s in starts]
        return [(i, slice(max(0, i.start - halo), min(length, i.stop + halo))) for i in inner]

    return [Tile((ri, ci), (ro, co)) for ri, ro in ranges(height) for ci, co in ranges(width)]


def free_memory(device: torch.device) -> float:
    """Bytes that can still be had on a device; on a CPU the smaller of the machine's and the job's."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    free = 1024.0 * int(fields["MemAvailable"].split()[0])
    group = Path("/sys/fs/cgroup")  # a batch system limits a job there
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, float(text) - float(used.read_text()))
    return free


def choose_side(height: int, width: int, halo: int, bytes_per_pixel: float, free: float) -> int:
    """Largest tile side whose computation fits into ``free`` bytes; at least an eighth of a halo."""
    pixels = max(free - RESERVE, 0.25 * free) * SHARE / bytes_per_pixel
    if height * width <= pixels:
        return max(height, width)
    return max(int(pixels**0.5) - 2 * halo, halo // 8, 16)


def in_parts(
    batch: Tensor, size: int, run: Callable[[Tensor], Sequence[Tensor]], smaller: Callable[[], bool]
) -> list[Tensor]:
    """``run`` over a batch in parts of ``size``, results joined along the batch.

    When the memory does not suffice the part is halved, and when it is a single image ``smaller`` is asked
    to make its tiles smaller (False: it cannot).

    Raises
    ------
    SpeckleflowError
        Not even the smallest part fits.
    """
    done: list[Sequence[Tensor]] = []
    at = 0
    while at < len(batch):
        try:
            done.append(run(batch[at : at + size]))
            at += size
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = error.with_traceback(None)  # its frames hold what was computed so far
        gc.collect()  # and threads that failed hold each other's
        if batch.device.type == "cuda":
            torch.cuda.empty_cache()
        if size > 1:
            size = -(-size // 2)
            log.warning("out of memory: going on with batches of %d", size)
        elif smaller():
            log.warning("out of memory: going on with smaller tiles")
        else:
            raise SpeckleflowError(
                f"{out_of_memory(batch)} even in small tiles; give the job more memory"
            ) from failed
    return [torch.cat(parts) for parts in zip(*done, strict=True)]


def out_of_memory(stack: Tensor) -> str:
    """How the sentence begins that says that a stack (..., N, y, x) was too large."""
    n, height, width = stack.shape[-3:]
    return f"out of memory on {stack.device}: a stack of {n} frames of {height} x {width} pixels does not fit"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says, in whatever words, that there is no more memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in _NO_MEMORY
    )
