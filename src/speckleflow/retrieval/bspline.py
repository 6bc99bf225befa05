"""Cubic B-spline interpolation of image stacks (Unser, IEEE Signal Process. Mag. 16(6), 22, 1999).

The interpolator decides the accuracy of sub-pixel displacements: with short kernels (linear, Keys cubic) the
minimum of the cost itself is shifted by an amount that oscillates with the sub-pixel fraction. The cubic
B-spline with its prefilter makes that bias negligible, and gives value and derivative from one set of
coefficients.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.filters import Kernel, compose

_POLE = math.sqrt(3.0) - 2.0
#: the inverse filter decays as |pole|^k: at 12 taps it has fallen to float32 rounding
_RADIUS = 12

#: impulse response of the prefilter: samples -> cubic B-spline coefficients
PREFILTER: Kernel = tuple(
    -6.0 * _POLE / (1.0 - _POLE**2) * _POLE ** abs(k) for k in range(-_RADIUS, _RADIUS + 1)
)
#: samples -> derivative of the interpolating spline at the samples
DERIVATIVE: Kernel = compose(PREFILTER, (-0.5, 0.0, 0.5))


def warp(coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Value of the splines at positions (x, y) in pixels.

    Parameters
    ----------
    coefficients : (N, Y, X) B-spline coefficients (samples filtered by :data:`PREFILTER` along both axes).
    x, y : (h, w) positions, pixel centres at integers. Closer than one pixel to the border, and outside, the
        outermost coefficients are repeated.

    Returns
    -------
    (N, h, w). Two neighbouring cubic weights are one linear interpolation at a shifted place, so that sixteen
    taps are four bilinear look-ups (Sigg and Hadwiger, GPU Gems 2, ch. 20).
    """
    height, width = coefficients.shape[-2:]
    left, right, at_left = _pairs(x, width)
    top, bottom, at_top = _pairs(y, height)

    def look_up(gx: Tensor, gy: Tensor) -> Tensor:
        grid = torch.stack((gx, gy), dim=-1)
        return F.grid_sample(
            coefficients[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
        )[0]

    upper = torch.lerp(look_up(right, top), look_up(left, top), at_left)
    lower = torch.lerp(look_up(right, bottom), look_up(left, bottom), at_left)
    return torch.lerp(lower, upper, at_top)


def _pairs(position: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places (grid_sample's units) of the two linear look-ups along one axis, and the weight of the first."""
    base = position.floor()
    f = position - base
    g = 1.0 - f
    w0, w3 = g * g * g / 6.0, f * f * f / 6.0
    w1 = 2.0 / 3.0 - f * f * (1.0 - 0.5 * f)
    w2 = 1.0 - w0 - w1 - w3
    first = w0 + w1
    scale = 2.0 / max(length - 1, 1)
    low = (base - 1.0 + w1 / first) * scale - 1.0
    high = (base + 1.0 + w3 / (w2 + w3)) * scale - 1.0
    return low, high, first
