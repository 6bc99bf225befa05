"""A slab of rows: sinograms of every contrast to slices in physical units."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.allocator import return_freed_memory
from speckleflow.io.projections import Projections, open_projections
from speckleflow.io.results import IDENTITY, create, result_file
from speckleflow.scan.schema import STD, VOLUMES
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings, read_warnings, write_warnings
from speckleflow.stages.inputs import PROJECTIONS_IDENTITY, check_made_by, describe
from speckleflow.stages.straight import ALIGNED, CUT_OFF, TILT, padding_of, read_straight
from speckleflow.tomo.backends.registry import backend_class
from speckleflow.tomo.halves import LEAST_PROJECTIONS, middle, odd_and_even
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
    ALIGNED,
)


def reconstruct_slab(
    spec: ScanSpec, *, projections: str | Path, rows: Sequence[int], output: str | Path
) -> None:
    """Reconstruct rows [start, stop) of every contrast and write the slices (z, y, x), or (t, z, y, x) of every turn.

    One turn and one contrast at a time, so that a job's memory follows from the slab, not from the scan's height.
    """
    return_freed_memory()
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
        make = partial(
            SlabReconstruction,
            axis_px=axis,
            pixel_size_m=pixel_m,
            energy_kev=energy,
            backend=settings.backend,
            filter=settings.filter,
            rings=ring_filters(settings),
            ring_window_px=settings.rings.window_px,
            offset_axis=settings.offset_axis,
            padding=padding_of(source, settings.padding),
            threads=execution.threads,
            device=execution.device,
        )
        for turn, part in enumerate(source.turns):
            reconstruct = make(source.angles_deg[part], voxel_std=settings.voxel_std)
            for name in VOLUMES:
                quantity = QUANTITIES[name]
                if quantity.contrast not in source:
                    continue
                values = read_straight(source, quantity.contrast, start, stop, part)
                gone = np.asarray(np.isnan(values).all((0, 2)))  # rows that no projection measured
                values[:, gone] = 0.0 if quantity.contrast == "phase" else 1.0
                slab = reconstruct(name, values, source.noise(quantity.contrast))
                for images in (slab.slices, slab.std):
                    if images is not None:
                        images[gone] = np.nan
                volume = _write(file, name, slab.slices, source, turn)
                counts = {f"stripes_{kind}": count for kind, count in asdict(slab.stripes).items()}
                counts |= {f"solver_{key}": count for key, count in slab.counts.items()}
                counts |= {"below_noise": slab.below_noise, "sinogram_values": values.size}
                for key, count in counts.items():
                    volume.attrs[key] = int(volume.attrs.get(key, 0)) + count
                volume.attrs["ring_filter"] = ring_filters(settings)[name]
                if slab.std is not None:
                    _write(file, name + STD, slab.std, source, turn)
                log.info("%s rows %d to %d", name, start, stop)
                del slab, images, volume  # the next contrast needs their memory
                if settings.split == "angles" and source.count >= LEAST_PROJECTIONS:
                    _write_halves(file, name, values, gone, start, make, source)
                del values
        if "turn_time_s" in source:
            source.file.copy("turn_time_s", file)
        write_warnings(file, read_warnings(source.file), warnings)
        describe(file, "reconstruct", spec, upstream=[source.file])


def _write_halves(
    file: h5py.File,
    name: str,
    values: NDArray[np.float32],
    gone: NDArray[np.bool_],
    start: int,
    make: Callable[..., SlabReconstruction],
    source: Projections,
) -> None:
    """The middle of the slices from odd and from even angles, in group ``halves`` (half, z, y, x).

    Parameters
    ----------
    values : (projection, y, x) of the slab; ``gone`` are its rows without a measurement, ``start`` its first row.
    make : makes a reconstruction from its angles.
    """
    contrast = QUANTITIES[name].contrast
    whole = middle(source.shape(contrast)[1])
    first, stop = max(whole.start, start) - start, min(whole.stop, start + values.shape[1]) - start
    if stop <= first:
        return
    parts = []
    for half in odd_and_even(source.angles_deg):
        slices = make(source.angles_deg[half])(name, values[half, first:stop], source.noise(contrast)).slices
        inner = middle(slices.shape[2])
        slices[gone[first:stop]] = np.nan
        parts.append(slices[:, inner, inner].copy())
    file[f"halves/{name}"] = np.stack(parts)


def _write(
    file: h5py.File, name: str, images: NDArray[np.float32], source: Projections, turn: int
) -> h5py.Dataset:
    """Slices (z, y, x) of one turn as a dataset, or as part (t) of the dataset of a sample that changes."""
    if name not in file:
        own, noise = name.removesuffix(STD), name.endswith(STD)
        quantity = QUANTITIES[own]
        words = quantity.long_name
        if noise:
            words = f"standard deviation of the noise of {own}, in blocks of {BLOCK} x {BLOCK} voxels"
        times = (len(source.turns),) if "turns" in source else ()
        shape = (*times, *images.shape)
        create(file, name, shape=shape, unit=quantity.unit, description=words, compressed=noise)
    file[name][(turn, ...) if "turns" in source else ...] = images
    return file[name]
