"""Raw frames as a job reads them: one that cannot be used is named before it is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction import Correction
from speckleflow.frame_faults import FrameLooker, fault_error
from speckleflow.io.repeats import unmeasured
from speckleflow.io.scan import Scan


def check_frames(raw: NDArray, scan: Scan, correction: Correction, first: int) -> tuple[int, int]:
    """Look at raw frames (B, N, y, x) of the projections from ``first`` on.

    Returns
    -------
    (pixels, frames) : how many are filled in single frames, because they are NaN or at the largest count.

    Raises
    ------
    InputError
        The first frame that is not finite, dark, saturated, in part of one value, or the same as the one before it: its
        file, number, angle.
    """
    faults, _ = FrameLooker(scan, correction).look(raw, first)
    if faults:
        raise fault_error(scan, faults[0])
    lost = unmeasured(raw, correction.saturation)
    counts = np.zeros(1, int) if lost is None else (lost & ~correction.bad).sum((2, 3))
    return int(counts.sum()), int((counts > 0).sum())
