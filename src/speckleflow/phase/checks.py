"""Checks of the displacement and of what comes with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError

Array = NDArray[Any]


def displacement_pair(ux: ArrayLike, uy: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.asarray(ux, np.float32), np.asarray(uy, np.float32)
    if x.ndim != 3 or x.shape != y.shape:
        raise InputError(
            "displacement", expected="ux and uy of one shape (B, y, x)", found=f"{x.shape} and {y.shape}"
        )
    if min(x.shape[1:]) < 4:
        raise InputError(
            "displacement", expected="images of at least 4 x 4 pixels", found=f"{x.shape[1]} x {x.shape[2]}"
        )
    bad = int(np.count_nonzero(~np.isfinite(x)) + np.count_nonzero(~np.isfinite(y)))
    if bad:
        raise InputError("displacement", expected="finite values", found=f"{bad} NaN or infinite value(s)")
    return x, y


def same_shape(name: str, values: ArrayLike | None, like: Array) -> Array | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != like.shape:
        raise InputError(name, expected=f"the displacement's shape {like.shape}", found=f"{array.shape}")
    return array
