"""Fresnel propagation and detection as linear operators with their adjoints, on periodic grids.

The wave goes as exp(+ikz) (physics.md). Grids are (..., y, x); sample widths may differ in y and x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.scan.acquisition import Acquisition
from speckleflow.scan.geometry import plane_distances


def fresnel_transfer(
    shape: tuple[int, int], sample_m: tuple[float, float], wavelength_m: float, distance_m: float
) -> Tensor:
    """Transfer function exp(-i pi lambda d f^2), complex64 (y, x), of Fresnel propagation over a distance.

    Parameters
    ----------
    shape : samples (y, x) of the periodic grid.
    sample_m : width (y, x) of a sample in m.
    wavelength_m : wavelength in m.
    distance_m : distance in m (negative: back towards the source).

    Raises
    ------
    InputError
        The transfer function is under-sampled: samples * width^2 < lambda d along an axis.
    """
    for n, width, axis in zip(shape, sample_m, "yx", strict=True):
        if n * width**2 < wavelength_m * abs(distance_m):
            raise InputError(
                "Fresnel propagation",
                expected=f"a field of view of at least lambda d / p = "
                f"{wavelength_m * abs(distance_m) / width * 1e6:.3g} um along {axis}",
                found=f"{n * width * 1e6:.3g} um ({n} samples of {width * 1e6:.3g} um)",
                hint="use more rows and columns, or check energy, pixel size and distances",
            )
    fy, fx = (
        torch.fft.fftfreq(n, d=width, dtype=torch.float64) for n, width in zip(shape, sample_m, strict=True)
    )
    turn = -math.pi * wavelength_m * distance_m * (fy[:, None] ** 2 + fx[None, :] ** 2)
    return torch.polar(torch.ones_like(turn), turn).to(torch.complex64)


def gaussian_transfer(shape: tuple[int, int], sigma: tuple[float, float]) -> Tensor:
    """Transfer function (y, x // 2 + 1) for ``rfft2`` of a Gaussian of standard deviation (y, x) in samples."""
    fy = torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None] * sigma[0]
    fx = torch.fft.rfftfreq(shape[1], dtype=torch.float64)[None, :] * sigma[1]
    return torch.exp(-2 * math.pi**2 * (fy**2 + fx**2)).to(torch.float32)


def filtered(images: Tensor, transfer: Tensor) -> Tensor:
    """Real images (..., y, x) times a real transfer function in the Fourier plane (its own adjoint)."""
    return torch.fft.irfft2(torch.fft.rfft2(images) * transfer, s=(images.shape[-2], images.shape[-1]))


def propagated(wave: Tensor, transfer: Tensor) -> Tensor:
    """Complex wave (..., y, x) through a transfer function (y, x); the adjoint takes its conjugate."""
    return torch.fft.ifft2(torch.fft.fft2(wave) * transfer)


def intensity(wave: Tensor) -> Tensor:
    """|wave|^2."""
    return wave.real.square() + wave.imag.square()


def good_size(least: int, multiple: int = 1) -> int:
    """The smallest length of at least ``least`` that a fast Fourier transform likes: factors 2, 3 and 5 alone."""
    size = -(-least // multiple) * multiple
    while True:
        rest = size // multiple if multiple > 1 else size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += multiple


@dataclass(frozen=True)
class Planes:
    """The way from sample to detector: sample, ``before_m`` to the diffuser, ``after_m`` to the detector.

    A diffuser in front of the sample is seen as the wave that it makes in the sample's plane: ``before_m`` is 0.
    Both distances are effective ones (a divergent beam's divided by the magnification).
    """

    before_m: float
    after_m: float

    @classmethod
    def of(cls, acquisition: Acquisition) -> Planes:
        """From the distances of a scan.

        Raises
        ------
        InputError
            The diffuser stands behind the detector.
        """
        assert acquisition.distance_m is not None
        return cls(
            *plane_distances(
                acquisition.distance_m, acquisition.diffuser_distance_m, acquisition.magnification or 1.0
            )
        )
