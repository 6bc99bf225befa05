"""Air margins: the ones of the settings, and those that the sample never enters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.config.models import Correct
from speckleflow.errors import InputError
from speckleflow.margins import Margins

#: the automatic air margins: this part of the width, at least so many pixels, on the left and right
_AIR_PART, _AIR_LEAST_PX = 0.04, 4
#: A margin that is darker than the other by more than this shows the sample. Less of it shifts the flux by at
#: most half as much, 1 %, as much as the two sides of a real beam drift against each other.
_AIR_CONTRAST = 0.02


def air_margins(settings: Correct, size: tuple[int, int]) -> Margins:
    """Widths (left, right, top, bottom) in pixels of the margins that the settings call air.

    Raises
    ------
    InputError
        The margins cover the whole image, or nothing although the flux is to be measured there.
    """
    rows, columns = size
    if settings.air_px == "auto":
        side = max(_AIR_LEAST_PX, round(_AIR_PART * columns))
        if 2 * side >= columns and settings.flux == "air":
            raise InputError(
                "correct.air_px",
                expected=f"more than {2 * side} columns, for margins of {side} px on both sides",
                found=f"{rows} rows and {columns} columns",
                hint="files.transpose: true if frames lie on their side; else narrower margins, or correct.flux: none",
            )
        return (side, side, 0, 0)
    left, right, top, bottom = settings.air_px
    empty = left + right + top + bottom == 0 and settings.flux == "air"
    if empty or left + right >= columns or top + bottom >= rows:
        raise InputError(
            "correct.air_px",
            expected=f"margins inside {columns} columns and {rows} rows",
            found=f"{list(settings.air_px)}",
            hint="correct.flux: none, if no margin is free of the sample",
        )
    return (left, right, top, bottom)


def sides_without_sample(transmission: NDArray[np.float64], air: Margins) -> tuple[Margins, bool]:
    """The left and right margin without the side that the sample enters, and whether it enters both.

    Transmission is at most 1, so the darker of two sides is the one with the sample in it. Where both are
    equally bright both are kept: wrong only if the sample covers both alike in every projection looked at.

    Parameters
    ----------
    transmission : (projection, 2), mean over the left and the right margin.
    air : widths (left, right, top, bottom) in pixels.
    """
    left, right = air[:2]
    contrast = (transmission[:, 0] / transmission[:, 1] - 1).tolist()
    enters_left, enters_right = min(contrast) < -_AIR_CONTRAST, max(contrast) > _AIR_CONTRAST
    if enters_left and not enters_right:
        return (0, right, 0, 0), False
    if enters_right and not enters_left:
        return (left, 0, 0, 0), False
    return (left, right, 0, 0), enters_left
