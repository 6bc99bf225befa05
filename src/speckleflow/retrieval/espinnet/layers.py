"""Building blocks shared by the networks: cost volume, convolution blocks, upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cost_volume(fixed: Tensor, moving: Tensor, reach: int) -> Tensor:
    """Mean over channels of fixed(x) moving(x + s) for every shift s in [-reach, reach]^2; zero outside.

    ``fixed`` and ``moving`` are (B, C, y, x); the result is (B, (2 reach + 1)^2, y, x) with the y shift as
    the outer and the x shift as the inner index (Qiao et al., J. Synchrotron Rad., 2026, sec. 2.3 and Fig. 2c).
    """
    height, width = fixed.shape[-2:]
    padded = F.pad(moving, (reach, reach, reach, reach))
    shifts = range(2 * reach + 1)
    return torch.stack(
        [(fixed * padded[..., j : j + height, i : i + width]).mean(1) for j in shifts for i in shifts], 1
    )


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution without bias, batch norm, leaky ReLU 0.1: the block of both published networks."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)
    )


def estimator(inputs: int, outputs: int, widths: Sequence[int], last_kernel: int = 1) -> nn.Sequential:
    """A chain of :func:`conv_block` and a plain last convolution: the shape of all estimators and
    refiners.
    """
    channels = [inputs, *widths]
    blocks = [conv_block(a, b) for a, b in pairwise(channels)]
    return nn.Sequential(*blocks, nn.Conv2d(channels[-1], outputs, last_kernel, padding=last_kernel // 2))


def pad_to_multiple(image: Tensor, multiple: int) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Edge-pad (B, C, y, x) evenly until both sides are multiples; the padding as (left, right, top,
    bottom).
    """
    height, width = image.shape[-2:]
    rows, columns = -height % multiple, -width % multiple
    padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return (F.pad(image, padding, mode="replicate") if rows or columns else image), padding


def unpad(image: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """The inside of an image that :func:`pad_to_multiple` padded."""
    left, right, top, bottom = padding
    height, width = image.shape[-2:]
    return image[..., top : height - bottom, left : width - right]
