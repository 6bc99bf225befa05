"""Rings: a detector column that reads wrong, a stripe in the sinogram.

``auto`` tells the kinds of stripes apart and treats each by its own filter; where there is none, it changes nothing.
The others treat every column alike and cost sharpness everywhere: ``sorting`` (ours), and by algotom ``combined``
(unresponsive, large and other stripes: Vo, Atwood and Drakopoulos, Optics Express 26, 28396 (2018)), ``wavelet``
(Muench, Trtik, Marone and Stampanoni, Optics Express 17, 8567 (2009)) and ``fft`` (Raven, Rev. Sci. Instrum. 69, 2978
(1998)). benchmarks/rings.md compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.stripes import (
    DENSE,
    LEAST_ANGLES,
    LEAST_COLUMNS,
    MOST,
    dead_columns,
    fill_columns,
    stripe_density,
    striped_columns,
)

Float = NDArray[np.float32]

RING_FILTERS = ("none", "auto", "sorting", "combined", "wavelet", "fft")
#: Seconds per pixel of a sinogram on one thread (benchmarks/rings.md).
SECONDS_PER_PIXEL = {
    "none": 0.0, "auto": 5e-7, "sorting": 2e-7, "combined": 2e-6, "wavelet": 3e-7, "fft": 2e-7,
}  # fmt: skip
#: Part of the scan that the offset of a striped column may change within, and angles that it is smoothed over.
_PART, _SMOOTH = 6, 9
#: algotom's arguments: Butterworth cut-off (of the smallest damage in benchmarks/rings.md), order and rows; levels and
#: width of the damping; windows of the medians in px, and their greatest part of the width.
_FFT, _WAVELET, _LARGE, _SMALL = (30, 8, 1), (5, 1), (51, 20), (21, 40)


@dataclass(frozen=True)
class Stripes:
    """What ``auto`` found in sinograms: columns of each kind, summed over the rows."""

    dead: int = 0
    single: int = 0
    dense_rows: int = 0

    def __add__(self, other: Stripes) -> Stripes:
        return Stripes(self.dead + other.dead, self.single + other.single, self.dense_rows + other.dense_rows)


def filter_rings(sinograms: Float, name: str, window_px: int = 9) -> tuple[Float, Stripes]:
    """Sinograms (row, angle, x) without stripes by a filter of that name, and what ``auto`` found.

    Raises
    ------
    ConfigError
        Unknown name, or algotom is not installed.
    InputError
        A window of ``sorting`` that is wider than the image.
    """
    if name == "none":
        return sinograms, Stripes()
    if name == "sorting":
        return remove_rings(sinograms, window_px), Stripes()
    if name == "auto":
        cleaned, found = np.empty_like(sinograms), Stripes()
        for row, sinogram in enumerate(sinograms):
            cleaned[row], one = _by_kind(sinogram)
            found += one
        return cleaned, found
    if name not in RING_FILTERS:
        raise ConfigError(f"ring filter must be one of {', '.join(RING_FILTERS)}, found '{name}'")
    call = _algotom(name)
    return np.stack([np.asarray(call(sinogram), np.float32) for sinogram in sinograms]), Stripes()


def _by_kind(sinogram: Float) -> tuple[Float, Stripes]:
    """A sinogram (angle, x): dead columns filled, single stripes taken off, dense ones damped."""
    angles, columns = sinogram.shape
    if angles < LEAST_ANGLES or columns < LEAST_COLUMNS:
        return sinogram, Stripes()
    dead = dead_columns(sinogram)
    cleaned = fill_columns(sinogram, dead) if dead.mean() < MOST else sinogram
    single = striped_columns(cleaned) & ~dead
    if (single | dead).mean() > MOST:
        single[:] = False
    if single.any():
        cleaned = _without_offsets(cleaned, single)
    dense = stripe_density(cleaned) > DENSE
    # beside stripes that are found there are weaker ones that are not
    if dense or single.any():
        cleaned = np.asarray(_algotom("fft")(cleaned), np.float32)
    return cleaned, Stripes(int(dead.sum()), int(single.sum()), int(dense))


def _without_offsets(sinogram: Float, striped: NDArray[np.bool_]) -> Float:
    """The sinogram less, in striped columns, what they have over their neighbours: its running median over the angles.

    The column's own values stay; a median follows a stripe that begins or ends within the scan.
    """
    length = max(5, len(sinogram) // _PART) | 1
    over = sinogram[:, striped] - fill_columns(sinogram, striped)[:, striped]
    offset = scipy.ndimage.median_filter(over, (length, 1), mode="nearest")
    offset = scipy.ndimage.uniform_filter1d(offset, _SMOOTH, axis=0, mode="nearest")
    cleaned = sinogram.copy()
    cleaned[:, striped] -= offset
    return cleaned


def _algotom(name: str) -> Callable[[Float], NDArray]:
    try:
        from algotom.prep import removal
    except ImportError as error:
        raise ConfigError(f"ring filter '{name}' needs algotom, which cannot be imported: {error}") from error
    if name == "fft":
        # its modulus would turn line integrals below 0 about
        def fft(sinogram: Float) -> NDArray:
            low = sinogram.min()
            return removal.remove_stripe_based_fft(sinogram - low, *_FFT) + low

        return fft
    if name == "wavelet":
        return lambda sinogram: removal.remove_stripe_based_wavelet_fft(sinogram, *_WAVELET)

    def combined(sinogram: Float) -> NDArray:
        # without the division by the mean, which is 0 in the air of line integrals
        columns = sinogram.shape[1]
        large, small = (min(size, max(5, columns // part)) | 1 for size, part in (_LARGE, _SMALL))
        cleaned = removal.remove_dead_stripe(sinogram, size=large, residual=False)
        cleaned = removal.remove_large_stripe(cleaned, size=large, norm=False)
        return removal.remove_stripe_based_sorting(cleaned, small, 1)

    return combined


def remove_rings(sinograms: ArrayLike, window_px: int) -> NDArray[np.float32]:
    """Sinograms (row, angle, x) or (angle, x) without stripes, float32; the input is left as it is.

    Sorting-based removal: each column is sorted by value, the sorted sinogram is smoothed by a median over
    ``window_px`` columns, and the values go back to where they came from. Neighbouring columns see nearly
    the same values over a scan, in another order, so that sorting lines them up, whatever the sample's shape,
    and a stripe is what sticks out of its neighbours (Vo, Atwood and Drakopoulos, Optics Express 26, 28396
    (2018), algorithm 3). The window is at least twice as wide as the widest stripe; structure that is
    concentric with the rotation axis and narrower than half of it goes, too.

    Raises
    ------
    InputError
        A window that is not positive, or wider than the image.
    """
    data = np.asarray(sinograms, dtype=np.float32)
    columns = data.shape[-1]
    if not 1 <= window_px <= columns:
        raise InputError("ring filter", expected=f"a window of 1 to {columns} px", found=f"{window_px} px")
    if data.ndim == 2:
        return _clean_sinogram(data, window_px)
    cleaned = np.empty_like(data)
    for row, sinogram in enumerate(data):
        cleaned[row] = _clean_sinogram(sinogram, window_px)
    return cleaned


def _clean_sinogram(sinogram: NDArray[np.float32], window_px: int) -> NDArray[np.float32]:
    order = np.argsort(sinogram, axis=0, kind="stable")
    ranked = np.take_along_axis(sinogram, order, axis=0)
    smooth = scipy.ndimage.median_filter(ranked, size=(1, window_px), mode="reflect")
    cleaned = np.empty_like(sinogram)
    np.put_along_axis(cleaned, order, smooth, axis=0)
    return cleaned
