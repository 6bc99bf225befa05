"""The slabs of a scan as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.nexus import titles_of, write_volume_entry
from speckleflow.io.results import IDENTITY, create, open_result, result_file
from speckleflow.scan.schema import STD, VOLUMES
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import WARNINGS, read_warnings, write_warnings
from speckleflow.stages.fsc import write_resolution
from speckleflow.stages.inputs import PROJECTIONS_IDENTITY, check_made_by, describe
from speckleflow.tomo.geometry import field_of_view

#: attributes of a slab that are its own, not the volume's
_OF_A_SLAB = {IDENTITY, WARNINGS, "first_row"}
#: attributes of a slab's dataset that add up
_COUNTS = (
    "below_noise",
    "sinogram_values",
    "stripes_dead",
    "stripes_single",
    "stripes_dense_rows",
    "solver_steps",
    "solver_fits_noise",
)
#: Share of ratios below their noise above which the user is told; noise alone stays far below.
BELOW_NOISE_LIMIT = 1e-3


def assemble_volumes(spec: ScanSpec, *, slabs: Sequence[str | Path], output: str | Path) -> None:
    """Copy the slabs, one after the other, into volumes (z, y, x), each with its unit and voxel size in m; of a sample
    that changes as it turns (t, z, y, x), with the time of every turn.

    So are the standard deviations of their noise, each with its median. With ``tomography.split`` the correlation of
    the halves, and the resolution by it, stand in group ``fsc``.

    NeXus groups (:mod:`speckleflow.io.nexus`) beside them let viewers plot the volumes with axes.

    Raises
    ------
    InputError
        The slabs do not follow each other or hold different contrasts.
    """
    with open_result(slabs[0]) as first:
        held = [name for name, item in first.items() if isinstance(item, h5py.Dataset)]
        held = [name for name in held if name.removesuffix(STD) in VOLUMES]
        names = [name for name in held if name in VOLUMES]
        attributes = {key: value for key, value in first.attrs.items() if key not in _OF_A_SLAB}
        shapes = {name: first[name].shape for name in held}
        details = {name: dict(first[name].attrs) for name in held}
    with open_result(slabs[-1]) as last:
        rows = int(last.attrs["first_row"]) + last[names[0]].shape[-3]
    with result_file(output) as file:
        file.attrs.update(attributes)
        axes = "z (along the rotation axis, downward), y (against the beam at angle 0), x"
        file.attrs["axes"] = axes if len(shapes[names[0]]) == 3 else f"time (of each turn), {axes}"
        for name in held:
            compressed = name.endswith(STD)
            shape = (*shapes[name][:-3], rows, *shapes[name][-2:])
            dataset = create(file, name, shape=shape, unit="", description="", compressed=compressed)
            dataset.attrs.update(details[name])
            dataset.attrs["voxel_size_m"] = [attributes["voxel_size_m"]] * 3
        at, warnings = 0, list[str]()
        counted = [key for key in details[names[0]] if key in _COUNTS]
        counts = {name: dict.fromkeys(counted, 0) for name in names}
        medians = {name: list[float]() for name in held if name not in names}
        halves: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
        for path in slabs:
            with open_result(path) as slab:
                check_made_by(slab, path, "reconstruct", spec)
                if slab.attrs.get(PROJECTIONS_IDENTITY) != attributes.get(PROJECTIONS_IDENTITY):
                    raise InputError(
                        path,
                        expected=f"a slab of the same projections as {Path(slabs[0]).name}",
                        found="one of other projections",
                        hint="delete both and run the workflow again",
                    )
                warnings += read_warnings(slab)
                if path == slabs[0]:
                    describe(file, "volume", spec, upstream=[slab])
                    if "turn_time_s" in slab:
                        slab.copy("turn_time_s", file)
                if int(slab.attrs["first_row"]) != at:
                    raise InputError(
                        path, expected=f"rows from {at}", found=f"rows from {slab.attrs['first_row']}"
                    )
                for name in held:
                    if name not in slab:
                        raise InputError(path, expected=f"dataset '{name}' as in {slabs[0]}", found="none")
                    depth = slab[name].shape[-3]
                    for time in np.ndindex(slab[name].shape[:-3]):  # one turn, or all there is
                        values = slab[name][time]
                        file[name][(*time, slice(at, at + depth))] = values
                        if name in medians:
                            medians[name] += [float(np.median(s)) for s in values if np.isfinite(s).all()]
                    for key in counted if name in names else ():
                        counts[name][key] += int(slab[name].attrs[key])
                    if f"halves/{name}" in slab:
                        halves[name].append(slab[f"halves/{name}"][:])
                at += depth
        if spec.config.tomography.split != "none":
            warnings += write_resolution(file, halves, float(attributes["voxel_size_m"]))
        for name, found in medians.items():
            file[name].attrs["median"] = float(np.median(found)) if found else np.nan
        for name in names:
            file[name].attrs.update(counts[name])
            share = counts[name]["below_noise"] / max(1, counts[name]["sinogram_values"])
            if share > BELOW_NOISE_LIMIT:
                warnings.append(
                    f"{name}: {share:.1%} of the values behind it were below their noise; "
                    "it is uncertain where the sample is thickest"
                )
        side = shapes[names[0]][-1]
        if not spec.config.tomography.offset_axis:  # two joined halves have another axis in another width
            seen = field_of_view(side, float(attributes["rotation_axis_px"]))
            mask = create(
                file,
                "field_of_view",
                seen.astype(np.uint8),
                unit="",
                description="1 where a pixel (y, x) of a slice was seen at every angle",
                dtype=np.uint8,
            )
            mask.attrs["part"] = float(seen.mean())
        write_warnings(file, warnings)
        write_volume_entry(
            file, titles_of(file, VOLUMES), scan=spec.name, voxel_size_m=float(attributes["voxel_size_m"])
        )
