"""A slab of rows: sinograms of every contrast to slices in physical units."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speckleflow.config import ScanConfig
from speckleflow.io.projections import open_projections
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.tomo.backends.base import Backend
from speckleflow.tomo.backends.registry import make_backend
from speckleflow.tomo.offset import Stitched, stitch_half_turns
from speckleflow.tomo.rings import remove_rings
from speckleflow.tomo.sinogram import line_integrals
from speckleflow.tomo.units import QUANTITIES, scale

log = logging.getLogger(__name__)

#: the volumes of a scan, each where its contrast was retrieved
VOLUMES = ("delta", "mu", "darkfield")


def reconstruct_slab(
    config: ScanConfig,
    *,
    projections: str | Path,
    rows: Sequence[int],
    output: str | Path,
    device: str = "cpu",
    threads: int = 2,
) -> None:
    """Reconstruct rows [start, stop) of every contrast and write the slices (z, y, x).

    One contrast at a time, so that a job's memory follows from the slab, not from the scan's height.
    """
    start, stop = rows
    settings = config.tomography
    with open_projections(projections) as source, result_file(output) as file:
        pixel_m = float(source.attrs["pixel_size_um"]) * 1e-6
        axis = float(source.attrs["rotation_axis_px"])
        energy = source.attrs.get("energy_kev")
        file.attrs.update({"first_row": start, "rotation_axis_px": axis, "voxel_size_m": pixel_m})
        for key in ("backend", "filter"):
            file.attrs[key] = getattr(settings, key)
        angles = source.angles_deg
        backend: Backend | None = None
        for name in VOLUMES:
            quantity = QUANTITIES[name]
            if quantity.contrast not in source:
                continue
            values = source.read(quantity.contrast, rows=slice(start, stop))
            integrals = line_integrals(quantity.contrast, values, source.floor(quantity.contrast))
            sinograms = np.ascontiguousarray(integrals.values.transpose(1, 0, 2))
            if settings.ring_window_px:
                sinograms = remove_rings(sinograms, settings.ring_window_px)
            scan = (
                stitch_half_turns(sinograms, angles, axis)
                if settings.offset_axis
                else Stitched(sinograms, angles, axis)
            )
            if backend is None:  # the geometry is that of every contrast
                columns = scan.sinograms.shape[2]
                backend = make_backend(
                    settings.backend,
                    scan.angles_deg,
                    columns,
                    scan.axis_px,
                    settings.filter,
                    threads=threads,
                    device=device,
                )
            slices = backend(scan.sinograms)
            slices *= np.float32(scale(name, pixel_m, energy))
            volume = create(file, name, slices, unit=quantity.unit, description=quantity.long_name)
            volume.attrs["floored"] = integrals.floored
            log.info("%s rows %d to %d", name, start, stop)
        write_provenance(
            file,
            stage="reconstruct",
            settings=config.that_decide("tomography"),
            packages=("scipy", "finufft", "astra-toolbox", "tomopy"),
        )
