"""What a sinogram of a parallel beam must look like, and what it looks like when something was forgotten.

The sum of line integrals over x is the mass of the slice: the same at every angle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

#: Largest change of the sum over x with the angle that noise, stray light and a moving beam explain.
CHANGE = 0.1
#: Columns at each side that should be air: this part of the width, at least one.
_SIDE = 0.03
#: Air of a transmission is 1 to within this part.
_AIR = 0.2


def mass_change(sinogram: NDArray) -> float:
    """Change of the sum over x between the angles (2nd to 98th percentile) over its median."""
    mass = np.asarray(sinogram, np.float64).sum(axis=1)
    low, high = np.percentile(mass, (2, 98))
    middle = abs(float(np.median(mass)))
    return float(high - low) / middle if middle > 0 else np.inf if high > low else 0.0


def sinogram_problem(sinogram: NDArray, angles_deg: NDArray, name: str, angles: str) -> InputError | None:
    """Why values (angle, x) or their angles are certainly not what they should be; None where they may be.

    Parameters
    ----------
    sinogram : finite, (angle, x).
    angles_deg : (angle,).
    name, angles : how messages name the two.
    """
    rows, columns = sinogram.shape
    if len(angles_deg) == columns != rows:
        return InputError(
            name,
            expected=f"{columns} rows, one for each angle of {angles}",
            found=f"{rows} rows of {columns} values: it is transposed",
            hint="give its transpose (angle, x)",
        )
    if rows == columns and mass_change(sinogram) > CHANGE > mass_change(sinogram.T):
        return InputError(
            name,
            expected="shape (angle, x), whose sum over x is the same at every angle",
            found="one that is the same along the other axis: it is transposed",
            hint="give its transpose, or --as-is if it is right",
        )
    if found := _without_logarithm(sinogram):
        return InputError(
            name,
            expected="line integrals (-phase, -ln T), 0 in the air",
            found=found[0],
            hint=f"{found[1]}, or --as-is if they are line integrals",
        )
    if _tenths(angles_deg):
        return InputError(
            angles,
            expected="angles in degrees",
            found=f"a span of {np.ptp(angles_deg):g}, which is a half or full turn in tenths of a degree",
            hint="divide them by 10, or --as-is if the sample turned so often",
        )
    return None


def sinogram_warning(sinogram: NDArray) -> str | None:
    """A sentence where the sum over x changes with the angle; None where it does not."""
    change = mass_change(sinogram)
    if change <= CHANGE:
        return None
    return (
        f"the sum over x changes by {change:.0%} between the angles, where it is constant for line integrals of a "
        "parallel beam: is the sample wider than the image, is the air not 0, or are the angles those of other rows?"
    )


def _without_logarithm(sinogram: NDArray) -> tuple[str, str] | None:
    """What values are that fall from a level in the air to less behind the sample, and what to do; None: they rise."""
    values = np.asarray(sinogram, np.float64)
    side = max(1, round(_SIDE * values.shape[1]))
    air = float(np.median(np.concatenate([values[:, :side], values[:, -side:]], axis=1)))
    largest = float(np.percentile(np.abs(values), 99))
    if not (air > 0.25 * largest and values.mean() < air):
        return None
    if abs(air - 1) < _AIR:
        return (
            f"values of {air:.2g} in the air that fall behind the sample: a transmission",
            "add --transmission",
        )
    return (
        f"values of {air:.3g} in the air that fall behind the sample: counts",
        "correct them by dark and flat and add --transmission",
    )


def _tenths(angles_deg: NDArray) -> bool:
    """Whether the angles make a half or full turn when divided by ten, in steps too coarse for so many turns."""
    if len(angles_deg) < 3:
        return False
    step = float(np.median(np.abs(np.diff(angles_deg))))
    span = float(np.ptp(angles_deg))
    near = any(min(abs(span - turn), abs(span + step - turn)) < 0.5 * step for turn in (1800, 3600))
    return near and len(angles_deg) >= 20
