"""Flux of each frame, from the stacks themselves.

Where a sample fills the view nothing tells how bright the beam was in each frame, and what normalisation leaves
(usually a per cent) is taken for modulation: with a pattern of 5 % contrast an error of 1 % in one frame of few moves
the displacement by tenths of a pixel. But transmission is the same in all frames: whatever the ratio of sample
to reference does from frame to frame, all over the image, is flux.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: side in pixels of the blocks whose ratios are compared: several speckles, so that those which the displacement
#: moves over its border change its mean little
BLOCK = 16
#: a block that deviates by more (logarithm) holds something else
LARGEST = 0.3


def level_flux(reference: Tensor, sample: Tensor) -> Tensor:
    """The sample stacks (B, N, y, x) with the flux of each frame brought to that of its reference frame.

    ``reference`` (1 or B, N, y, x) stays as it is. The mean flux of a stack is not touched: it cannot be told from
    transmission. The error is shrunk by the scatter of the blocks (James and Stein), so that a
    small image of a coarse pattern hardly changes. The result depends on whole images, not on tiles.
    """
    if sample.shape[1] < 2:
        return sample
    side = min(BLOCK, *sample.shape[-2:])
    ratio = (_blocks(sample, side) / _blocks(reference, side)).log()
    ratio = (ratio - ratio.mean(1, keepdim=True)).clamp(-LARGEST, LARGEST)
    error = ratio.mean(2)
    scatter = ratio.var(2).mean(1) / ratio.shape[2] if ratio.shape[2] > 1 else error.square().mean(1)
    weight = (1 - scatter / error.square().mean(1).clamp_min(1e-12)).clamp_min(0)
    return sample * torch.exp(-weight[:, None] * error)[..., None, None]


def _blocks(stack: Tensor, side: int) -> Tensor:
    """Means over blocks (B, N, blocks); never zero."""
    return F.avg_pool2d(stack, side).flatten(2).clamp_min(1e-6)
