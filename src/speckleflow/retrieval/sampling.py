"""Images at places between their pixels, bilinearly; warping by a displacement."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(like: Tensor) -> Tensor:
    """Pixel coordinates (1, 2, y, x) of an image of the shape, device and dtype of ``like``; channel 0 =
    x.
    """
    height, width = like.shape[-2:]
    y = torch.arange(height, device=like.device, dtype=like.dtype)
    x = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]


def sample_at(image: Tensor, position: Tensor) -> Tensor:
    """Bilinear values of ``image`` (B, C, y, x) at pixel positions (B, 2, y', x'); the border value outside.

    Pixel centres are at integers.
    """
    height, width = image.shape[-2:]
    # grid_sample wants -1 .. 1 over the pixel centres; a side of one pixel has a single value anyway
    scale = position.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    grid = position.permute(0, 2, 3, 1) * scale - 1
    return F.grid_sample(
        image, grid.to(image.dtype), mode="bilinear", padding_mode="border", align_corners=True
    )


def warp(image: Tensor, u: Tensor) -> Tensor:
    """Forward warp out(x) = image(x - u(x)): the image (B, C, y, x) moved by the displacement (B, 2, y, x) in px."""
    return sample_at(image, pixel_grid(u) - u)


def pull(image: Tensor, u: Tensor) -> Tensor:
    """Backward warp out(x) = image(x + u(x)): the sample image on the reference grid."""
    return sample_at(image, pixel_grid(u) + u)
