"""Paths of the modulator through the beam."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Trajectory = Literal["diagonal", "grid", "random"]


def trajectory(
    kind: Trajectory, count: int, step: float, generator: torch.Generator, jitter: float = 0.0
) -> Tensor:
    """Positions (count, 2) as (y, x) of the modulator, in the unit of ``step``; the first is near 0.

    diagonal : equal steps along a line 1 : 2 off the columns, so that neither axis repeats a square pattern.
    grid : a raster of XY steps, as square as ``count`` allows.
    random : uniform in a square whose side holds ``sqrt(count)`` steps, no two positions nearer than half a
        step.

    ``jitter`` is the standard deviation of the motor's error, added to each position. All random numbers come
    from ``generator`` (on the CPU).
    """
    if kind == "diagonal":
        line = torch.arange(count, dtype=torch.float64) * step
        path = torch.stack([line / math.sqrt(5), line * 2 / math.sqrt(5)], dim=1)
    elif kind == "grid":
        columns = math.ceil(math.sqrt(count))
        index = torch.arange(count)
        path = torch.stack([index // columns, index % columns], dim=1).to(torch.float64) * step
    else:
        path = _scattered(count, step, generator)
    return path + jitter * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def _scattered(count: int, step: float, generator: torch.Generator) -> Tensor:
    """Random positions apart by at least half a step (by rejection: the square is at most 80 % excluded)."""
    side = step * max(1.0, math.sqrt(count))
    kept = torch.zeros(1, 2, dtype=torch.float64)
    while len(kept) < count:
        candidate = (torch.rand(1, 2, generator=generator, dtype=torch.float64) - 0.5) * side
        if (kept - candidate).norm(dim=1).min() > step / 2:
            kept = torch.cat([kept, candidate])
    return kept
