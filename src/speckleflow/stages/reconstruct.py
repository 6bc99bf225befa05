"""A slab of rows: sinograms of every contrast to slices in physical units."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speckleflow.io.projections import open_projections
from speckleflow.io.results import create, result_file
from speckleflow.scan.schema import VOLUMES
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings, read_warnings, write_warnings
from speckleflow.stages.inputs import check_made_by, describe
from speckleflow.tomo.backends.base import Backend
from speckleflow.tomo.backends.registry import make_backend
from speckleflow.tomo.offset import Stitched, stitch_half_turns
from speckleflow.tomo.rings import remove_rings
from speckleflow.tomo.sinogram import line_integrals
from speckleflow.tomo.units import QUANTITIES, scale

log = logging.getLogger(__name__)

#: attributes of the projections that a volume says too
_GEOMETRY = ("energy_kev", "pixel_size_um", "distance_m", "magnification", "effective_distance_m")


def reconstruct_slab(
    spec: ScanSpec, *, projections: str | Path, rows: Sequence[int], output: str | Path
) -> None:
    """Reconstruct rows [start, stop) of every contrast and write the slices (z, y, x).

    One contrast at a time, so that a job's memory follows from the slab, not from the scan's height.
    """
    start, stop = rows
    settings, execution = spec.config.tomography, spec.config.execution.tomography
    with (
        collected_warnings() as warnings,
        open_projections(projections) as source,
        result_file(output) as file,
    ):
        check_made_by(source.file, projections, "assemble", spec)
        pixel_m = float(source.attrs["pixel_size_um"]) * 1e-6
        axis = float(source.attrs["rotation_axis_px"])
        energy = source.attrs.get("energy_kev")
        file.attrs.update({key: source.attrs[key] for key in _GEOMETRY if key in source.attrs})
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
                    threads=execution.threads,
                    device=execution.device,
                )
            slices = backend(scan.sinograms)
            slices *= np.float32(scale(name, pixel_m, energy))
            volume = create(file, name, slices, unit=quantity.unit, description=quantity.long_name)
            volume.attrs["floored"] = integrals.floored
            volume.attrs["sinogram_values"] = integrals.values.size
            log.info("%s rows %d to %d", name, start, stop)
        write_warnings(file, read_warnings(source.file), warnings)
        describe(file, "reconstruct", spec, upstream=[source.file])
