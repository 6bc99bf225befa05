"""Phantoms of ellipses with exact line integrals: the truth that reconstructions are measured against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.tomo.geometry import detector_coordinate, slice_coordinates


@dataclass(frozen=True)
class Ellipse:
    """An ellipse that adds ``value``; centre (y, x) and semi-axes in pixels from the rotation axis.

    ``turn_deg`` turns its a-axis from slice x towards slice y.
    """

    value: float
    x: float
    y: float
    a: float
    b: float
    turn_deg: float = 0.0


def image(ellipses: list[Ellipse], columns: int, supersample: int = 1) -> NDArray[np.float32]:
    """Slice (columns, columns); each pixel is the mean over ``supersample``^2 points (1: its centre)."""
    fine = (np.arange(supersample) + 0.5) / supersample - 0.5
    centre_y, centre_x = slice_coordinates(columns)
    total = np.zeros((columns, columns))
    for step_y in fine:
        for step_x in fine:
            for e in ellipses:
                x, y = centre_x + step_x - e.x, centre_y + step_y - e.y
                cos, sin = np.cos(np.deg2rad(e.turn_deg)), np.sin(np.deg2rad(e.turn_deg))
                inside = ((x * cos + y * sin) / e.a) ** 2 + ((y * cos - x * sin) / e.b) ** 2 <= 1
                total += e.value * inside
    return (total / supersample**2).astype(np.float32)


def sinogram(
    ellipses: list[Ellipse], angles_deg: ArrayLike, columns: int, axis_px: float, supersample: int = 1
) -> NDArray[np.float32]:
    """Line integrals (angle, columns) in value x pixel.

    Each pixel is the mean over ``supersample`` rays across it, as a detector takes it (1: its centre's ray).
    """
    angle = np.asarray(angles_deg, dtype=np.float64)[:, None]
    total = np.zeros((angle.shape[0], columns))
    for step in (np.arange(supersample) + 0.5) / supersample - 0.5:
        s = np.arange(columns)[None, :] + step
        for e in ellipses:
            turned = np.deg2rad(angle - e.turn_deg)
            square = (e.a * np.cos(turned)) ** 2 + (e.b * np.sin(turned)) ** 2
            distance = s - detector_coordinate(angle, e.x, e.y, axis_px)
            total += 2 * e.value * e.a * e.b / square * np.sqrt(np.clip(square - distance**2, 0, None))
    return (total / supersample).astype(np.float32)


def shepp_logan(radius_px: float) -> list[Ellipse]:
    """The Shepp-Logan head in the modified contrasts of Toft (1996), scaled to a circle of ``radius_px``."""
    table = [
        (1.0, 0.0, 0.0, 0.69, 0.92, 0),
        (-0.8, 0.0, -0.0184, 0.6624, 0.874, 0),
        (-0.2, 0.22, 0.0, 0.11, 0.31, -18),
        (-0.2, -0.22, 0.0, 0.16, 0.41, 18),
        (0.1, 0.0, 0.35, 0.21, 0.25, 0),
        (0.1, 0.0, 0.1, 0.046, 0.046, 0),
        (0.1, 0.0, -0.1, 0.046, 0.046, 0),
        (0.1, -0.08, -0.605, 0.046, 0.023, 0),
        (0.1, 0.0, -0.605, 0.023, 0.023, 0),
        (0.1, 0.06, -0.605, 0.023, 0.046, 0),
    ]
    r = radius_px
    return [Ellipse(v, x * r, -y * r, a * r, b * r, -turn) for v, x, y, a, b, turn in table]
