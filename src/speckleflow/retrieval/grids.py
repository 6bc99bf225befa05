"""Fields on the reference grid (where the ray crosses the sample) and on the landing grid (where it is seen).

On the reference grid the ray through x lands at x + u(x) (espinnet.txt eq. 1). On the landing grid the same
numbers belong to the place where the ray is seen: v(x + u(x)) = u(x), so that v(y) is the displacement of the
ray that came from y - v(y).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.errors import SpeckleflowError
from speckleflow.retrieval.base import FLAG_EDGE, Fields

#: The fixed-point iteration u <- u(y - u) contracts by 1 - J per step, J being the Jacobian of x -> x + u: 30
#: steps reach 1e-3 of the first step where J >= 0.2; where it is smaller the pixel carries FLAG_FOLD already.
_STEPS = 30


def to_landing(fields: Fields) -> Fields:
    """Fields of the reference grid carried to the landing grid: every entry f'(y) = f(x) with x + u(x) = y.

    Pixels whose ray comes from outside the image take the border's value and FLAG_EDGE.
    """
    return _carry(fields, -1.0)


def to_reference(fields: Fields) -> Fields:
    """Fields of the landing grid carried to the reference grid: f(x) = f'(y) with y = x + u."""
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
    w = u.clone()
    for _ in range(_STEPS):
        w = _look_up(u, x + sign * w[:, 0], y + sign * w[:, 1])
    px, py = x + sign * w[:, 0], y + sign * w[:, 1]
    outside = (px < 0) | (px > width - 1) | (py < 0) | (py > height - 1)

    def carry(field: Tensor) -> Tensor:
        if field.dtype == torch.uint8:
            columns, rows = px.round().clamp(0, width - 1).long(), py.round().clamp(0, height - 1).long()
            taken = field[torch.arange(batch, device=device)[:, None, None], rows, columns]
            return torch.where(outside, taken | FLAG_EDGE, taken)
        return _look_up(field[:, None], px, py)[:, 0]

    return fields.map(carry)


def _look_up(field: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cubic (Keys) interpolation of (B, C, Y, X) at (B, Y, X); the fields are smooth over a pixel."""
    height, width = field.shape[-2:]
    grid = torch.stack((x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1), dim=-1)
    return F.grid_sample(field, grid, mode="bicubic", padding_mode="border", align_corners=True)
