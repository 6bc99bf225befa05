"""Turns of a scan beside each other: a sample seen twice at one angle has to look the same.

problems = turn_problems(scan, correction, warnings)
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.correction import Correction
from speckleflow.errors import InputError
from speckleflow.io.scan import Scan

Image = NDArray[np.float32]

#: pairs of frames that are compared, spread over the first turn
_PAIRS = 5
#: angles of a pair, a full number of turns apart, agree to so many degrees
_SAME_DEG = 0.05
#: Frames are compared as means of so many pixels; a change has to be so many times the noise of those.
_MEAN_PX, _TIMES_NOISE = 5, 5.0
#: Change over what the sample shows, from which it is told, and from which a volume of all turns is no sample's.
_TOLD, _ANOTHER = 0.1, 0.3


def turn_problems(scan: Scan, correction: Correction, warnings: list[str]) -> list[InputError]:
    """Turns between which the sample changed or moved; a small change goes to ``warnings``.

    A scan of less than two turns, and one whose ``files.frames`` chose the turns, are never refused.
    """
    pairs = [] if scan.times_s is not None else same_angles(scan.angles_deg)
    changes = [_change(scan, correction, pair) for pair in pairs]
    there = [(change, pair) for change, pair in zip(changes, pairs, strict=True) if change > _TOLD]
    if len(there) < max(1, len(pairs) / 2):
        return []
    change, (first, second) = max(there)
    turns = round(abs(scan.angles_deg[second] - scan.angles_deg[first]) / 360)
    numbers = scan.raw_indices
    found = (
        f"frames {numbers[first]} and {numbers[second]}, {turns} turn{'s' * (turns > 1)} apart, that differ by "
        f"{change:.0%} of what the sample shows"
    )
    half = int(np.argmax(np.abs(scan.angles_deg - scan.angles_deg[0]) >= 180 - 1e-6)) or scan.n_projections
    hint = f"files.frames chooses a half turn, such as '{numbers[0]}-{numbers[half - 1]}'"
    large = change > _ANOTHER and np.ptp(scan.angles_deg) > 540 and scan.config.files.frames is None
    if not large:
        warnings.append(f"the sample changed or moved between the turns: {found}; {hint}")
        return []
    return [
        InputError(
            scan.sample[0].name,
            expected="a sample that stays the same from turn to turn",
            found=found,
            hint=f"{hint}; '{numbers[0]}-{numbers[-1]}' takes all as one",
        )
    ]


def same_angles(angles_deg: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of projections at one angle, a full number of turns apart, as many turns as there are."""
    within = angles_deg % 360.0
    pairs = []
    for first in np.linspace(0, len(angles_deg) - 1, 4 * _PAIRS).round().astype(int).tolist():
        apart = np.abs((within - within[first] + 180) % 360 - 180) < _SAME_DEG
        later = np.flatnonzero(apart & (angles_deg > angles_deg[first] + 180))
        if later.size:
            pairs.append((first, int(later[np.argmax(angles_deg[later])])))
    return pairs[:: max(1, -(-len(pairs) // _PAIRS))]


def _change(scan: Scan, correction: Correction, pair: tuple[int, int]) -> float:
    """Difference of two projections over what the sample shows in them; 0 where noise explains it."""
    one, other = (_over_reference(scan, correction, k) for k in pair)
    difference = other - one
    # noise is what neighbouring pixels do not share
    beside = np.diff(difference, axis=-1)
    size = (1, min(_MEAN_PX, one.shape[-2]), min(_MEAN_PX, one.shape[-1]))
    noise = 1.4826 * float(np.median(np.abs(beside))) / np.sqrt(2 * np.prod(size))
    away = _rms(scipy.ndimage.uniform_filter(difference, size))
    shows = max(_rms(scipy.ndimage.uniform_filter(image - 1, size)) for image in (one, other))
    if away < _TIMES_NOISE * noise or shows == 0:
        return 0.0
    return away / shows


def _over_reference(scan: Scan, correction: Correction, projection: int) -> Image:
    """A corrected projection (N, y, x) over its reference, 1 where there is no light."""
    numbers = scan.raw_indices[projection : projection + 1]
    here = correction.at(numbers[0])
    image = here.correct_frames(scan.read_sample(slice(projection, projection + 1)), numbers)[0]
    beam = np.ones(1, np.float32) if here.reference is None else here.reference
    return np.divide(image, beam, out=np.ones_like(image), where=beam > 0.05 * beam.mean())


def _rms(image: Image) -> float:
    return float(np.sqrt(np.mean(np.square(image, dtype=np.float64))))
