"""Fields on the reference grid (the ray's place in the sample) and on the detector grid (where the ray arrives).

On the reference grid the ray through x arrives at x + u(x). On the detector grid the same values belong to the place
of arrival: v(x + u(x)) = u(x), so v(y) is the displacement of the ray that came from y - v(y).
"""

from __future__ import annotations

import torch
from torch import Tensor

from speckleflow.errors import SpeckleflowError
from speckleflow.retrieval.base import FLAG_EDGE, Fields
from speckleflow.retrieval.bspline import PREFILTER, warp
from speckleflow.retrieval.filters import filter_xy

#: The fixed-point iteration u <- u(y - u) contracts by 1 - J per step, J being the Jacobian of x -> x + u: 30
#: steps reach 1e-3 of the first step where J >= 0.2; where it is smaller the pixel carries FLAG_FOLD already.
_STEPS = 30
_ENOUGH_PX = 1e-4  #: far below the error of any retrieval


def to_detector(fields: Fields) -> Fields:
    """Fields of the reference grid carried to the detector grid: every entry f'(y) = f(x) with x + u(x) = y.

    Pixels whose ray comes from outside the image take the border's value and FLAG_EDGE.
    """
    return _carry(fields, -1.0)


def to_reference(fields: Fields) -> Fields:
    """Fields of the detector grid carried to the reference grid: f(x) = f'(y) with y = x + u."""
    return _carry(fields, 1.0)


def _carry(fields: Fields, sign: float) -> Fields:
    """Solve w(x) = u(x + sign w(x)) and take every field at x + sign w(x)."""
    if fields.ux is None or fields.uy is None:
        raise SpeckleflowError(
            "the fields have no displacement, so they cannot be carried from one grid to the other; "
            "keep the reference grid"
        )
    batch, height, width = fields.ux.shape
    device = fields.ux.device
    x = torch.arange(width, device=device, dtype=torch.float32)
    y = torch.arange(height, device=device, dtype=torch.float32)[:, None]
    u = torch.stack((fields.ux, fields.uy), dim=1)
    w, spline = u, _spline(u)
    for _ in range(_STEPS):
        before, w = w, _look_up(spline, x + sign * w[:, 0], y + sign * w[:, 1])
        if float((w - before).abs().max()) < _ENOUGH_PX:
            break
    px, py = x + sign * w[:, 0], y + sign * w[:, 1]
    outside = (px < 0) | (px > width - 1) | (py < 0) | (py > height - 1)

    def carry(field: Tensor) -> Tensor:
        if field.dtype == torch.uint8:
            columns, rows = px.round().clamp(0, width - 1).long(), py.round().clamp(0, height - 1).long()
            taken = field[torch.arange(batch, device=device)[:, None, None], rows, columns]
            return torch.where(outside, taken | FLAG_EDGE, taken)
        return _look_up(_spline(field[:, None]), px, py)[:, 0]

    return fields.map(carry)


def _spline(field: Tensor) -> Tensor:
    """Cubic B-spline coefficients of (B, C, y, x)."""
    return filter_xy(field, PREFILTER, PREFILTER, "mirror")


def _look_up(spline: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Splines (B, C, y, x) at (B, y, x); beyond the border, the border's value."""
    height, width = spline.shape[-2:]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return torch.stack([warp(c, px, py) for c, px, py in zip(spline, x, y, strict=True)])
