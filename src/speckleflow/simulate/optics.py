"""Small pieces of image formation on oversampled grids: the beam, blur, shift, binning."""

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
    source_blur_m : standard deviation in m, at the detector, of the blur by the finite source (partial
        coherence).
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
    """Frequencies (fy, fx) in cycles per sample of ``rfft2``, as (y, 1) and (1, x)."""
    height, width = shape
    fy = torch.fft.fftfreq(height, dtype=torch.float64, device=device)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)[None, :]
    return fy, fx


def gaussian_blur_periodic(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur (standard deviation in samples) of periodic images (..., y, x), exact."""
    if sigma == 0:
        return image
    shape = (image.shape[-2], image.shape[-1])
    fy, fx = frequencies(shape, image.device)
    transfer = torch.exp(-2 * (math.pi * sigma) ** 2 * (fy**2 + fx**2)).to(image.dtype)
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=shape)


def shift_spectrum(spectrum: Tensor, shape: tuple[int, int], shift_y: float, shift_x: float) -> Tensor:
    """Image (y, x) of ``shape`` from its ``rfft2``, moved by a sub-sample shift and periodic.

    result(y, x) = image(y - shift_y, x - shift_x).
    """
    fy, fx = frequencies(shape, spectrum.device)
    along_y, along_x = (torch.exp(-2j * math.pi * f * d) for f, d in ((fy, shift_y), (fx, shift_x)))
    moved = (spectrum * along_y.to(spectrum.dtype)).mul_(along_x.to(spectrum.dtype))
    return torch.fft.irfft2(moved, s=shape)


def shift_wave(wave: Tensor, places_px: list[tuple[float, float]], oversampling: int) -> Tensor:
    """Periodic complex wave (y, x) moved to each of N places (y, x) in pixels: (N, y, x)."""
    spectrum = torch.fft.fft2(wave)
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64, device=wave.device) for n in wave.shape)
    moved = []
    for y, x in places_px:
        along_y = torch.exp(-2j * math.pi * fy * y * oversampling).to(wave.dtype)[:, None]
        along_x = torch.exp(-2j * math.pi * fx * x * oversampling).to(wave.dtype)[None, :]
        moved.append(torch.fft.ifft2(spectrum * along_y * along_x))
    return torch.stack(moved)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur (standard deviation in samples) of images (..., y, x); at the border the kernel is cut.

    As products with the blocks of a band matrix: single-channel convolutions are several times slower on a CPU.
    """
    if sigma == 0:
        return image
    rows, columns = (LineBlur(n, 1, 0, sigma, image) for n in image.shape[-2:])
    return columns.along_x(rows.along_y(image))


class LineBlur:
    """What a line of detector pixels sees of its samples: Gaussian point spread, then the mean over each pixel.

    The line begins ``margin`` pixels before the first pixel; the point spread is cut at 5 sigma and its weights sum to
    1 within the line. Held as blocks of the band matrix (pixels, (pixels + 2 margin) * oversampling), most of
    which is 0.

    Parameters
    ----------
    pixels : of the line, without its margins.
    oversampling : samples a pixel.
    margin : pixels on each side.
    sigma : standard deviation of the point spread in samples.
    like : tensor whose type and device the blocks have.
    """

    def __init__(self, pixels: int, oversampling: int, margin: int, sigma: float, like: Tensor) -> None:
        self.pixels, self._samples = pixels, (pixels + 2 * margin) * oversampling
        self._blocks: list[tuple[slice, slice, Tensor]] = []
        reach = math.floor(5 * sigma)
        step = max(1, _BLOCK_SAMPLES // oversampling)
        for start in range(0, pixels, step):
            stop = min(pixels, start + step)
            first, last = (margin + start) * oversampling, (margin + stop) * oversampling
            seen = slice(max(0, first - reach), min(self._samples, last + reach))
            inner = torch.arange(first, last, dtype=torch.float64, device=like.device)
            place = torch.arange(seen.start, seen.stop, dtype=torch.float64, device=like.device)
            apart = inner[:, None] - place[None, :]
            inside = apart.abs() <= 5 * sigma
            kernel = torch.exp(-(apart**2) / (2 * sigma**2)) * inside if sigma else inside.to(torch.float64)
            kernel = kernel.reshape(stop - start, oversampling, -1).sum(1)
            kernel = (kernel / kernel.sum(1, keepdim=True)).to(like.dtype)
            self._blocks.append((slice(start, stop), seen, kernel))

    @property
    def matrix(self) -> Tensor:
        """The band matrix (pixels, samples)."""
        whole = self._blocks[0][2].new_zeros(self.pixels, self._samples)
        for pixels, samples, kernel in self._blocks:
            whole[pixels, samples] = kernel
        return whole

    def along_y(self, images: Tensor) -> Tensor:
        """Images (..., sample, x) to (..., pixel, x)."""
        result = images.new_empty(*images.shape[:-2], self.pixels, images.shape[-1])
        for pixels, samples, kernel in self._blocks:
            result[..., pixels, :] = kernel @ images[..., samples, :]
        return result

    def along_x(self, images: Tensor) -> Tensor:
        """Images (..., y, sample) to (..., y, pixel)."""
        result = images.new_empty(*images.shape[:-1], self.pixels)
        for pixels, samples, kernel in self._blocks:
            result[..., pixels] = images[..., samples] @ kernel.T
        return result


def blur_matrix(pixels: int, oversampling: int, margin: int, sigma: float, like: Tensor) -> Tensor:
    """The whole band matrix of a :class:`LineBlur`, for lines that are short: (pixels, samples), rows sum to 1."""
    return LineBlur(pixels, oversampling, margin, sigma, like).matrix


#: samples of the pixels of one block of a :class:`LineBlur`: a product of that size stays in the cache
_BLOCK_SAMPLES = 64


def bin_mean(image: Tensor, factor: int) -> Tensor:
    """Mean over ``factor`` x ``factor`` samples: (..., y, x) to (..., y / factor, x / factor)."""
    if factor == 1:
        return image
    *lead, height, width = image.shape
    means = torch.nn.functional.avg_pool2d(image.reshape(-1, height, width), factor)
    return means.reshape(*lead, height // factor, width // factor)


def corner_gradients(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient per sample (x and y, (side, side)) of a field at the corners: exact means along the samples' edges."""
    gx, gy = corners.diff(dim=1), corners.diff(dim=0)
    return (gx[:-1] + gx[1:]) / 2, (gy[:, :-1] + gy[:, 1:]) / 2


def corner_mean(corners: Tensor) -> Tensor:
    """Means over the four corners of each sample: (side, side)."""
    rows = corners[:-1] + corners[1:]
    return (rows[:, :-1] + rows[:, 1:]) / 4
