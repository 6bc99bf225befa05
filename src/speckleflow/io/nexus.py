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

#: name of the group of all NeXus groups
ENTRY = "entry"
#: unit of the coordinates
MICROMETRE = "um"


def write_volume_entry(file: h5py.File, titles: Mapping[str, str], *, scan: str, voxel_size_m: float) -> None:
    """An NXtomoproc entry for the volumes (z, y, x) of an open result whose provenance is written.

    Parameters
    ----------
    file : holds a dataset of each name; the first one is what a viewer opens.
    titles : meaning of each dataset.
    scan : name of the sample.
    voxel_size_m : edge of a voxel.
    """
    entry = _entry(file, next(iter(titles)), scan)
    entry["definition"] = "NXtomoproc"
    process = _group(entry, "reconstruction", "NXprocess")
    process["program"], process["version"] = "speckleflow", __version__
    process["date"] = json.loads(file[PROVENANCE].attrs[HISTORY])[-1]["made"]
    parameters = _group(process, "parameters", "NXparameters")
    chain = provenance_of(file)
    parameters["raw_file"] = list(
        dict.fromkeys(str(name) for record in chain for name in record.get("raw_files", ()))
    )
    for record in chain:
        if record["settings"]:
            parameters[record["stage"]] = canonical_json(record["settings"])
    lengths = file[next(iter(titles))].shape
    axes = {axis: _coordinates(length, voxel_size_m) for axis, length in zip("zyx", lengths, strict=True)}
    for name, title in titles.items():
        _plot(entry, name, name, title, axes)
    first, title = next(iter(titles.items()))
    _plot(entry, "data", "data", title, axes, target=first)  # the name that the definition asks for
    entry.attrs["default"] = "data"


def write_projection_entry(
    file: h5py.File, titles: Mapping[str, str], *, scan: str, pixel_size_m: float, default: str
) -> None:
    """An NXentry for the contrasts (projection, y, x) of ``projections.h5``.

    Parameters
    ----------
    file : holds a dataset of each name, and ``angle_deg``.
    titles : meaning of each dataset.
    scan : name of the sample.
    pixel_size_m : in the sample plane.
    default : name of the contrast that a viewer opens.
    """
    entry = _entry(file, default, scan)
    _, rows, columns = file[default].shape
    axes: dict[str, str | NDArray[np.float64]] = {
        "rotation_angle": "/angle_deg",
        "y": _coordinates(rows, pixel_size_m),
        "x": _coordinates(columns, pixel_size_m),
    }
    for name, title in titles.items():
        _plot(entry, name, name, title, axes)


def _entry(file: h5py.File, default: str, scan: str) -> h5py.Group:
    file.attrs.update({"NX_class": "NXroot", "default": ENTRY})
    entry = _group(file, ENTRY, "NXentry")
    entry.attrs["default"] = default
    entry["title"] = scan
    instrument = _group(entry, "instrument", "NXinstrument")
    _group(instrument, "source", "NXsource")["probe"] = "x-ray"
    if (energy := file.attrs.get("energy_kev")) is not None:
        monochromator = _group(instrument, "monochromator", "NXmonochromator")
        monochromator["energy"] = float(energy)
        monochromator["energy"].attrs["units"] = "keV"
    _group(entry, "sample", "NXsample")["name"] = scan
    return entry


def _plot(
    entry: h5py.Group,
    name: str,
    signal: str,
    title: str,
    axes: Mapping[str, str | NDArray[np.float64]],
    target: str | None = None,
) -> None:
    """An NXdata group whose ``signal`` is a soft link to a dataset at the root; an axis is a path or its values."""
    group = _group(entry, name, "NXdata")
    group.attrs.update({"signal": signal, "axes": list(axes)})
    group["title"] = title
    group[signal] = h5py.SoftLink(f"/{target or signal}")
    for position, (axis, values) in enumerate(axes.items()):
        group.attrs[f"{axis}_indices"] = position
        if isinstance(values, str):
            group[axis] = h5py.SoftLink(values)
        else:
            create(group, axis, values, unit=MICROMETRE, description=f"{axis} of voxel centres", dtype="f8")


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    made = parent.create_group(name)
    made.attrs["NX_class"] = nexus_class
    return made


def _coordinates(length: int, step_m: float) -> NDArray[np.float64]:
    return np.arange(length, dtype=np.float64) * (step_m * 1e6)


def titles_of(file: h5py.File, names: Sequence[str]) -> dict[str, str]:
    """Meaning of the datasets of a result that are there, in the order of ``names``."""
    return {name: str(file[name].attrs["description"]) for name in names if name in file}
