"""NeXus groups beside the datasets of a result, so that NeXus viewers plot them with axes and units.

The groups hold soft links to the datasets, not copies: ``volumes.h5`` keeps its names (``/mu``), and the attributes
``default`` lead a viewer from the root to the first volume. Coordinates are in micrometres, 0 at the centre of the
first voxel; https://manual.nexusformat.org/classes/applications/NXtomoproc.html names the groups of a volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow import __version__
from speckleflow.io.results import HISTORY, PROVENANCE, canonical_json, create, provenance_of
from speckleflow.scan.schema import STD

#: name of the group of all NeXus groups
ENTRY = "entry"
#: unit of the coordinates
MICROMETRE = "um"
#: HDF5 takes at most 64 KiB of values into the header of a dataset, which has its checksum
_HEADER_BYTES = 60_000


def write_volume_entry(file: h5py.File, titles: Mapping[str, str], *, scan: str, voxel_size_m: float) -> None:
    """An NXtomoproc entry for the volumes (z, y, x) of an open result whose provenance is written.

    Parameters
    ----------
    file : holds a dataset of each name, (t, z, y, x) with ``turn_time_s`` beside it where there is one of every turn;
        the first one is what a viewer opens.
    titles : meaning of each dataset.
    scan : name of the sample.
    voxel_size_m : edge of a voxel.
    """
    entry = _entry(file, next(iter(titles)), scan)
    _note(entry, "definition", "NXtomoproc")
    process = _group(entry, "reconstruction", "NXprocess")
    _note(process, "program", "speckleflow")
    _note(process, "version", __version__)
    _note(process, "date", json.loads(file[PROVENANCE].attrs[HISTORY])[-1]["made"])
    parameters = _group(process, "parameters", "NXparameters")
    chain = provenance_of(file)
    raw_files = dict.fromkeys(str(name) for record in chain for name in record.get("raw_files", ()))
    _note(parameters, "raw_file", list(raw_files))
    for record in chain:
        if record["settings"]:
            _note(parameters, record["stage"], canonical_json(record["settings"]))
    lengths = file[next(iter(titles))].shape
    axes: dict[str, str | NDArray[np.float64]] = {"time": "/turn_time_s"} if len(lengths) == 4 else {}
    axes |= {axis: _coordinates(n, voxel_size_m) for axis, n in zip("zyx", lengths[-3:], strict=True)}
    for name, title in titles.items():
        _plot(entry, name, name, title, axes)
    first, title = next(iter(titles.items()))
    _plot(entry, "data", "data", title, axes, target=first)  # the name that the definition asks for
    entry.attrs["default"] = "data"


def write_projection_entry(
    file: h5py.File, titles: Mapping[str, str], *, scan: str, pixel_size_m: float, default: str
) -> None:
    """An NXentry for the contrasts (projection, y, x) of ``projections.h5``, over time where it is a time series.

    Parameters
    ----------
    file : holds a dataset of each name, ``angle_deg``, and of a time series ``time_s``.
    titles : meaning of each dataset.
    scan : name of the sample.
    pixel_size_m : in the sample plane.
    default : name of the contrast that a viewer opens.
    """
    entry = _entry(file, default, scan)
    _, rows, columns = file[default].shape
    series = "time_s" in file and "turns" not in file
    axes: dict[str, str | NDArray[np.float64]] = {
        "time" if series else "rotation_angle": "/time_s" if series else "/angle_deg",
        "y": _coordinates(rows, pixel_size_m),
        "x": _coordinates(columns, pixel_size_m),
    }
    for name, title in titles.items():
        _plot(entry, name, name, title, axes)


def _entry(file: h5py.File, default: str, scan: str) -> h5py.Group:
    file.attrs.update({"NX_class": "NXroot", "default": ENTRY})
    entry = _group(file, ENTRY, "NXentry")
    entry.attrs["default"] = default
    _note(entry, "title", scan)
    instrument = _group(entry, "instrument", "NXinstrument")
    _note(_group(instrument, "source", "NXsource"), "probe", "x-ray")
    if (energy := file.attrs.get("energy_kev")) is not None:
        monochromator = _group(instrument, "monochromator", "NXmonochromator")
        _note(monochromator, "energy", float(energy)).attrs["units"] = "keV"
    _note(_group(entry, "sample", "NXsample"), "name", scan)
    return entry


def _plot(
    entry: h5py.Group,
    name: str,
    signal: str,
    title: str,
    axes: Mapping[str, str | NDArray[np.float64]],
    target: str | None = None,
) -> None:
    """An NXdata group whose ``signal`` is a soft link to a dataset at the root, with its standard deviation where there
    is one; an axis is a path or its values.
    """
    group = _group(entry, name, "NXdata")
    group.attrs.update({"signal": signal, "axes": list(axes)})
    _note(group, "title", title)
    group[signal] = h5py.SoftLink(f"/{target or signal}")
    if (errors := (target or signal) + STD) in group.file:
        group[f"{signal}_errors"] = h5py.SoftLink(f"/{errors}")
    for position, (axis, values) in enumerate(axes.items()):
        group.attrs[f"{axis}_indices"] = position
        if isinstance(values, str):
            group[axis] = h5py.SoftLink(values)
        else:
            create(group, axis, values, unit=MICROMETRE, description=f"{axis} of voxel centres", dtype="f8")


def _note(group: h5py.Group, name: str, value: str | float | list[str]) -> h5py.Dataset:
    """A text, a number or a list of texts with a checksum: in the header, or in one chunk where it is long."""
    array = np.asarray(value)
    # HDF5 keeps texts of variable length where no checksum reaches
    if array.dtype.kind == "U" or not array.size:
        encoded = np.char.encode(array.astype(np.str_), "utf-8")
        array = encoded.astype(h5py.string_dtype("utf-8", max(encoded.dtype.itemsize, 1)))
    if array.nbytes > _HEADER_BYTES:
        array = np.atleast_1d(array)
        return group.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)  # create_dataset forgets them for a scalar
    properties.set_layout(h5py.h5d.COMPACT)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(array.shape) if array.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    made = h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, space, properties))
    made[...] = array
    return made


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    made = parent.create_group(name)
    made.attrs["NX_class"] = nexus_class
    return made


def _coordinates(length: int, step_m: float) -> NDArray[np.float64]:
    return np.arange(length, dtype=np.float64) * (step_m * 1e6)


def titles_of(file: h5py.File, names: Sequence[str]) -> dict[str, str]:
    """Meaning of the datasets of a result that are there, in the order of ``names``."""
    return {name: str(file[name].attrs["description"]) for name in names if name in file}
