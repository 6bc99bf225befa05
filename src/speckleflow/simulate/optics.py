"""Small pieces of image formation on periodic, oversampled grids: blur, shift, binning, the beam's geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.physics import phase_gradient_per_px, wavelength_m


@dataclass(frozen=True)
class Beam:
    """A parallel, monochromatic beam and the detector's sampling of it.

    Attributes
    ----------
    energy_kev : photon energy in keV.
    pixel_size_m : pixel size in m.
    distance_m : distance from sample to detector in m.
    source_blur_m : standard deviation in m, at the detector, of the blur by the finite source (partial coherence).
    """

    energy_kev: float
    pixel_size_m: float
    distance_m: float
    source_blur_m: float = 0.0

    @property
    def fresnel_number(self) -> float:
        """p^2 / (lambda d) of one pixel."""
        return self.pixel_size_m**2 / (wavelength_m(self.energy_kev) * self.distance_m)

    @property
    def phase_per_px(self) -> float:
        """Phase difference in rad between neighbouring pixels for a displacement of 1 px (physics.md)."""
        return phase_gradient_per_px(self.energy_kev, self.pixel_size_m, self.distance_m)

    @property
    def wavenumber_m(self) -> float:
        """2 pi / lambda in rad/m."""
        return 2 * math.pi / wavelength_m(self.energy_kev)

    @property
    def source_blur_px(self) -> float:
        """Source blur in pixels (standard deviation)."""
        return self.source_blur_m / self.pixel_size_m


def frequencies(shape: tuple[int, int], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Frequencies (fy, fx) in cycles per sample of ``rfft2`` of an image of ``shape``, as (y, 1) and (1, x)."""
    height, width = shape
    fy = torch.fft.fftfreq(height, dtype=torch.float64, device=device)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)[None, :]
    return fy, fx


def gaussian_blur_periodic(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur (standard deviation in samples) of periodic images (..., y, x), exact in Fourier space."""
    if sigma == 0:
        return image
    shape = (image.shape[-2], image.shape[-1])
    fy, fx = frequencies(shape, image.device)
    transfer = torch.exp(-2 * (math.pi * sigma) ** 2 * (fy**2 + fx**2)).to(image.dtype)
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=shape)


def shift_periodic(image: Tensor, shift_y: float, shift_x: float) -> Tensor:
    """Periodic image (y, x) moved by a sub-sample shift: result(y, x) = image(y - shift_y, x - shift_x)."""
    shape = (image.shape[-2], image.shape[-1])
    fy, fx = frequencies(shape, image.device)
    phase = torch.exp(-2j * math.pi * (fy * shift_y + fx * shift_x)).to(torch.complex64)
    return torch.fft.irfft2(torch.fft.rfft2(image) * phase, s=shape)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur (standard deviation in samples) of images (..., y, x) by a kernel cut at 4 sigma.

    The outermost sample continues beyond the border.
    """
    if sigma == 0:
        return image
    reach = max(1, math.ceil(4 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(image.dtype).to(image.device)
    planes = image.reshape(-1, 1, *image.shape[-2:])
    planes = torch.nn.functional.pad(planes, (reach, reach, reach, reach), mode="replicate")
    planes = torch.nn.functional.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = torch.nn.functional.conv2d(planes, kernel.view(1, 1, 1, -1))
    return planes.reshape(image.shape)


def bin_mean(image: Tensor, factor: int) -> Tensor:
    """Mean over ``factor`` x ``factor`` samples: (..., y, x) to (..., y / factor, x / factor)."""
    if factor == 1:
        return image
    *lead, height, width = image.shape
    blocks = image.reshape(*lead, height // factor, factor, width // factor, factor)
    return blocks.mean(dim=(-3, -1))
