"""From the fields of a projection to its phase: the one way that block jobs, preview and single stacks go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.config.models import Integrate
from speckleflow.errors import InputError
from speckleflow.margins import Margins, air_mask
from speckleflow.phase import level_phase, phase_and_curl
from speckleflow.phase.air import air_level
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.schema import FILLED, LOST, REJECTED_FLAGS

Arrays = dict[str, NDArray[Any]]

#: fields that a phase is made from: the method's own, or a displacement with its errors
OF_PHASE = ("phase_retrieved", "ux", "uy", "displacement_std", "flags")


def gives_phase(fields: Mapping[str, Any]) -> bool:
    """Whether there is a phase, or a displacement to integrate."""
    return "phase_retrieved" in fields or "ux" in fields


def rejected_pixels(flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (B, y, x) of no weight: where the displacement is not to be trusted, and inside holes.

    A filled pixel beside a measured one has a window of measured pixels; one with eight filled neighbours does not.
    """
    rejected, filled = flags & REJECTED_FLAGS > 0, flags & FILLED > 0
    if filled.any():
        rejected |= scipy.ndimage.binary_erosion(filled, np.ones((1, 3, 3), bool), border_value=1)
    return np.asarray(rejected)


def integrate_fields(fields: Arrays, geometry: ScanGeometry, air: Margins, settings: Integrate) -> Arrays:
    """Phase (B, y, x) of a batch, and of displacements their curl (B,).

    Parameters
    ----------
    fields : phase_retrieved, which is levelled; or ux and uy, which are integrated: displacement_std and flags weight
        the pixels, where ``integrate.weights`` says so.
    geometry : with energy, pixel size and distance.
    air : margins (left, right, top, bottom) in px where the phase is 0.
    """
    lost = fields["flags"] & LOST > 0 if "flags" in fields else None
    if lost is not None and lost.any():
        return _integrate_around(fields, lost, geometry, air, settings)
    if "phase_retrieved" in fields:
        return {"phase": level_phase(fields["phase_retrieved"], air, settings.order)}
    if geometry.energy_kev is None or geometry.refraction_distance_m is None:
        raise InputError("geometry", expected="energy and distance, for the phase", found="none")
    sigma = fields.get("displacement_std") if settings.weights else None
    rejected = rejected_pixels(fields["flags"]) if settings.weights and "flags" in fields else None
    if sigma is None:
        rejected = None
    phase, curl = phase_and_curl(
        fields["ux"],
        fields["uy"],
        energy_kev=geometry.energy_kev,
        pixel_size_m=geometry.pixel_size_um * 1e-6,
        distance_m=geometry.refraction_distance_m,
        boundary=settings.boundary,
        air=air,
        order=settings.order,
        sigma=sigma,
        reject=rejected,
    )
    return {"phase": phase, "curl_px": curl}


def _integrate_around(
    fields: Arrays, lost: NDArray[np.bool_], geometry: ScanGeometry, air: Margins, settings: Integrate
) -> Arrays:
    """As :func:`integrate_fields` with pixels ``lost`` (B, y, x), which have no weight; the phase there is NaN."""
    whole = {name: values for name, values in fields.items() if name != "flags"}
    for name in ("ux", "uy", "phase_retrieved"):
        if name in whole:
            whole[name] = np.where(lost, np.float32(0), whole[name])
    # an expected error without end is no weight, whatever integrate.weights says of the others
    if "ux" in whole:
        sigma = whole.get("displacement_std") if settings.weights else None
        level = np.ones(lost.shape, np.float32) if sigma is None else sigma
        whole["displacement_std"] = np.where(lost, np.float32(np.inf), level)
        flags = np.zeros(lost.shape, np.uint8)
        if settings.weights:
            flags = fields["flags"] & ~np.uint8(LOST)
        whole["flags"] = flags
        settings = settings.model_copy(update={"weights": True})
    result = integrate_fields(whole, geometry, air, settings)
    empty = air_mask((lost.shape[1], lost.shape[2]), air)
    phase = result["phase"]
    for image, gone in zip(phase, lost, strict=True):
        seen = empty & ~gone if empty.any() else ~gone
        if seen.any():
            # the level of the air is that of its measured pixels
            image -= np.asarray(
                air_level(image.astype(np.float64), seen, settings.order if empty.any() else 0), np.float32
            )
        image[gone] = np.nan
    return result
