"""Ellipsoids, densest in the middle, whose projections are displaced and raised; their line integrals are exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speckleflow.tomo.geometry import detector_coordinate

HEIGHT, COLUMNS, AXIS = 64, 128, 61.3
#: value in the middle, x, y from the axis, z, semi-axes along z and across, in px
SOLIDS = [(0.04, 10, -8, 20, 15, 12), (0.06, -18, 6, 38, 14, 10), (0.04, 3, 15, 30, 20, 9)]


@dataclass(frozen=True)
class MovingScan:
    """Projections (projection, y, x) of a sample that is displaced by (x, y) px and whose level drifts."""

    angles_deg: NDArray[np.float64]
    shift_px: NDArray[np.float64]
    level: NDArray[np.float64]

    @classmethod
    def of(
        cls, count: int = 180, span_deg: float = 180.0, jitter_px: float = 1.5, drift: float = 0.02
    ) -> MovingScan:
        """Displacements up to ``jitter_px`` in either sense, a random walk of the level up to ``drift``."""
        rng = np.random.default_rng(5)
        walk = np.cumsum(rng.normal(size=count))
        walk -= walk.mean()
        angles = np.arange(count) * span_deg / count
        return cls(angles, rng.uniform(-jitter_px, jitter_px, (count, 2)), drift * walk / np.abs(walk).max())

    @property
    def still(self) -> MovingScan:
        """The same without displacement and drift."""
        return MovingScan(self.angles_deg, 0 * self.shift_px, 0 * self.level)

    def integrals(self, height: int = HEIGHT, first: int = 0) -> NDArray[np.float64]:
        """Line integrals of ``height`` rows from ``first`` on, with the level."""
        x, z = np.arange(COLUMNS), np.arange(first, first + height)
        right, down = self.shift_px.T
        total = np.zeros((len(self.angles_deg), height, COLUMNS))
        for value, at_x, at_y, at_z, half, radius in SOLIDS:
            place = detector_coordinate(self.angles_deg, at_x, at_y, AXIS) + right
            across = (x - place[:, None, None]) / radius
            along = (z[:, None] - at_z - down[:, None, None]) / half
            total += 4 / 3 * value * radius * np.clip(1 - across**2 - along**2, 0, None) ** 1.5
        return total + self.level[:, None, None]

    def off_curve(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """A displacement along x without its constant and its sine of the angle, which are another place."""
        angle = np.deg2rad(self.angles_deg)
        terms = np.stack([np.ones(len(angle)), np.cos(angle), np.sin(angle)], 1)
        return values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
