"""The slabs of a scan as one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from speckleflow.errors import InputError
from speckleflow.io.results import IDENTITY, PROVENANCE, create, open_result, result_file


def assemble_volumes(slabs: Sequence[str | Path], output: str | Path) -> None:
    """Copy the slabs, one after the other, into volumes (z, y, x), each with its unit and voxel size in m.

    Raises
    ------
    InputError
        The slabs do not follow each other or hold different contrasts.
    """
    with open_result(slabs[0]) as first:
        names = [name for name, item in first.items() if isinstance(item, h5py.Dataset)]
        attributes = {key: value for key, value in first.attrs.items() if key not in ("first_row", IDENTITY)}
        shapes = {name: first[name].shape[1:] for name in names}
        details = {name: dict(first[name].attrs) for name in names}
    with open_result(slabs[-1]) as last:
        rows = int(last.attrs["first_row"]) + len(last[names[0]])
    with result_file(output) as file:
        with open_result(slabs[0]) as first:
            first.copy(PROVENANCE, file)
        file.attrs.update(attributes)
        file.attrs["axes"] = "z (along the rotation axis, downward), y (against the beam at angle 0), x"
        for name in names:
            dataset = create(file, name, shape=(rows, *shapes[name]), unit="", description="")
            dataset.attrs.update(details[name])
            dataset.attrs["voxel_size_m"] = [attributes["voxel_size_m"]] * 3
        at = 0
        floored = dict.fromkeys(names, 0)
        for path in slabs:
            with open_result(path) as slab:
                if int(slab.attrs["first_row"]) != at:
                    raise InputError(
                        path, expected=f"rows from {at}", found=f"rows from {slab.attrs['first_row']}"
                    )
                for name in names:
                    if name not in slab:
                        raise InputError(path, expected=f"dataset '{name}' as in {slabs[0]}", found="none")
                    values = slab[name][:]
                    file[name][at : at + len(values)] = values
                    floored[name] += int(slab[name].attrs["floored"])
                at += len(values)
        for name in names:
            file[name].attrs["floored"] = floored[name]
