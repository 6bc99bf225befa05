"""The empty margins of an image: (left, right, top, bottom) widths in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

Margins = tuple[int, int, int, int]


def air_mask(shape: tuple[int, int], air: Sequence[int]) -> NDArray[np.bool_]:
    """True in the margins ``air`` = (left, right, top, bottom), in pixels, of an image of ``shape`` (y, x).

    Raises
    ------
    InputError
        Not four non-negative widths, or nothing of the image is left between them.
    """
    height, width = shape
    if len(air) != 4 or min(air) < 0:
        raise InputError(
            "air margins", expected="four widths >= 0 (left, right, top, bottom)", found=f"{list(air)}"
        )
    left, right, top, bottom = air
    if left + right >= width or top + bottom >= height:
        raise InputError(
            "air margins",
            expected=f"less than the image of {height} x {width} pixels (y, x)",
            found=f"{list(air)}",
        )
    mask = np.ones(shape, bool)
    mask[top : height - bottom, left : width - right] = False
    return mask
