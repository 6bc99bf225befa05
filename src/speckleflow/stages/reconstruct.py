"""A slab of rows: sinograms of every contrast to slices in physical units."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from speckleflow.io.projections import open_projections
from speckleflow.io.results import IDENTITY, create, result_file
from speckleflow.scan.schema import STD, VOLUMES
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings, read_warnings, write_warnings
from speckleflow.stages.inputs import PROJECTIONS_IDENTITY, check_made_by, describe
from speckleflow.stages.straight import CUT_OFF, TILT, padding_of, read_straight
from speckleflow.tomo.backends.registry import backend_class
from speckleflow.tomo.slab import SlabReconstruction, ring_filters
from speckleflow.tomo.units import QUANTITIES
from speckleflow.tomo.voxel_errors import BLOCK

log = logging.getLogger(__name__)

#: attribute: when an iterative backend stopped
STOPPING_RULE = "stopping_rule"
#: attributes of the projections that a volume says too
_GEOMETRY = (
    "energy_kev",
    "pixel_size_um",
    "distance_m",
    "magnification",
    "effective_distance_m",
    TILT,
    CUT_OFF,
)


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
        file.attrs[PROJECTIONS_IDENTITY] = source.attrs[IDENTITY]
        file.attrs.update({"first_row": start, "rotation_axis_px": axis, "voxel_size_m": pixel_m})
        if "rotation_axis" in source.file:
            search = source.file["rotation_axis"].attrs
            file.attrs["rotation_axis_votes"] = search["votes"]
            file.attrs["rotation_axis_uncertainty_px"] = search["uncertainty_px"]
        file.attrs["padding"] = padding_of(source, settings.padding)
        for key in ("backend", "filter"):
            file.attrs[key] = getattr(settings, key)
        backend = backend_class(settings.backend)
        if rule := backend.stopping_rule():
            file.attrs[STOPPING_RULE] = rule
        if settings.voxel_std and not backend.linear:
            file.attrs["voxel_std"] = f"not stated: the backend {settings.backend} is not linear"
        reconstruct = SlabReconstruction(
            source.angles_deg,
            axis,
            pixel_size_m=pixel_m,
            energy_kev=energy,
            backend=settings.backend,
            filter=settings.filter,
            rings=ring_filters(settings),
            ring_window_px=settings.rings.window_px,
            offset_axis=settings.offset_axis,
            padding=padding_of(source, settings.padding),
            voxel_std=settings.voxel_std,
            threads=execution.threads,
            device=execution.device,
        )
        for name in VOLUMES:
            quantity = QUANTITIES[name]
            if quantity.contrast not in source:
                continue
            values = read_straight(source, quantity.contrast, start, stop)
            gone = np.isnan(values).all((0, 2))  # rows that no projection measured
            values[:, gone] = 0.0 if quantity.contrast == "phase" else 1.0
            slab = reconstruct(name, values, source.noise(quantity.contrast))
            for part in (slab.slices, slab.std):
                if part is not None:
                    part[gone] = np.nan
            volume = create(file, name, slab.slices, unit=quantity.unit, description=quantity.long_name)
            volume.attrs["below_noise"] = slab.below_noise
            volume.attrs["ring_filter"] = ring_filters(settings)[name]
            for kind, count in asdict(slab.stripes).items():
                volume.attrs[f"stripes_{kind}"] = count
            volume.attrs["sinogram_values"] = values.size
            volume.attrs.update({f"solver_{key}": count for key, count in slab.counts.items()})
            if slab.std is not None:
                words = f"standard deviation of the noise of {name}, in blocks of {BLOCK} x {BLOCK} voxels"
                create(file, name + STD, slab.std, unit=quantity.unit, description=words, compressed=True)
            log.info("%s rows %d to %d", name, start, stop)
        write_warnings(file, read_warnings(source.file), warnings)
        describe(file, "reconstruct", spec, upstream=[source.file])
