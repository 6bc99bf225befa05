"""How a scan was measured, as far as a retrieval method may need it: energy, pixels, distances, blur, angles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace

from speckleflow.errors import InputError
from speckleflow.physics import wavelength_m
from speckleflow.scan.geometry import ScanGeometry

#: entry -> keys of the configuration that give it (a raw file may give the first three, too)
CONFIG_KEYS: dict[str, tuple[str, ...]] = {
    "energy_kev": ("geometry.energy_kev",),
    "pixel_x_m": ("geometry.pixel_size_um",),
    "pixel_y_m": ("geometry.pixel_size_um",),
    "distance_m": ("geometry.distance_m",),
    "diffuser_distance_m": ("geometry.diffuser_distance_m",),
    "magnification": ("geometry.magnification",),
    "detector_blur_x_px": (),
    "detector_blur_y_px": (),
    "angles_deg": (
        "geometry.angles",
        "geometry.angle_start_deg",
        "geometry.angle_stop_deg",
        "geometry.angle_inclusive",
        "geometry.angles_unit",
        "geometry.rotation",
    ),
}


@dataclass(frozen=True)
class Acquisition:
    """What a retrieval method may know of the measurement; None: not known.

    Attributes
    ----------
    energy_kev : photon energy.
    pixel_x_m, pixel_y_m : effective pixel size in the sample plane in m.
    distance_m : from sample to detector in m (divergent beam: the real one).
    diffuser_distance_m : from sample to diffuser in m, positive where the diffuser stands upstream of the sample.
    magnification : of a divergent beam, (source to detector) / (source to sample); 1: parallel.
    detector_blur_x_px, detector_blur_y_px : standard deviation of the detector's point spread in pixels.
    angles_deg : of the projections, counter-clockwise seen from above.
    """

    energy_kev: float | None = None
    pixel_x_m: float | None = None
    pixel_y_m: float | None = None
    distance_m: float | None = None
    diffuser_distance_m: float | None = None
    magnification: float | None = None
    detector_blur_x_px: float | None = None
    detector_blur_y_px: float | None = None
    angles_deg: tuple[float, ...] | None = None

    @classmethod
    def of_geometry(
        cls,
        geometry: ScanGeometry,
        *,
        angles_deg: Collection[float] | None = None,
        detector_blur_px: float | None = None,
    ) -> Acquisition:
        """That of a scan with square pixels and a round point spread."""
        pixel = geometry.pixel_size_um * 1e-6
        return cls(
            energy_kev=geometry.energy_kev,
            pixel_x_m=pixel,
            pixel_y_m=pixel,
            distance_m=geometry.distance_m,
            diffuser_distance_m=geometry.diffuser_distance_m,
            magnification=geometry.magnification,
            detector_blur_x_px=detector_blur_px,
            detector_blur_y_px=detector_blur_px,
            angles_deg=None if angles_deg is None else tuple(float(angle) for angle in angles_deg),
        )

    def only(self, names: Collection[str]) -> Acquisition:
        """The entries of these names; all others are not known."""
        return replace(self, **{f.name: None for f in fields(self) if f.name not in names})

    def require(self, names: Collection[str], who: str) -> None:
        """Refuse where one of these entries is not known.

        Raises
        ------
        InputError
            Names the first one's key of the configuration.
        """
        for name in names:
            if getattr(self, name) is None:
                keys = CONFIG_KEYS[name]
                raise InputError(
                    f"method '{who}'",
                    expected=keys[0] if keys else name,
                    found="none",
                    hint="set it in the configuration or the scan table" if keys else "",
                )

    @property
    def wavelength_m(self) -> float:
        """Wavelength in m."""
        assert self.energy_kev is not None, "declare energy_kev in the spec's needs"
        return wavelength_m(self.energy_kev)

    @property
    def effective_distance_m(self) -> float:
        """Propagation distance in the sample plane: the real one over the magnification."""
        assert self.distance_m is not None, "declare distance_m in the spec's needs"
        return self.distance_m / (self.magnification or 1.0)

    @property
    def source_distance_m(self) -> float:
        """Distance from source to sample; infinite in a parallel beam."""
        magnification = self.magnification or 1.0
        assert self.distance_m is not None, "declare distance_m in the spec's needs"
        return float("inf") if magnification == 1 else self.distance_m / (magnification - 1)
