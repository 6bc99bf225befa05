"""The map x -> x + u(x) of rays: carrying light along it, its inverse, its determinant, and sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sample_at(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Images (C, y, x) at the places (y, x) in samples, centres at integers, by linear interpolation.

    ``y`` and ``x`` share one shape (h, w); the result is (C, h, w). Beyond the border the border's value.
    """
    height, width = images.shape[-2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return torch.nn.functional.grid_sample(
        images[None], grid[None].to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )[0]


def spline_at(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Like :func:`sample_at`, by a cubic B-spline through the samples; not within a few samples of the
    border.

    torch's own cubic kernel (a = -3/4) does not reproduce a straight line: it moves what it interpolates by
    up to 0.03 samples, which would be an error of the truth. The spline's error falls with the fourth power
    of the sampling. Evaluated as four linear look-ups (Sigg and Hadwiger, GPU Gems 2, chapter 20).
    """
    coefficients = _spline_coefficients(images)
    (y0, y1, wy), (x0, x1, wx) = _look_ups(y), _look_ups(x)
    upper = torch.lerp(sample_at(coefficients, y0, x1), sample_at(coefficients, y0, x0), wx)
    lower = torch.lerp(sample_at(coefficients, y1, x1), sample_at(coefficients, y1, x0), wx)
    return torch.lerp(lower, upper, wy)


def splat(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Images (C, h, w) whose samples are carried to the places (y, x), in samples; nothing is lost but what leaves.

    The transpose of :func:`spline_at`: the sum over the image is conserved, a uniform shift is the spline's, a
    stretch thins the image out by its determinant, and where the map folds the branches add up. Samples that land
    more than two samples outside the image are dropped.

    Parameters
    ----------
    images : content of each sample.
    y, x : where the samples land, (h, w).
    """
    count, height, width = images.shape
    wide = width + 2 * _RIM
    canvas = images.new_zeros(count, (height + 2 * _RIM) * wide)
    # a few rows at a time: their sixteen taps stay in the cache
    for rows in torch.arange(height).split(max(1, _SPLAT_SAMPLES // width)):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        below, left = y[part].floor(), x[part].floor()
        weights_y, weights_x = _spline_weights(y[part] - below), _spline_weights(x[part] - left)
        # the four taps begin one sample before; the rim takes what lands outside
        row = (below.long() - 1).clamp(-4, height).add_(_RIM)
        column = (left.long() - 1).clamp(-4, width).add_(_RIM)
        first = (row * wide + column).flatten()
        flat = images[:, part].reshape(count, -1)
        for j, weight_y in enumerate(weights_y):
            for i, weight_x in enumerate(weights_x):
                place, weight = first + (j * wide + i), (weight_y * weight_x).flatten()
                for image, content in zip(canvas, flat, strict=True):
                    image.index_add_(0, place, weight * content)
    inner = canvas.view(count, -1, wide)[:, _RIM:-_RIM, _RIM:-_RIM]
    return _spline_coefficients(inner)


#: samples that :func:`splat` carries at a time
_SPLAT_SAMPLES = 1 << 15
#: samples around an image that take what :func:`splat` carries out of it
_RIM = 4


def _spline_weights(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the four samples around a place that lies the part ``t`` after the second of them."""
    t2, t3 = t * t, t * t * t
    return (1 - t) ** 3 / 6, (4 - 6 * t2 + 3 * t3) / 6, (1 + 3 * t + 3 * t2 - 3 * t3) / 6, t3 / 6


def _spline_coefficients(images: Tensor) -> Tensor:
    """Images (C, y, x) divided by the cubic B-spline's transfer function (2 + cos) / 3 along both axes, periodic."""
    height, width = images.shape[-2:]
    fy = torch.fft.fftfreq(height, dtype=images.dtype, device=images.device)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=images.dtype, device=images.device)[None, :]
    transfer = (2 + torch.cos(2 * math.pi * fy)) * (2 + torch.cos(2 * math.pi * fx)) / 9
    return torch.fft.irfft2(torch.fft.rfft2(images) / transfer, s=(height, width))


def _look_ups(place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two places where linear look-ups give the spline's four weights, and the first one's share."""
    whole = place.floor()
    t = place - whole
    first, last = (1 - t) ** 3 / 6, t**3 / 6
    third = (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6
    weight = 1 - third - last
    return whole - first / weight, whole + 1 + last / (third + last), weight


def jacobian(ux: Tensor, uy: Tensor) -> Tensor:
    """Determinant of x -> x + u(x) by central differences, (..., y, x): 1 = undisturbed, below 0 rays have
    crossed.
    """
    dxx, dxy = torch.gradient(ux, dim=(-1, -2))
    dyx, dyy = torch.gradient(uy, dim=(-1, -2))
    return (1 + dxx) * (1 + dyy) - dxy * dyx


def landing_to_reference(
    ux: Tensor, uy: Tensor, tolerance: float = 1e-3, iterations: int = 60
) -> tuple[Tensor, Tensor]:
    """Solve x + u(x) = y for the reference place x of every landing point y.

    Damped fixed point: a step is the residual, divided by the local stretch where the map stretches by more
    than 1. It starts at x = y, so that where rays have crossed the undisturbed one is kept (outside an edge
    that is the direct beam, which carries most of the light); where the map is one-to-one it is the unique
    solution.

    Parameters
    ----------
    ux, uy : displacement (h, w) in samples of their own grid.
    tolerance : largest residual in samples at which the iteration stops.

    Returns
    -------
    y, x : places (h, w) in samples.
    """
    height, width = ux.shape
    y0 = torch.arange(height, dtype=ux.dtype, device=ux.device)[:, None].expand(height, width)
    x0 = torch.arange(width, dtype=ux.dtype, device=ux.device)[None, :].expand(height, width)
    slopes = [component.diff(dim=d).abs() for component in (ux, uy) for d in (0, 1)]
    stretch = torch.zeros_like(ux)
    for slope, d in zip(slopes, (0, 1, 0, 1), strict=True):
        for shifted in (0, 1):  # a slope counts for the samples on both of its sides
            part = stretch.narrow(d, shifted, slope.shape[d])
            torch.maximum(part, slope, out=part)
    fields = torch.stack([uy, ux, 1 / (1 + stretch)])
    # The first step lands in the sample itself; from then on only the points still on their way are followed.
    y, x = (y0 - fields[2] * uy).flatten(), (x0 - fields[2] * ux).flatten()
    moving = torch.maximum(uy.abs(), ux.abs()).flatten().gt(tolerance).nonzero()[:, 0]
    target_y, target_x = y0.flatten()[moving], x0.flatten()[moving]
    for _ in range(iterations):
        if not len(moving):
            break
        at_y, at_x = y[moving], x[moving]
        vy, vx, step = sample_at(fields, at_y[None], at_x[None])[:, 0]
        ry, rx = target_y - at_y - vy, target_x - at_x - vx
        y[moving], x[moving] = at_y + step * ry, at_x + step * rx
        on_the_way = torch.maximum(ry.abs(), rx.abs()) > tolerance
        moving, target_y, target_x = moving[on_the_way], target_y[on_the_way], target_x[on_the_way]
    return y.reshape(height, width), x.reshape(height, width)
