"""One stack of images for the command line, however it is stored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.hdf5 import dataset, open_hdf5
from speckleflow.io.images import Images


def read_stack(spec: str, *, finite: bool = True) -> NDArray:
    """A stack (N, y, x) in its own dtype; a single image becomes (1, y, x).

    Parameters
    ----------
    spec : a TIFF stack, a folder or glob of images (natural order: 2 before 10), a .npy file, or
        file.h5:/dataset.
    finite : whether NaN and infinite values are refused.

    Raises
    ------
    InputError
        Nothing there, not images, of other than two or three axes, or values that are not finite.
    """
    if not spec.strip():
        raise InputError("stack", expected="a file, folder or pattern", found="an empty name")
    if match := re.fullmatch(r"(.+):(/.*)", spec) or re.fullmatch(r"(.+\.(?:h5|hdf5|nxs)):(.+)", spec):
        with open_hdf5(match[1]) as file:
            stack = np.asarray(dataset(file, match[2], match[1])[()])
    elif spec.endswith(":"):
        raise InputError(spec, expected=f"{spec}/dataset", found="no dataset named")
    elif Path(spec).suffix.lower() in (".h5", ".hdf5", ".nxs"):
        with open_hdf5(spec) as file:
            there = ", ".join(sorted(file))
        raise InputError(spec, expected=f"{spec}:/dataset", found=f"no dataset named; the file holds {there}")
    else:
        stack = Images.open(Path(spec), spec).read()
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or 0 in stack.shape or stack.dtype.kind not in "uif":
        raise InputError(
            spec, expected="numbers of shape (N, y, x)", found=f"{stack.dtype} of shape {stack.shape}"
        )
    if finite and stack.dtype.kind == "f" and not np.isfinite(stack).all():
        bad = int((~np.isfinite(stack)).sum())
        raise InputError(spec, expected="finite values", found=f"{bad} NaN or infinite pixel(s)")
    return stack
