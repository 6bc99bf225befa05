"""Geometry of a scan, as one typed record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScanGeometry:
    """Geometry of a scan, from the scan table or the file; None only where its method does not need it."""

    pixel_size_um: float
    energy_kev: float | None = None
    distance_m: float | None = None
    magnification: float = 1.0
    diffuser_distance_m: float | None = None

    @property
    def effective_distance_m(self) -> float | None:
        """Propagation distance for refraction in the sample plane: the real one over the magnification."""
        return None if self.distance_m is None else self.distance_m / self.magnification
