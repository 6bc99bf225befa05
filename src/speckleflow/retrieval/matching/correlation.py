"""Zero-mean normalised correlation of stacks for every displacement of a search range.

All displacements are sums of products of whole images, filtered by the window, so that no pixel is visited by itself.
Samples are the pixels of the window in all N frames; means and standard deviations are taken over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.filters import Kernel, box, filter_xy

#: a window of less relative contrast than this has no pattern
_LEAST_CONTRAST = 1e-4


@dataclass(frozen=True)
class Windows:
    """A stack with its windows: frames (N, y + 2 margin, x + 2 margin), mean and standard deviation of each window.

    ``mean`` and ``std`` are of the same size as a frame; right where a window lies inside it.
    """

    frames: Tensor
    mean: Tensor
    std: Tensor
    margin: int


def windows(stack: Tensor, side: int, margin: int) -> Windows:
    """Windows of ``side`` px of a stack (N, y, x), continued by its border's values over ``margin`` px."""
    frames = F.pad(stack[None], (margin,) * 4, mode="replicate")[0]
    kernel = box(side)
    mean, square = filter_xy(torch.stack((frames.mean(0), frames.square().mean(0))), kernel, kernel, "mirror")
    std = (square - mean.square()).clamp_min(0).sqrt()
    return Windows(frames, mean, torch.maximum(std, _LEAST_CONTRAST * mean.abs()), margin)


def correlations(template: Windows, searched: Windows, side: int, reach: int) -> Tensor:
    """Correlation ((2 reach + 1)^2, y, x) of the windows of one stack with the displaced ones of another.

    Parameters
    ----------
    template : its margin is half a window; a displacement belongs to the centre of its windows.
    searched : its margin is half a window and the reach.
    side : of a window in px.
    reach : largest displacement in px; rows (y) first, from -reach to reach.
    """
    half = template.margin
    height, width = template.frames.shape[-2:]
    kernel: Kernel = box(side)
    inner = (slice(half, height - half), slice(half, width - half))
    count, n = 2 * reach + 1, len(template.frames)
    out = template.frames.new_empty(count * count, height - 2 * half, width - 2 * half)
    products = template.frames.new_empty(count, height, width)
    for j in range(count):
        rows = slice(j, j + height)
        for i in range(count):
            moved = searched.frames[:, rows, i : i + width]
            if n == 1:
                torch.mul(template.frames[0], moved[0], out=products[i])
            else:
                torch.sum(template.frames * moved, 0, out=products[i]).div_(n)
        sums = filter_xy(products, kernel, kernel, "mirror") if side > 1 else products
        for i in range(count):
            there = (
                slice(j + inner[0].start, j + inner[0].stop),
                slice(i + inner[1].start, i + inner[1].stop),
            )
            row = out[j * count + i]
            torch.sub(sums[i][inner], template.mean[inner] * searched.mean[there], out=row)
            row.div_(template.std[inner] * searched.std[there])
    return out
