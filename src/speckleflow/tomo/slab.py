"""A slab of projections to a slab of volumes: line integrals, rings, two sides of an offset scan, slices, units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.config.sections.tomography import Tomography
from speckleflow.tomo.backends.base import Backend
from speckleflow.tomo.backends.registry import backend_class, make_backend
from speckleflow.tomo.filters import DEFAULT
from speckleflow.tomo.offset import Stitched, stitch_half_turns
from speckleflow.tomo.rings import Stripes, filter_rings
from speckleflow.tomo.sinogram import line_integrals
from speckleflow.tomo.units import QUANTITIES, scale
from speckleflow.tomo.voxel_errors import LEAST_PROJECTIONS, local_std, noise_sinograms


@dataclass(frozen=True)
class Slab:
    """Slices (z, y, x) of one quantity in its unit, the number of ratios below their noise, the stripes found, and the
    standard deviation of the noise of each voxel (None: not asked, fewer than three projections, or a backend that is
    not linear), see :mod:`.voxel_errors`; and what the backend counts of its work over all slices.
    """

    slices: NDArray[np.float32]
    below_noise: int
    stripes: Stripes = field(default_factory=Stripes)
    std: NDArray[np.float32] | None = None
    counts: dict[str, int] = field(default_factory=dict)


def ring_filters(settings: Tomography) -> dict[str, str]:
    """Quantity -> ring filter."""
    rings = settings.rings
    return {"delta": rings.phase, "mu": rings.absorption, "darkfield": rings.darkfield}


class SlabReconstruction:
    """Reconstructs slabs of one scan; what depends on its geometry alone is kept between them.

    Parameters
    ----------
    angles_deg : (projection,) rotation in degrees, counter-clockwise seen from above.
    axis_px : detector column of the rotation axis, pixel centres at integers.
    pixel_size_m : effective pixel size in the sample plane.
    energy_kev : photon energy; only delta needs it.
    backend, filter, padding, threads, device : see :class:`speckleflow.tomo.backends.Backend`.
    rings : ring filter of each quantity (:data:`speckleflow.tomo.rings.RING_FILTERS`); none where it is not named.
    ring_window_px : width in pixels of the median of the filter ``sorting``.
    offset_axis : whether two half turns about an axis near the image's edge are joined.
    voxel_std : whether the noise of every voxel is stated, which takes as long again; only by linear backends.
    """

    def __init__(
        self,
        angles_deg: ArrayLike,
        axis_px: float,
        *,
        pixel_size_m: float,
        energy_kev: float | None = None,
        backend: str = "fourier",
        filter: str = DEFAULT,
        rings: Mapping[str, str] = MappingProxyType({}),
        ring_window_px: int = 9,
        offset_axis: bool = False,
        padding: str = "zero",
        voxel_std: bool = False,
        threads: int = 2,
        device: str = "cpu",
    ) -> None:
        self.angles_deg = np.asarray(angles_deg, dtype=np.float64)
        self.axis_px, self.pixel_size_m, self.energy_kev = axis_px, pixel_size_m, energy_kev
        self.backend, self.filter, self.threads, self.device = backend, filter, threads, device
        self.padding = padding
        self.rings, self.ring_window_px, self.offset_axis = dict(rings), ring_window_px, offset_axis
        enough = len(self.angles_deg) >= LEAST_PROJECTIONS
        self.voxel_std = voxel_std and enough and backend_class(backend).linear
        self._backend: Backend | None = None

    def __call__(
        self, quantity: str, projections: ArrayLike, noise: tuple[float, float] | None = None
    ) -> Slab:
        """Slices of a quantity from the projections (projection, y, x) of its contrast.

        Parameters
        ----------
        quantity : name in :data:`speckleflow.tomo.units.QUANTITIES`.
        projections : phase in rad, transmission, or dark field (visibility ratio).
        noise : variance of the ratios as (constant, slope), see :class:`.sinogram.RatioNoise`; default: as measured
            on the projections.

        Raises
        ------
        InputError
            A value that is not finite, or angles and axis that do not fit the projections.
        ConfigError
            Unknown quantity, backend or filter, or delta without the photon energy.
        """
        factor = scale(quantity, self.pixel_size_m, self.energy_kev)
        integrals = line_integrals(QUANTITIES[quantity].contrast, projections, noise)
        sinograms = np.ascontiguousarray(integrals.values.transpose(1, 0, 2))
        sinograms, stripes = filter_rings(sinograms, self.rings.get(quantity, "none"), self.ring_window_px)
        slices, counts = self._slices(sinograms, factor)
        if not self.voxel_std:
            return Slab(slices, integrals.below_noise, stripes, counts=counts)
        drawn = noise_sinograms(integrals.values, self.angles_deg).transpose(1, 0, 2)
        std = local_std(self._slices(np.ascontiguousarray(drawn), factor)[0])
        return Slab(slices, integrals.below_noise, stripes, std, counts)

    def _slices(
        self, sinograms: NDArray[np.float32], factor: float
    ) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Slices (z, y, x) of sinograms (y, projection, x), times ``factor``, and what the backend counts."""
        scan = Stitched(sinograms, self.angles_deg, self.axis_px)
        if self.offset_axis:
            scan = stitch_half_turns(sinograms, self.angles_deg, self.axis_px)
        if self._backend is None:  # the geometry is that of every quantity
            self._backend = make_backend(
                self.backend,
                scan.angles_deg,
                scan.sinograms.shape[2],
                scan.axis_px,
                self.filter,
                padding=self.padding,
                threads=self.threads,
                device=self.device,
            )
        slices = self._backend(scan.sinograms)
        slices *= np.float32(factor)
        return slices, dict(self._backend.counts)
