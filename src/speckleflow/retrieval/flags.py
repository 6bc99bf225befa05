"""Flags of pixels whose displacement is uncertain."""

from __future__ import annotations

import torch
from torch import Tensor

from speckleflow.retrieval.base import FLAG_EDGE, FLAG_FOLD

#: A retrieved field cannot fold: where rays cross it is as steep as its windows allow. Simulated steps (8
#: positions, 20,000 photons) of true Jacobian -2 and -0.7 came out at 0.28-0.34, 0.17 at 0.42, 0.38 at 0.50,
#: 0.58 at 0.63: the limit of 0.4 separates crossing rays from the others.
FOLD_LIMIT = 0.4


def jacobian(ux: Tensor, uy: Tensor) -> Tensor:
    """Determinant of the Jacobian of x -> x + u, (..., y, x), by central differences (one-sided at borders)."""
    ux_y, ux_x = torch.gradient(ux, dim=(-2, -1))
    uy_y, uy_x = torch.gradient(uy, dim=(-2, -1))
    return (1 + ux_x) * (1 + uy_y) - ux_y * uy_x


def fold_flags(ux: Tensor, uy: Tensor) -> Tensor:
    """uint8, FLAG_FOLD where the Jacobian is under :data:`FOLD_LIMIT`."""
    return (jacobian(ux, uy) < FOLD_LIMIT).to(torch.uint8) * FLAG_FOLD


def edge_flags(ux: Tensor, uy: Tensor, half_window: int) -> Tensor:
    """uint8, FLAG_EDGE where the window of a pixel, or of the place where its ray arrives, leaves the image."""
    height, width = ux.shape[-2:]
    x = torch.arange(width, device=ux.device)
    y = torch.arange(height, device=ux.device)[:, None]
    inside = (x >= half_window) & (x < width - half_window) & (y >= half_window) & (y < height - half_window)
    px, py = x + ux, y + uy
    arrives = (px >= half_window) & (px <= width - 1 - half_window)
    arrives = arrives & (py >= half_window) & (py <= height - 1 - half_window)
    return (~(inside & arrives)).to(torch.uint8) * FLAG_EDGE
