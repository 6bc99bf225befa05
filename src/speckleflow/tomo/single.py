"""One sinogram to one slice, from two arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from speckleflow.errors import InputError
from speckleflow.tomo.backends.base import Float
from speckleflow.tomo.backends.registry import make_backend
from speckleflow.tomo.filters import DEFAULT


def reconstruct_sinogram(
    sinogram: ArrayLike,
    angles_deg: ArrayLike,
    axis_px: float | None = None,
    backend: str = "fourier",
    filter: str = DEFAULT,
    *,
    threads: int = 2,
    device: str = "cpu",
) -> Float:
    """Slice (x, x), float32, per pixel, from a sinogram (angle, x) of line integrals in pixel units.

    Orientation as in :mod:`speckleflow.tomo.geometry`; the rotation axis (default: the image centre) passes
    through the centre of the slice.

    Raises
    ------
    InputError
        Not two axes, another number of angles than the sinogram's, NaN, an axis outside the image.
    ConfigError
        Unknown backend or filter, or a backend that is not installed.
    """
    rows = np.asarray(sinogram)
    angles = np.asarray(angles_deg)
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise InputError(
            "sinogram",
            expected="real numbers of shape (angle, x)",
            found=f"{rows.dtype} of shape {rows.shape}",
        )
    if angles.dtype.kind not in "fiu":
        raise InputError("angles", expected="real numbers in degrees", found=f"{angles.dtype}")
    if angles.shape != rows.shape[:1]:
        raise InputError(
            "angles", expected=f"{rows.shape[0]} angles, one for each row of the sinogram",
            found=f"{angles.size}" if angles.ndim == 1 else f"shape {angles.shape}",
        )  # fmt: skip
    centre = (rows.shape[1] - 1) / 2 if axis_px is None else axis_px
    plan = make_backend(backend, angles, rows.shape[1], centre, filter, threads=threads, device=device)
    return np.asarray(plan(rows[None])[0])
