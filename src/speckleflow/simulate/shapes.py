"""Random two-dimensional shapes for training: filled Bezier outlines and smooth random fields."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def smooth_field(generator: torch.Generator, size: int, knots: int, count: int = 1) -> Tensor:
    """Smooth random fields (count, size, size), about unit variance, ``knots`` features a side."""
    coarse = torch.randn(count, 1, knots + 3, knots + 3, generator=generator, device=generator.device)
    fine = math.ceil(size * (knots + 3) / knots)
    field = torch.nn.functional.interpolate(coarse, size=(fine, fine), mode="bicubic", align_corners=True)
    start = (fine - size) // 2
    return field[:, 0, start : start + size, start : start + size]


def bezier_outline(generator: torch.Generator, size: int, points_per_piece: int = 12) -> Tensor:
    """A closed outline (V, 2) as (y, x) in samples: quadratic Bezier arcs through random points around a
    centre.

    The arcs join at the middles of the control polygon's sides, hence with a continuous tangent; each control
    point is, with a chance of 1/4, doubled into a corner.
    """
    device = generator.device
    corners = int(torch.randint(3, 9, (1,), generator=generator, device=device))
    r = torch.rand(3 * corners + 3, generator=generator, device=device)
    centre = (0.1 + 0.8 * r[:2]) * size
    radius = size * (0.06 + 0.34 * r[2] ** 2)
    angle = (torch.arange(corners, device=device) + 0.7 * r[3 : 3 + corners]) * (2 * math.pi / corners)
    reach = radius * (0.4 + 0.9 * r[3 + corners : 3 + 2 * corners])
    control = centre + reach[:, None] * torch.stack([angle.sin(), angle.cos()], dim=1)
    sharp = (r[3 + 2 * corners :] < 0.25)[:, None]
    start = torch.where(sharp, control, (control + control.roll(1, 0)) / 2)
    end = torch.where(sharp, control, (control + control.roll(-1, 0)) / 2)
    t = (torch.arange(points_per_piece, device=device) / (points_per_piece - 1))[:, None, None]
    arcs = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    return arcs.transpose(0, 1).reshape(-1, 2)


def fill_outline(outline: Tensor, size: int, lines: int = 2) -> Tensor:
    """Fraction of every sample inside a closed outline (V, 2): (size, size), exact along x, ``lines`` scan
    lines in y.

    Winding numbers: on each scan line a crossing of the outline adds its direction from there to the right,
    cut fractionally at the crossing; crossings are summed along x and the result limited to 1 (non-zero
    rule).
    """
    y, x = outline[:, 0], outline[:, 1]
    y_next, x_next = y.roll(-1), x.roll(-1)
    scan = (torch.arange(size * lines, device=outline.device, dtype=outline.dtype) + 0.5) / lines - 0.5
    crosses = (y[:, None] <= scan) != (y_next[:, None] <= scan)
    edge, line = crosses.nonzero(as_tuple=True)
    where = x[edge] + (scan[line] - y[edge]) / (y_next[edge] - y[edge]) * (x_next[edge] - x[edge])
    where = (where + 0.5).clamp(0, size)  # distance from the left border of the image
    direction = torch.sign(y_next[edge] - y[edge])
    column = where.floor()
    rest = 1 - (where - column)  # the part of its own sample that lies to the right of the crossing
    winding = torch.zeros(size * lines, size + 2, device=outline.device, dtype=outline.dtype)
    column = column.long()
    winding.index_put_((line, column), direction * rest, accumulate=True)
    winding.index_put_((line, column + 1), direction * (1 - rest), accumulate=True)
    inside = winding.cumsum(1)[:, :size].abs().clamp_max(1)
    return inside.reshape(size, lines, size).mean(1)
