"""From the displacement of a projection to its phase: the one way that block jobs, preview and single stacks go."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from speckleflow.config.models import Integrate
from speckleflow.errors import InputError
from speckleflow.margins import Margins
from speckleflow.phase import curl_rms, integrate_displacement
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.schema import REJECTED_FLAGS

Arrays = dict[str, NDArray[Any]]


def integrate_fields(fields: Arrays, geometry: ScanGeometry, air: Margins, settings: Integrate) -> Arrays:
    """Phase (B, y, x) and curl (B,) of a batch of displacements.

    Parameters
    ----------
    fields : ux and uy; displacement_std and flags weight the pixels, where ``integrate.weights`` says so.
    geometry : with energy, pixel size and distance.
    air : margins (left, right, top, bottom) in px where the phase is 0.
    """
    if geometry.energy_kev is None or geometry.effective_distance_m is None:
        raise InputError("geometry", expected="energy and distance, for the phase", found="none")
    sigma = fields.get("displacement_std") if settings.weights else None
    rejected = fields["flags"] & REJECTED_FLAGS > 0 if settings.weights and "flags" in fields else None
    if sigma is None:
        rejected = None
    phase = integrate_displacement(
        fields["ux"],
        fields["uy"],
        energy_kev=geometry.energy_kev,
        pixel_size_m=geometry.pixel_size_um * 1e-6,
        distance_m=geometry.effective_distance_m,
        boundary=settings.boundary,
        air=air,
        ramp=settings.ramp,
        sigma=sigma,
        reject=rejected,
    )
    return {"phase": phase, "curl_px": curl_rms(fields["ux"], fields["uy"], boundary=settings.boundary)}
