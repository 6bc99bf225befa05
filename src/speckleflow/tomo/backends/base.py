"""The contract that every backend keeps, and the work they share: checks, weights, filtering."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError
from speckleflow.tomo.filters import DEFAULT, ramp, window
from speckleflow.tomo.geometry import angular_weights

Float = NDArray[np.float32]


#: Half the part of the padding over which one edge's value passes into the other's, inverted.
EDGE_STEEPNESS = 2.0


class Backend(ABC):
    """Reconstruction of many sinograms of one geometry; whatever depends on that alone is kept.

    Parameters
    ----------
    angles_deg : (angle,) rotation in degrees, counter-clockwise seen from above (negate those of a clockwise
        scan); any order and spacing, over 180 or 360 degrees (see :mod:`speckleflow.tomo.geometry`).
    columns : detector columns W.
    axis_px : detector column of the rotation axis, pixel centres at integers.
    filter : ``ramlak``, ``shepp``, ``hann`` or ``parzen``.
    threads : CPU threads; they change no bit of the result, for each slice (or pair of slices) has one thread.
    device : ``cpu`` or ``cuda``.
    padding : beyond the detector, ``zero``: the air about a sample that is all in view; ``edge``: the outer column's
        value, of a sample that is not, whose slices would else be too high towards the rim (cupping).

    Raises
    ------
    InputError
        Angles that are not a list of finite numbers, fewer than 2 columns, an axis outside the image, or a
        device that the backend does not have.
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    #: Whether the slices of a sum of sinograms are the sum of their slices, as their noise is stated by.
    linear: ClassVar[bool] = True

    def __init__(
        self,
        angles_deg: ArrayLike,
        columns: int,
        axis_px: float,
        filter: str = DEFAULT,
        *,
        threads: int = 2,
        device: str = "cpu",
        padding: str = "zero",
    ) -> None:
        angles = np.asarray(angles_deg, dtype=np.float64)
        if angles.ndim != 1 or angles.size == 0 or not np.isfinite(angles).all():
            raise InputError(
                "angles", expected="a list of finite degrees, shape (angle,)", found=_describe(angles)
            )
        if columns < 2:
            raise InputError("sinogram", expected="at least 2 columns", found=f"{columns}")
        if not 0 <= axis_px <= columns - 1:
            raise InputError(
                "rotation axis",
                expected=f"inside the image, 0 to {columns - 1} px",
                found=f"{axis_px:g} px",
                hint="pixel centres lie at integers, the image centre at (W - 1)/2",
            )
        if device not in self.devices:
            raise InputError(
                f"backend {self.name}", expected=f"device {' or '.join(self.devices)}", found=device
            )
        self.angles_deg, self.columns, self.axis_px = angles, int(columns), float(axis_px)
        self.filter, self.threads, self.device = filter, int(threads), device
        self.padding = padding
        #: of the last call, in sum over its slices: what the method counts of its work
        self.counts: dict[str, int] = {}
        #: weight of each projection in radians
        self.weights = angular_weights(angles)
        # The ramp couples detector and slice pixels up to `reach` apart; twice that keeps the periodic
        # convolution free of wrap-around everywhere inside the circle about the axis.
        reach = max(self.axis_px, columns - 1 - self.axis_px) + columns / 2
        self.padded = even_fast_length(int(np.ceil(2 * reach)))
        self.transfer = ramp(self.padded) * window(filter, self.padded)
        self._set_up()

    @classmethod
    def stopping_rule(cls) -> str:
        """When an iterative method stops, in words; empty for the others."""
        return ""

    @abstractmethod
    def _set_up(self) -> None:
        """Prepare what depends on the geometry alone."""

    def __call__(self, sinograms: ArrayLike) -> Float:
        """Slices (row, y, x) from sinograms (row, angle, x), both float32; values are per pixel.

        Line integrals given in (unit x pixel) come back in that unit: divide by the pixel size in m for 1/m.

        Raises
        ------
        InputError
            The shape does not fit the geometry, or a value is not finite.
        """
        array = np.ascontiguousarray(sinograms, dtype=np.float32)
        expected = (self.angles_deg.size, self.columns)
        if array.ndim != 3 or array.shape[1:] != expected:
            raise InputError(
                "sinograms", expected=f"shape (row, {expected[0]} angles, {expected[1]} columns)",
                found=f"shape {array.shape}",
            )  # fmt: skip
        if not np.isfinite(array).all():
            raise InputError(
                "sinograms", expected="finite values",
                found=f"{np.count_nonzero(~np.isfinite(array))} NaN or infinite value(s)",
            )  # fmt: skip
        slices = np.empty((array.shape[0], self.columns, self.columns), np.float32)
        self._reconstruct(array, slices)
        return slices

    @abstractmethod
    def _reconstruct(self, sinograms: Float, slices: Float) -> None:
        """Fill ``slices`` (row, y, x) from checked ``sinograms`` (row, angle, x), a few rows at a time."""

    def spectrum(self, sinograms: Float) -> NDArray[np.complex64]:
        """Transform (..., frequency) of sinograms (..., x), padded to ``padded`` columns."""
        if self.padding == "edge":
            columns = sinograms.shape[-1]
            # from the last column's value to the first one's, which follows it in the period
            part = np.linspace(-1, 1, self.padded - columns, dtype=np.float32)
            part = np.clip(0.5 + EDGE_STEEPNESS * part, 0, 1)
            beyond = (1 - part) * sinograms[..., -1:] + part * sinograms[..., :1]
            sinograms = np.concatenate([sinograms, beyond], axis=-1)
        return np.asarray(scipy.fft.rfft(sinograms, self.padded, axis=-1))

    def filtered(self, sinograms: Float) -> Float:
        """Sinograms convolved with the windowed ramp and multiplied by the angular weights."""
        spectrum = self.spectrum(sinograms)
        spectrum *= (self.weights[:, None] * self.transfer).astype(np.float32)
        back = scipy.fft.irfft(spectrum, self.padded, axis=-1)
        return np.ascontiguousarray(back[..., : self.columns])


def even_fast_length(least: int) -> int:
    """The smallest even length of a fast real FFT that is not below ``least``."""
    return 2 * int(scipy.fft.next_fast_len((least + 1) // 2, real=True))


def _describe(array: NDArray[np.float64]) -> str:
    if array.ndim != 1 or array.size == 0:
        return f"shape {array.shape}"
    return f"{np.count_nonzero(~np.isfinite(array))} NaN or infinite value(s)"
