"""TIFF stacks, one a volume, with the voxel size where ImageJ and Bio-Formats look for it.

Below 4 GB a file is a classic TIFF with ImageJ's description; from there on a BigTIFF with OME metadata, which Fiji
opens by its importer Bio-Formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from speckleflow import __version__
from speckleflow.io.writers.base import VolumeSource

#: Bytes of pixels from which a file is a BigTIFF; offsets of a classic one end at 4 GiB, tags need some room.
BIG = (1 << 32) - (1 << 25)
#: 16-bit: grey value of a voxel that is NaN; finite values begin at 1
NOT_A_NUMBER = 0
_STEPS = 65534  # between grey values 1 and 65535


class TiffWriter:
    """float32, in the units of the volume."""

    package: ClassVar[str] = "tifffile"

    def write(self, source: VolumeSource, folder: Path) -> dict[str, Any]:
        """``NAME.tif`` of every volume."""
        for name in source.names:
            calibration = {"min": 0.0, "max": 1.0}
            calibration["min"], calibration["max"] = source.finite_range(name)
            _write(folder / f"{name}.tif", source, name, source.slices(name), np.float32, calibration)
        return {"files": [f"{name}.tif" for name in source.names]}


class Tiff16Writer:
    """uint16 over the range of all finite values; the window stands in the record and, for ImageJ, in each file."""

    package: ClassVar[str] = "tifffile"

    def write(self, source: VolumeSource, folder: Path) -> dict[str, Any]:
        """``NAME.tif`` of every volume; value = offset + step * grey, and grey 0 is NaN."""
        windows = {}
        for name in source.names:
            low, high = source.finite_range(name)
            step = (high - low) / _STEPS if high > low else 1.0
            offset = low - step
            windows[name] = {
                "offset": offset,
                "step": step,
                "lowest": low,
                "highest": high,
                "unit": source.unit(name),
                "not_a_number": NOT_A_NUMBER,
                "formula": "value = offset + step * grey",
            }
            # ImageJ's calibration: a straight line (function 0), value = c0 + c1 * grey
            calibration = {
                "cf": 0,
                "c0": offset,
                "c1": step,
                "vunit": source.unit(name),
                "min": 1,
                "max": 65535,
            }
            grey = (_grey(image, low, step) for image in source.slices(name))
            _write(folder / f"{name}.tif", source, name, grey, np.uint16, calibration)
        return {"files": [f"{name}.tif" for name in source.names], "windows": windows}


def _grey(image: NDArray[np.float32], low: float, step: float) -> NDArray[np.uint16]:
    """Grey values of an image: 1 at ``low``, one more a ``step``, 0 where it is not finite."""
    level = np.rint((np.asarray(image, np.float64) - low) / step) + 1
    return np.where(np.isfinite(level), level, NOT_A_NUMBER).clip(0, _STEPS + 1).astype(np.uint16)


def _write(
    path: Path,
    source: VolumeSource,
    name: str,
    images: Iterator[NDArray[Any]],
    dtype: type[np.generic],
    calibration: dict[str, Any],
) -> None:
    """One stack (z, y, x), image by image."""
    voxel, shape = source.voxel_size_um, source.shape
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    common: dict[str, Any] = {"shape": shape, "dtype": dtype, "photometric": "minisblack"}
    if size < BIG:
        about = {"axes": "ZYX", "unit": "um", "spacing": voxel, **calibration}
        tifffile.imwrite(
            path, images, imagej=True, resolution=(1 / voxel, 1 / voxel), resolutionunit="NONE",
            metadata=about, **common,
        )  # fmt: skip
        return
    about = {
        "axes": "ZYX",
        "Name": f"{source.scan} {name}",
        "Description": f"{source.title(name)} in {source.unit(name)}, by speckleflow {__version__}",
        **{f"PhysicalSize{axis}": voxel for axis in "XYZ"},
        **{f"PhysicalSize{axis}Unit": "\u00b5m" for axis in "XYZ"},
    }
    tifffile.imwrite(
        path, images, bigtiff=True, ome=True, resolution=(1e4 / voxel, 1e4 / voxel),
        resolutionunit="CENTIMETER", metadata=about, **common,
    )  # fmt: skip
