"""One slice from the command line: of a sinogram, or of the projections that the workflow or `retrieve` wrote."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from speckleflow.errors import ConfigError, InputError
from speckleflow.inspection.angles import radian_problems, wedge_warning
from speckleflow.io.atomic import atomic_path
from speckleflow.io.base import InputProblems
from speckleflow.io.hdf5 import check_file, open_hdf5
from speckleflow.io.npy import load_npy
from speckleflow.io.output import check_output
from speckleflow.io.projections import open_projections
from speckleflow.io.results import PROVENANCE
from speckleflow.io.stack import read_stack
from speckleflow.stages.straight import read_straight
from speckleflow.tomo.axis_search import search_axis
from speckleflow.tomo.plausible import sinogram_problem, sinogram_warning
from speckleflow.tomo.single import reconstruct_sinogram
from speckleflow.tomo.sinogram import line_integrals
from speckleflow.tomo.units import QUANTITIES, scale

_HDF5 = (".h5", ".hdf5", ".nxs")


@dataclass(frozen=True)
class Sinogram:
    """Line integrals (angle, x) with what is known of them; ``factor`` brings reconstructed values to ``unit``."""

    values: NDArray[Any]
    angles_deg: NDArray[Any]
    axis_px: float | None
    what: str = "values per pixel"
    factor: float = 1.0


def reconstruct_file(
    *,
    sinogram: str,
    angles_deg: str | None,
    axis_px: float | None,
    output: Path,
    row: int | None = None,
    quantity: str | None = None,
    transmission: bool = False,
    as_is: bool = False,
    backend: str = "fourier",
    filter: str = "shepp",
) -> str:
    """Reconstruct one slice and write it as float32; returns a line on what was written.

    Parameters
    ----------
    sinogram : (angle, x) in .npy, TIFF or file.h5:/dataset; or ``projections.h5``, which brings angles, axis and units.
    angles_deg : .npy, text, or file.h5:/dataset; None: those of ``projections.h5``.
    axis_px : rotation axis; None: that of ``projections.h5``, or found.
    output : .npy or .tif.
    row : of ``projections.h5``; None: the middle one.
    quantity : of ``projections.h5``: delta, mu or darkfield; None: the first that is there.
    transmission : whether the values are T, of which -ln is taken.
    as_is : whether a sinogram that looks wrong is reconstructed all the same.
    backend, filter : see :class:`speckleflow.tomo.backends.base.Backend`.

    Raises
    ------
    ConfigError
        Options that do not fit each other.
    InputError
        A file that cannot be read, or a sinogram that is transposed, no line integrals, or not in degrees.
    """
    inputs = [sinogram, *([angles_deg] if angles_deg else [])]
    check_output(output, (".npy", ".tif", ".tiff"), inputs)
    if Path(sinogram).suffix.lower() in _HDF5:
        for given, option in ((angles_deg, "--angles-deg"), (transmission, "--transmission")):
            if given:
                raise ConfigError(f"command line: {sinogram} brings its own; leave out {option}")
        chosen = _of_projections(Path(sinogram), row, quantity)
    else:
        for value, option in ((row, "--row"), (quantity, "--quantity")):
            if value is not None:
                raise ConfigError(f"command line: {option} belongs to a projections.h5, found {sinogram}")
        if angles_deg is None:
            raise ConfigError("command line: expected --angles-deg for this sinogram, found none")
        chosen = _of_arrays(sinogram, angles_deg, transmission, as_is)
    axis = chosen.axis_px if axis_px is None else axis_px
    found = ""
    if axis is None:
        search = search_axis(chosen.values, chosen.angles_deg)
        axis, found = search.axis_px, f" (found, +- {search.uncertainty_px:.2f})"
        for words in search.warnings(columns=chosen.values.shape[1]):
            _warn(words.replace("set tomography.axis_px", "give it by --axis"))
    image = reconstruct_sinogram(chosen.values, chosen.angles_deg, axis, backend, filter)
    image *= np.float32(chosen.factor)
    with atomic_path(output) as private:
        if output.suffix.lower() == ".npy":
            with private.open("wb") as stream:
                np.save(stream, image)
        else:
            tifffile.imwrite(private, image, photometric="minisblack")
    rows, columns = image.shape
    return f"{output}: {chosen.what}, {rows} x {columns} pixels, axis {axis:.2f} px{found}"


def _of_projections(path: Path, row: int | None, quantity: str | None) -> Sinogram:
    with open_hdf5(path) as file:
        if PROVENANCE not in file:
            raise InputError(
                path,
                expected="projections.h5 of the workflow, or a sinogram as file.h5:/dataset",
                found=f"an HDF5 file of another program with {', '.join(file)}",
            )
        if "angle_deg" not in file:
            shape = next((item.shape for item in file.values() if isinstance(item, h5py.Dataset)), ())
            raise InputError(
                path,
                expected="projections at several angles (projections.h5)",
                found=f"one projection of shape {shape}" if len(shape) == 2 else "no angles",
                hint="the workflow retrieves all projections of a scan and reconstructs them",
            )
    with open_projections(path) as projections:
        there = [name for name, q in QUANTITIES.items() if q.contrast in projections]
        name = quantity or next(iter(there), "none")
        if name not in there:
            raise ConfigError(
                f"command line: --quantity: expected one of {', '.join(there)} for {path}, found '{name}'"
            )
        contrast = QUANTITIES[name].contrast
        height = projections.shape(contrast)[1]
        chosen = height // 2 if row is None else row
        if not 0 <= chosen < height:
            raise ConfigError(f"command line: --row: expected 0 to {height - 1}, found {row}")
        part = projections.turns[0]
        values = read_straight(projections, contrast, chosen, chosen + 1, part)[:, 0]
        if np.isnan(values).all():
            raise InputError(
                path,
                expected=f"a measured row {chosen}",
                found="none of its pixels",
                hint="choose another by --row",
            )
        pixel_m = float(projections.attrs["pixel_size_um"]) * 1e-6
        unit = QUANTITIES[name].unit
        return Sinogram(
            line_integrals(contrast, values, projections.noise(contrast)).values,
            projections.angles_deg[part],
            projections.attrs.get("rotation_axis_px"),
            f"{name}{'' if unit == '1' else f' in {unit}'} of row {chosen}"
            + (" in the first turn" if len(projections.turns) > 1 else ""),
            scale(name, pixel_m, projections.attrs.get("energy_kev")),
        )


def _of_arrays(sinogram: str, angles_deg: str, transmission: bool, as_is: bool) -> Sinogram:
    values, angles = _array(sinogram), _array(angles_deg)
    angles = angles.ravel() if 1 in angles.shape else angles
    usable = values.ndim == 2 and values.dtype.kind in "fiu" and np.isfinite(values).all()
    if angles.ndim == 1 and angles.dtype.kind == "f" and (found := radian_problems(angles, angles_deg)):
        raise InputProblems(found)
    if usable and transmission:
        values = line_integrals("transmission", values).values
    if usable and angles.ndim == 1 and np.isfinite(angles).all():
        if not as_is and (problem := sinogram_problem(values, angles, sinogram, angles_deg)):
            raise problem
        if len(angles) == len(values) and (words := sinogram_warning(values)):
            _warn(f"{sinogram}: {words}")
        if words := wedge_warning(angles):
            _warn(f"{angles_deg}: {words}")
    return Sinogram(values, angles, None)


def _array(name: str) -> NDArray[Any]:
    """A sinogram (angle, x) or angles: .npy, text, a TIFF image, or file.h5:/dataset."""
    path = Path(name)
    if path.suffix.lower() == ".npy":
        return load_npy(path, name)
    if path.suffix.lower() in (".txt", ".csv", ".dat"):
        check_file(path, "a text file of numbers", name)
        try:
            return np.loadtxt(path, delimiter="," if path.suffix.lower() == ".csv" else None)
        except (OSError, ValueError) as error:
            raise InputError(
                path, expected="a text file of numbers", found=" ".join(str(error).split())
            ) from error
    if ":" in name:
        file, _, key = name.partition(":")
        if Path(file).suffix.lower() in _HDF5 and key:
            from speckleflow.io.hdf5 import dataset

            with open_hdf5(file) as opened:
                return np.asarray(dataset(opened, key, file)[()])
    return read_stack(name)[0]


def _warn(words: str) -> None:
    print(f"speckleflow: warning: {words}", file=sys.stderr)
