"""Raw frames as a job reads them: one that cannot be used is named before it is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction import Correction
from speckleflow.errors import InputError
from speckleflow.io.scan import Scan, unmeasured

#: Light over dark below this part of the reference's is no sample but a closed shutter.
LEAST_LIGHT = 0.05
#: Share of pixels at the detector's largest count above which a frame is saturated; hot pixels are far fewer.
MOST_SATURATED = 0.01
#: Share of rows of one value above which a frame was read in part; noise makes a single such row impossible.
MOST_CONSTANT_ROWS = 0.01


def check_frames(raw: NDArray, scan: Scan, correction: Correction, first: int) -> tuple[int, int]:
    """Look at raw frames (B, N, y, x) of the projections from ``first`` on.

    Returns
    -------
    (pixels, frames) : how many are filled in single frames, because they are NaN or at the largest count.

    Raises
    ------
    InputError
        The first frame that is not finite, dark, saturated, or in part of one value: its file, number, angle.
    """
    good = ~correction.bad
    rows = good.mean(1) > 0.5
    light = _light(raw, correction)
    most = scan.config.correct.fill_fraction
    for b, n in np.ndindex(*raw.shape[:2]):
        frame = raw[b, n]
        problem = _problem(frame, good, rows, most)
        if problem is None and light is not None and light[b, n] < LEAST_LIGHT:
            problem = f"light at {max(light[b, n], 0):.1%} of the reference's"
        if problem is not None:
            raise _unusable(scan, first + b, n, problem)
    lost = unmeasured(raw)
    counts = np.zeros(1, int) if lost is None else (lost & good).sum((2, 3))
    return int(counts.sum()), int((counts > 0).sum())


def _problem(frame: NDArray, good: NDArray[np.bool_], rows: NDArray[np.bool_], most: float) -> str | None:
    """What is wrong with a frame by itself; ``most``: share of pixels that may be filled."""
    if frame.dtype.kind == "f":
        finite = np.isfinite(frame)
        if (~finite & good).sum() > most * frame.size:
            return f"{int((~finite & good).sum())} pixel(s) that are NaN or infinite"
    else:
        saturated = float((frame[good] == np.iinfo(frame.dtype).max).mean())
        if saturated > max(MOST_SATURATED, most):
            return f"{saturated:.0%} of its pixels at the largest count"
    constant = float((frame[rows].max(1) == frame[rows].min(1)).mean()) if rows.any() else 0.0
    if constant > MOST_CONSTANT_ROWS:
        return f"{constant:.0%} of its rows of one value"
    return None


def _light(raw: NDArray, correction: Correction) -> NDArray[np.float64] | None:
    """Mean light of each frame (B, N) over that of its reference; None without a reference or flat."""
    dark = 0.0 if correction.dark is None else correction.dark.mean((1, 2), dtype=np.float64)
    level = (np.nanmean if raw.dtype.kind == "f" else np.mean)(raw, (2, 3), dtype=np.float64) - dark
    if correction.reference is None and correction.gain is None:
        return None
    gain = 1.0 if correction.gain is None else 1 / np.median(correction.gain, axis=(1, 2))
    beam = 1.0 if correction.reference is None else correction.reference.mean((1, 2), dtype=np.float64)
    return np.asarray(level / (beam * gain))


def _unusable(scan: Scan, projection: int, position: int, problem: str) -> InputError:
    number = int(scan.raw_indices[projection])
    source = scan.sample[position if len(scan.sample) > 1 else 0]
    where = f"{source.name}, frame {number}"
    if len(scan.sample) == 1 and scan.n_positions > 1:
        where += f", position {position}"
    return InputError(
        where,
        expected=f"a frame that can be used (angle {scan.angles_deg[projection]:g} deg)",
        found=problem,
        hint=f"correct.exclude_projections: '{number}' leaves the projection out",
    )
