"""Fourier shell correlation of two volumes of half the data each: to what detail they agree.

M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), doi:10.1016/j.jsb.2005.05.009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError

Array = NDArray[np.float64]

#: Thresholds by name: bits of information per voxel of the whole data set, or the constant 1/7 (0.143).
THRESHOLDS: dict[str, float | None] = {"half-bit": 0.5, "quarter-bit": 0.25, "1/7": None}
_CONSTANT = 1 / 7


@dataclass(frozen=True)
class ShellCorrelation:
    """Correlation of each shell.

    Attributes
    ----------
    frequency : middle of each shell in cycles per voxel, up to the Nyquist frequency 0.5.
    correlation : from -1 to 1.
    independent : complex coefficients of a shell that are independent: of a Hermitian pair one counts, and fewer
        where a window smooths the spectrum. The correlation of white noise scatters by 1 / sqrt(2 independent).
    """

    frequency: Array
    correlation: Array
    independent: Array

    def threshold(self, name: str) -> Array:
        """What the correlation exceeds where a voxel holds more than 1/2 or 1/4 bit, or 1/7; see ``THRESHOLDS``."""
        bits = THRESHOLDS[name]
        if bits is None:
            return np.full(len(self.frequency), _CONSTANT)
        ratio = (2**bits - 1) / 2  # signal to noise of half the data
        cross, noise = 2 * np.sqrt(ratio / self.independent), 1 / np.sqrt(self.independent)
        return (ratio + cross + noise) / (ratio + 1 + cross)

    def resolution_voxels(self, name: str) -> float:
        """Period in voxels at which the correlation falls below a threshold in two shells in a row.

        inf where it never exceeds it; 2 (the sampling) where it stays above.
        """
        above = self.correlation - self.threshold(name)
        below = np.flatnonzero((above < 0) & (np.append(above[1:], above[-1]) < 0))
        # the threshold of the innermost shells is near 1, and few coefficients decide on them
        started = np.flatnonzero(above >= 0)
        if not len(started):
            return float("inf")
        below = below[below > started[0]]
        if not len(below):
            return 2.0
        i = int(below[0])
        share = above[i - 1] / (above[i - 1] - above[i]) if above[i - 1] >= 0 else 0.0
        return float(1 / (self.frequency[i - 1] + share * (self.frequency[i] - self.frequency[i - 1])))


def shell_correlation(first: ArrayLike, second: ArrayLike, *, edge: float = 0.15) -> ShellCorrelation:
    """Fourier shell correlation of two volumes (z, y, x) with cubic voxels.

    Parameters
    ----------
    first, second : of one shape, made of independent halves of the data.
    edge : part of each side over which a volume falls to 0 at either end, half a cosine, after its mean is taken off:
        what wraps around would else correlate. 0: none, for volumes that are periodic.

    Raises
    ------
    InputError
        Shapes differ or are not three axes of at least 8 voxels, values are not finite, or a volume is constant.
    """
    volumes = [np.asarray(volume, np.float64) for volume in (first, second)]
    shape = volumes[0].shape
    if len(shape) != 3 or min(shape) < 8 or volumes[1].shape != shape:
        raise InputError(
            "volumes",
            expected="two of one shape (z, y, x), at least 8 voxels along each axis",
            found=f"{shape} and {volumes[1].shape}",
        )
    if not all(np.isfinite(volume).all() for volume in volumes):
        raise InputError("volumes", expected="finite values", found="NaN or infinity")
    if not 0 <= edge <= 0.5:
        raise InputError("edge", expected="a part of the side from 0 to 0.5", found=str(edge))
    windows = [_window(n, edge) for n in shape]
    window = windows[0][:, None, None] * windows[1][:, None] * windows[2]
    # how far the window's own spectrum makes neighbouring coefficients one, along two of three axes: along the third,
    # across the shell, a neighbour belongs to another shell
    share = float(np.prod([(w**2).sum() ** 2 / (len(w) * (w**4).sum()) for w in windows])) ** (2 / 3)
    spectra = [np.fft.rfftn((v - np.average(v, weights=window)) * window) for v in volumes]
    side = max(shape)
    squares = [np.fft.fftfreq(n) ** 2 for n in shape[:2]] + [np.fft.rfftfreq(shape[2]) ** 2]
    radius = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    shell = np.rint(radius * side).astype(np.intp).ravel()
    # of a conjugate pair the half spectrum holds one, but both where the last index is 0 or the Nyquist frequency
    pairs = np.ones(shape[2] // 2 + 1)
    pairs[0] = 0.5
    if shape[2] % 2 == 0:
        pairs[-1] = 0.5
    weight = np.broadcast_to(pairs, radius.shape).ravel()

    def total(values: NDArray[Any]) -> Array:
        sums = np.bincount(shell, weight * values.ravel(), minlength=side)[1 : side // 2 + 1]
        return np.asarray(sums, np.float64)

    a, b = spectra
    cross = total((a * b.conj()).real)
    power = total(np.abs(a) ** 2) * total(np.abs(b) ** 2)
    count = total(np.ones(radius.shape))
    held = count > 0
    if not (power[held] > 0).any():
        raise InputError("volumes", expected="values that vary", found="a constant")
    ratio = np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)
    frequency = np.arange(1, side // 2 + 1) / side
    return ShellCorrelation(frequency[held], ratio[held], np.maximum(count[held] * share, 0.5))


def _window(n: int, edge: float) -> Array:
    """1 inside, half a cosine down to 0 over ``edge`` of the side at either end."""
    place = (np.arange(n) + 0.5) / n
    distance = np.minimum(place, 1 - place)
    if edge == 0:
        return np.ones(n)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.minimum(distance / edge, 1)))
