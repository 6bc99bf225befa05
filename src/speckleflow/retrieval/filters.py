"""Linear filters along the axes of a stack of images, as block-banded matrix products.

A short FIR filter touches every pixel a few dozen times; written as shifts or as a one-channel convolution it
is limited by memory traffic. Here a block of outputs is one small dense matrix times a slice of the input, so
that the work is done by the matrix product of the device at its full rate, whatever the boundary rule.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Boundary = Literal["mirror", "zero"]
#: 1-D correlation kernel of odd length, centre in the middle: out[i] = sum_k kernel[k + R] x[i + k]
Kernel = tuple[float, ...]

#: outputs per block: large enough for a matrix product at full rate, small enough that the zeros of the band
#: (block + 2 R inputs for 2 R + 1 taps) cost little; 64 was the fastest of 32, 64, 128 for R = 4 to 12
_BLOCK = 64


def gaussian(sigma: float, *, truncate: float = 4.0) -> Kernel:
    """Sampled Gaussian of standard deviation ``sigma`` in pixels, unit sum; sigma = 0 gives the identity."""
    if sigma <= 0:
        return (1.0,)
    radius = max(1, int(np.ceil(truncate * sigma)))
    k = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (k / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


def box(side: int) -> Kernel:
    """Mean over ``side`` (odd) pixels."""
    return (1.0 / side,) * side


def compose(first: Kernel, second: Kernel) -> Kernel:
    """Kernel of one filter after the other."""
    return tuple(np.convolve(np.asarray(first), np.asarray(second)).tolist())


def energy(kernel: Kernel) -> float:
    """Sum of squares: the factor by which the filter reduces the variance of white noise, along one axis."""
    return float(np.sum(np.square(kernel)))


def filter_xy(stack: Tensor, along_x: Kernel, along_y: Kernel, boundary: Boundary) -> Tensor:
    """Separable filter of (..., y, x); ``mirror`` repeats about the edge pixel's centre, ``zero`` adds nothing."""
    return filter_rows(filter_columns(stack, along_x, boundary), along_y, boundary)


def filter_columns(stack: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """Filter of (..., y, x) along x."""
    if len(kernel) == 1:
        return stack * kernel[0]
    flat = stack.reshape(-1, stack.shape[-1])
    out = torch.empty_like(flat)
    for start, stop, low, high, matrix in _blocks(kernel, stack.shape[-1], boundary, stack.device):
        out[:, start:stop] = flat[:, low:high] @ matrix
    return out.reshape(stack.shape)


def filter_rows(stack: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """Filter of (..., y, x) along y."""
    if len(kernel) == 1:
        return stack * kernel[0]
    flat = stack.reshape(-1, *stack.shape[-2:])
    out = torch.empty_like(flat)
    for start, stop, low, high, matrix in _blocks(kernel, stack.shape[-2], boundary, stack.device):
        torch.matmul(matrix.T, flat[:, low:high], out=out[:, start:stop])
    return out.reshape(stack.shape)


@lru_cache(maxsize=256)
def _blocks(
    kernel: Kernel, length: int, boundary: Boundary, device: torch.device
) -> list[tuple[int, int, int, int, Tensor]]:
    """(first output, end of outputs, first input, end of inputs, matrix (inputs, outputs)) of each block."""
    taps = np.asarray(kernel)
    radius = len(taps) // 2
    blocks = []
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        source = np.arange(start, stop)[:, None] + np.arange(-radius, radius + 1)
        weight = np.broadcast_to(taps, source.shape).copy()
        if boundary == "mirror":
            period = max(2 * (length - 1), 1)
            source = np.abs((source + length - 1) % period - (length - 1)) if length > 1 else source * 0
        else:
            weight[(source < 0) | (source >= length)] = 0
            source = source.clip(0, length - 1)
        low, high = int(source.min()), int(source.max()) + 1
        matrix = np.zeros((high - low, stop - start))
        target = np.broadcast_to(np.arange(stop - start)[:, None], source.shape)
        np.add.at(matrix, (source - low, target), weight)
        blocks.append((start, stop, low, high, torch.tensor(matrix, dtype=torch.float32, device=device)))
    return blocks
