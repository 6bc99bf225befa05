"""The peak of a correlation, to a fraction of a pixel."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

SubPixel = Literal["paraboloid", "gaussian"]
#: a peak lies within this many px of the largest value; farther off the neighbourhood has none
_FARTHEST = 1.0
#: correlations are kept above this where their logarithm is taken
_LEAST = 1e-3


class Peak(NamedTuple):
    """Displacement (y, x) in px, largest correlation, curvature -d2/dx2 and -d2/dy2 there, and where the range ends."""

    ux: Tensor
    uy: Tensor
    value: Tensor
    curvature_x: Tensor
    curvature_y: Tensor
    bound: Tensor


def find_peak(volume: Tensor, reach: int, subpixel: SubPixel) -> Peak:
    """Peak of correlations ((2 reach + 1)^2, y, x), rows (y) of displacements first.

    ``paraboloid``: the surface of second order that fits the 3 x 3 values around the largest best. ``gaussian``: a
    Gaussian along each axis through the largest value and its two neighbours.
    """
    count = 2 * reach + 1
    best = volume.argmax(0)
    j, i = best.div(count, rounding_mode="floor"), best % count
    bound = (j == 0) | (j == count - 1) | (i == 0) | (i == count - 1)
    centre_j, centre_i = j.clamp(1, count - 2), i.clamp(1, count - 2)

    def at(dj: int, di: int) -> Tensor:
        return volume.gather(0, ((centre_j + dj) * count + centre_i + di)[None])[0]

    values = {(dj, di): at(dj, di) for dj in (-1, 0, 1) for di in (-1, 0, 1)}
    fit = _paraboloid if subpixel == "paraboloid" else _gaussian
    dx, dy, curvature_x, curvature_y = fit(values)
    far = (dx.abs() > _FARTHEST) | (dy.abs() > _FARTHEST)
    dx, dy = dx.clamp(-_FARTHEST, _FARTHEST), dy.clamp(-_FARTHEST, _FARTHEST)
    return Peak(
        centre_i - reach + dx, centre_j - reach + dy, values[0, 0], curvature_x, curvature_y, bound | far
    )


def _paraboloid(values: dict[tuple[int, int], Tensor]) -> tuple[Tensor, ...]:
    """c + g . d + d . H d / 2 by least squares over the nine values."""
    grid = torch.stack([values[j, i] for j in (-1, 0, 1) for i in (-1, 0, 1)]).unflatten(0, (3, 3))
    gx = (grid[:, 2] - grid[:, 0]).sum(0) / 6
    gy = (grid[2] - grid[0]).sum(0) / 6
    hxx = ((grid[:, 0] + grid[:, 2] - 2 * grid[:, 1]) / 3).sum(0)
    hyy = ((grid[0] + grid[2] - 2 * grid[1]) / 3).sum(0)
    hxy = (grid[0, 0] + grid[2, 2] - grid[0, 2] - grid[2, 0]) / 4
    determinant = hxx * hyy - hxy * hxy
    # no maximum: the largest value itself
    fine = (determinant > 0) & (hxx < 0)
    safe = torch.where(fine, determinant, torch.ones_like(determinant))
    dx = torch.where(fine, (hxy * gy - hyy * gx) / safe, torch.zeros_like(gx))
    dy = torch.where(fine, (hxy * gx - hxx * gy) / safe, torch.zeros_like(gy))
    return dx, dy, -hxx, -hyy


def _gaussian(values: dict[tuple[int, int], Tensor]) -> tuple[Tensor, ...]:
    logs = {place: v.clamp_min(_LEAST).log() for place, v in values.items()}
    (dx, bend_x), (dy, bend_y) = (
        _three(logs[before], logs[0, 0], logs[after])
        for before, after in (((0, -1), (0, 1)), ((-1, 0), (1, 0)))
    )
    return dx, dy, bend_x * values[0, 0], bend_y * values[0, 0]


def _three(before: Tensor, middle: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Place and curvature of the parabola through three values."""
    bend, slope = 2 * middle - before - after, (after - before) / 2
    fine = bend > 0
    place = torch.where(fine, slope / torch.where(fine, bend, torch.ones_like(bend)), torch.zeros_like(bend))
    return place, bend
