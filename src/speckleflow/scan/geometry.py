"""Geometry of a scan, as one typed record."""

from __future__ import annotations

from dataclasses import dataclass

from speckleflow.errors import InputError


@dataclass(frozen=True)
class ScanGeometry:
    """Geometry of a scan, from the scan table or the file; None only where its method does not need it."""

    pixel_size_um: float
    energy_kev: float | None = None
    distance_m: float | None = None
    magnification: float = 1.0
    diffuser_distance_m: float | None = None

    @property
    def refraction_distance_m(self) -> float | None:
        """Distance over which refraction moves the pattern, in the sample plane: from the sample on, or from a diffuser
        that stands behind it."""
        if self.distance_m is None:
            return None
        return plane_distances(self.distance_m, self.diffuser_distance_m, self.magnification)[1]

    @property
    def effective_distance_m(self) -> float | None:
        """Propagation distance for refraction in the sample plane: the real one over the magnification."""
        return None if self.distance_m is None else self.distance_m / self.magnification


def plane_distances(
    distance_m: float, diffuser_distance_m: float | None, magnification: float
) -> tuple[float, float]:
    """Effective distances from the sample to a diffuser behind it (0: it stands upstream), and on to the detector.

    In a divergent beam, whose source is R in front of the sample, a plane z behind the sample is z R / (R + z) away.

    Raises
    ------
    InputError
        The diffuser stands behind the detector.
    """
    behind = max(-(diffuser_distance_m or 0.0), 0.0)
    if behind >= distance_m:
        raise InputError(
            "geometry.diffuser_distance_m",
            expected=f"a diffuser in front of the detector, that is, above -{distance_m:g} m",
            found=f"{-behind:g} m",
        )
    whole = distance_m / magnification
    # R = d / (M - 1)
    before = behind * distance_m / (distance_m + behind * (magnification - 1))
    return before, whole - before
