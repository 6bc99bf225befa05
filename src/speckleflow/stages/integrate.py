"""The phase of a block of projections."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from speckleflow.config import ScanConfig
from speckleflow.io.results import IDENTITY, create, open_result, result_file, write_provenance
from speckleflow.phase import curl_rms, integrate_displacement

log = logging.getLogger(__name__)


def integrate_block(config: ScanConfig, *, fields: str | Path, output: str | Path) -> None:
    """Integrate the displacement in ``fields`` and write the phase (projection, y, x) in rad.

    One projection at a time, so that memory does not depend on the block.
    """
    settings = config.integrate
    with open_result(fields) as source, result_file(output) as file:
        file.attrs.update({key: source.attrs[key] for key in (*GEOMETRY, *PLACE)})
        file.attrs["fields_identity"] = source.attrs[IDENTITY]
        shape = source["ux"].shape
        phase = create(file, "phase", shape=shape, unit="rad", description="phase, negative in matter")
        curl = create(
            file,
            "curl_px",
            shape=shape[:1],
            unit="px",
            description="root mean square of the part of the displacement that is no gradient",
        )
        left, right, top, bottom = (int(n) for n in source.attrs["air_px"])
        file.attrs["boundary"] = settings.boundary
        file.attrs["air_px"] = air = (left, right, top, bottom)
        for i in range(shape[0]):
            ux, uy = source["ux"][i : i + 1], source["uy"][i : i + 1]
            weighted = settings.weights and "displacement_std" in source
            phase[i : i + 1] = integrate_displacement(
                ux,
                uy,
                energy_kev=source.attrs["energy_kev"],
                pixel_size_m=source.attrs["pixel_size_um"] * 1e-6,
                distance_m=source.attrs["effective_distance_m"],
                boundary=settings.boundary,
                air=air,
                ramp=settings.ramp,
                sigma=source["displacement_std"][i : i + 1] if weighted else None,
                reject=source["flags"][i : i + 1] & REJECT > 0 if weighted and "flags" in source else None,
            )
            curl[i] = curl_rms(ux, uy, boundary=settings.boundary)[0]
        write_provenance(
            file, stage="integrate", settings=config.that_decide("correct", "integrate"), packages=("scipy",)
        )
        log.info("phase of %d projections; curl %.3f px", shape[0], float(np.median(curl[:])))


#: geometry that travels with the fields
GEOMETRY = ("energy_kev", "pixel_size_um", "effective_distance_m")
#: which projections of how many a block holds
PLACE = ("first_projection", "n_projections")
#: flags of pixels whose displacement is not to be trusted: stopped at a bound (1), rays cross (2)
REJECT = 3
