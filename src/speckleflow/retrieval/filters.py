"""Linear filters along the axes of a stack of images, as block-banded matrix products.

A short FIR filter touches every pixel a few dozen times; written as shifts or as a one-channel convolution it
is limited by memory traffic. Here a block of outputs is one small dense matrix times a slice of the input, so
that the work is done by the matrix product of the device at its full rate, whatever the boundary rule; blocks that
the border does not reach share their matrix and are one product of a batch. Only where
a graph is traced for another program (:mod:`.espinnet.export`) is a filter the convolution that such programs know.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.parallel import parallel_for, split_images

Boundary = Literal["mirror", "zero"]
#: 1-D correlation kernel of odd length, centre in the middle: out[i] = sum_k kernel[k + R] x[i + k]
Kernel = tuple[float, ...]

#: outputs per block: large enough for a matrix product at full rate, small enough that the zeros of the band
#: (block + 2 R inputs for 2 R + 1 taps) cost little; 32 was the fastest of 16 to 96 for R = 3 to 12
_BLOCK = 32


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


def scaled(kernel: Kernel, factor: float) -> Kernel:
    """Kernel times a number: a filter that also sets the level costs no pass over the stack."""
    return tuple(factor * weight for weight in kernel)


def energy(kernel: Kernel) -> float:
    """Sum of squares: the factor by which the filter reduces the variance of white noise, along one axis."""
    return float(np.sum(np.square(kernel)))


def variance(kernel: Kernel) -> float:
    """Second moment in px^2 of a symmetric kernel of unit sum."""
    k = np.arange(len(kernel)) - len(kernel) // 2
    return float(np.sum(k**2 * np.asarray(kernel)))


def response(kernel: Kernel, w: Tensor) -> Tensor:
    """Factor by which a symmetric kernel multiplies a component of frequency ``w`` (radians per pixel)."""
    middle = len(kernel) // 2
    out = torch.full_like(w, kernel[middle])
    for k in range(1, middle + 1):
        out += 2 * kernel[middle + k] * torch.cos(k * w)
    return out


def filter_xy(stack: Tensor, along_x: Kernel, along_y: Kernel, boundary: Boundary) -> Tensor:
    """Separable filter of (..., y, x); ``mirror`` repeats about the edge pixel's centre, ``zero`` adds nothing."""
    flat = stack.reshape(-1, *stack.shape[-2:])
    out = torch.empty_like(flat)

    def images(part: slice) -> None:
        filter_rows(filter_columns(flat[part], along_x, boundary), along_y, boundary, out[part])

    parallel_for(images, split_images(len(flat), stack.device))
    return out.reshape(stack.shape)


def filter_columns(stack: Tensor, kernel: Kernel, boundary: Boundary) -> Tensor:
    """Filter of (..., y, x) along x."""
    if len(kernel) == 1:
        return stack * kernel[0]
    if torch.compiler.is_compiling():
        return _convolved(stack, torch.tensor(kernel)[None], boundary)
    width = stack.shape[-1]
    flat = stack.reshape(-1, width)
    out = torch.empty_like(flat)
    for start, low, matrices in _blocks(kernel, width, boundary, stack.device):
        torch.bmm(_cut(flat, 1, low, matrices), matrices, out=_cut(out, 1, start, matrices.mT))
    return out.reshape(stack.shape)


class _Symmetric(torch.autograd.Function):
    """A filter that is its own adjoint (symmetric kernel, zeros outside)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernel: Kernel) -> Tensor:
        ctx.kernel = kernel
        return filter_xy(image, kernel, kernel, "zero")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return filter_xy(gradients[0].contiguous(), ctx.kernel, ctx.kernel, "zero"), None


def smooth(image: Tensor, kernel: Kernel) -> Tensor:
    """(..., y, x) filtered with a symmetric kernel along both axes, zeros outside; with a gradient for training."""
    if torch.compiler.is_compiling():
        return filter_xy(image, kernel, kernel, "zero")
    smoothed: Tensor = _Symmetric.apply(image, kernel)
    return smoothed


def filter_rows(stack: Tensor, kernel: Kernel, boundary: Boundary, out: Tensor | None = None) -> Tensor:
    """Filter of (..., y, x) along y, into ``out`` where it is given."""
    out = torch.empty_like(stack) if out is None else out
    if torch.compiler.is_compiling():
        return out.copy_(_convolved(stack, torch.tensor(kernel)[:, None], boundary))
    if len(kernel) == 1:
        return torch.mul(stack, kernel[0], out=out)
    for image, target in zip(
        stack.reshape(-1, *stack.shape[-2:]), out.view(-1, *out.shape[-2:]), strict=True
    ):
        for start, low, matrices in _blocks(kernel, stack.shape[-2], boundary, stack.device):
            torch.bmm(matrices.mT, _cut(image, 0, low, matrices), out=_cut(target, 0, start, matrices.mT))
    return out


def halve(stack: Tensor) -> Tensor:
    """Means over 2 x 2 pixels of (..., y, x); an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in stack.shape[-2:])
    flat = stack[..., :height, :width].reshape(-1, height, width)
    if torch.compiler.is_compiling():
        return F.avg_pool2d(flat[:, None], 2).reshape(*stack.shape[:-2], height // 2, width // 2)
    out = stack.new_empty(len(flat), height // 2, width // 2)

    def images(part: slice) -> None:
        rows = flat[part, 0::2] + flat[part, 1::2]
        torch.add(rows[..., 0::2], rows[..., 1::2], out=out[part]).mul_(0.25)

    parallel_for(images, split_images(len(flat), stack.device))
    return out.reshape(*stack.shape[:-2], height // 2, width // 2)


def _convolved(stack: Tensor, kernel: Tensor, boundary: Boundary) -> Tensor:
    """(..., y, x) correlated with a small image, as padding and a convolution."""
    rows, columns = (length // 2 for length in kernel.shape)
    around = (columns, columns, rows, rows)
    flat = stack.reshape(-1, 1, *stack.shape[-2:])
    padded = F.pad(flat, around, mode="reflect" if boundary == "mirror" else "constant")
    return F.conv2d(padded, kernel[None, None].to(stack)).reshape(stack.shape)


def _cut(image: Tensor, axis: int, start: int, matrices: Tensor) -> Tensor:
    """Slices (blocks, y, x) of an image (y, x) along an axis, as long as the ``matrices`` (blocks, length, other) have
    rows, one every _BLOCK from ``start`` on; they may overlap.
    """
    blocks, length, _ = matrices.shape
    shape = [blocks, *image.shape]
    shape[1 + axis] = length
    step = image.stride(axis)
    return image.as_strided(shape, (_BLOCK * step, *image.stride()), image.storage_offset() + start * step)


@lru_cache(maxsize=256)
def _blocks(
    kernel: Kernel, length: int, boundary: Boundary, device: torch.device
) -> list[tuple[int, int, Tensor]]:
    """(first output, first input, matrices (blocks, inputs, outputs)) of each run of blocks that are alike."""
    taps = np.asarray(kernel)
    radius = len(taps) // 2
    runs: list[tuple[int, int, Tensor, int]] = []
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
        block = torch.tensor(matrix, dtype=torch.float32)
        if runs and torch.equal(runs[-1][2], block):
            runs[-1] = (*runs[-1][:3], runs[-1][3] + 1)
        else:
            runs.append((start, low, block, 1))
    return [(start, low, block.to(device).expand(count, -1, -1)) for start, low, block, count in runs]
