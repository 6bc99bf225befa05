"""What can be wrong with energy, pixel size and distances."""

from __future__ import annotations

import numpy as np

from speckleflow.config.models import POSSIBLE, impossible
from speckleflow.errors import InputError
from speckleflow.io.scan import Scan

#: (least, most) of what X-ray imaging with modulators uses; outside, a unit was probably mistaken
_PLAUSIBLE = {"energy_kev": (4.0, 300.0), "pixel_size_um": (0.01, 300.0), "distance_m": (1e-3, 30.0)}


#: pixels whose sides differ by less are square
_SQUARE = 0.01


_UNIT = {"energy_kev": "keV", "pixel_size_um": "um", "distance_m": "m"}


def geometry_problems(scan: Scan) -> list[InputError]:
    """Values in the files that cannot be (those of the scan table were looked at when it was read)."""
    problems = []
    x, y = scan.sample[0].metadata.pixel_size_um, scan.sample[0].metadata.pixel_size_y_um
    if (
        x is not None
        and y is not None
        and abs(y / x - 1) > _SQUARE
        and scan.config.geometry.pixel_size_um is None
    ):
        problems.append(
            InputError(
                f"{scan.sample[0].name}, pixel size",
                expected="square pixels",
                found=f"{x:g} um along x and {y:g} um along y",
                hint="bin the frames to square pixels, or set geometry.pixel_size_um if they are",
            )
        )
    for key in POSSIBLE:
        value = getattr(scan.geometry, key)
        if value is None or getattr(scan.config.geometry, key) is not None or not np.isfinite(value):
            continue
        if words := impossible(key, value):
            expected, found = words.removeprefix("expected ").split(", found ")
            problems.append(InputError(f"{scan.sample[0].name}, {key}", expected=expected, found=found))
    return problems


def geometry_warnings(scan: Scan) -> list[str]:
    """Values that are hardly possible, and values of the scan table that contradict the file's."""
    warnings = []
    for key, (least, most) in _PLAUSIBLE.items():
        value = getattr(scan.geometry, key)
        if value is None:
            continue
        unit = _UNIT[key]
        if not least <= value <= most:
            warnings.append(f"{key} is {value:g} {unit}; was it given in another unit?")
        stated = getattr(scan.sample[0].metadata, key)
        # one per cent: rounding of a scan table filled in by hand
        if stated is not None and abs(value - stated) > 0.01 * stated:
            warnings.append(
                f"{key} is {value:g} {unit} in the scan table but {stated:g} {unit} in {scan.sample[0].name}"
            )
    return warnings
