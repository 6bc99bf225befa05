"""Noise of a sinogram, white or correlated along the detector, from the sinogram alone.

A projection minus what its neighbours in angle predict of it (:mod:`.voxel_errors`) is noise at the low frequencies
nu of the detector, where a sample of radius R has few angular harmonics (the bow tie: up to 2 pi R nu), and noise and
sample at the high ones. Noise of detectors is white, and that of an integrated phase falls with the frequency: the
power at a frequency is never above the power at a lower one. The least power of the differences at or below each
frequency is therefore a tight upper bound of the noise at it, and the sum of these its variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.tomo.voxel_errors import LEAST_PROJECTIONS, predictor

#: Numbers of a power that are averaged: frequencies times angles; the least of several averages is then 10 % low.
_AVERAGED = 120
#: Projections at either end that are predicted from one side alone, badly, and do not count.
_ENDS = 2


def sinogram_noise(sinogram: ArrayLike, angles_deg: ArrayLike) -> float:
    """Standard deviation of the noise of a sinogram (angle, column); 0 for fewer than three angles."""
    values = np.asarray(sinogram, np.float64)
    angles = np.asarray(angles_deg, np.float64)
    if len(values) < LEAST_PROJECTIONS:
        return 0.0
    order = np.argsort(angles, kind="stable")
    values, angles = values[order], angles[order]
    differences = np.empty_like(values)
    for place in range(len(values)):
        near, weights = predictor(angles, place)
        rest = values[place] - np.tensordot(weights, values[near], 1)
        differences[place] = rest / np.sqrt(1 + np.sum(weights**2))
    if len(values) > 3 * _ENDS:
        differences = differences[_ENDS:-_ENDS]
    return float(np.sqrt(_least_power(differences).mean()))


def _least_power(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running minimum, from frequency 0 up, of the power (frequency,) of differences (angle, column)."""
    count, columns = differences.shape
    power = np.abs(np.fft.fft(differences, axis=1)[:, : columns // 2 + 1]) ** 2 / columns
    mean = power.mean(0)
    width = min(len(mean), max(1, _AVERAGED // count))
    sums = np.concatenate([[0.0], np.cumsum(mean)])
    last = np.minimum(np.arange(len(mean)) + width, len(mean))
    first = np.maximum(last - width, 0)
    smooth = (sums[last] - sums[first]) / (last - first)
    return np.asarray(np.minimum.accumulate(smooth))
