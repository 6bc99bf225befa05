"""The grid that the wave is solved on: the image, padded by its border, resampled to the speckle's bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.wave.optics import good_size

#: share of the image that is added on each side, and the most pixels that are: light bends less far
PADDING, MOST_PADDING_PX = 0.15, 48
#: samples over the shorter coherence length: 6 / sqrt(pi / 2), so that the band of IOTF (eq. 5) is covered
SAMPLES_PER_COHERENCE = 6 / math.sqrt(math.pi / 2)
#: narrowest and widest sample in pixels
SAMPLE_PX = (0.5, 2.0)
#: share of the image, inside its border, over which the camera mask rises to 1
TAPER = 0.045


@dataclass(frozen=True)
class Grid:
    """Image of ``shape`` (y, x) in the middle of ``padded`` pixels, resampled to ``samples``."""

    shape: tuple[int, int]
    padded: tuple[int, int]
    samples: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, int], width_px: tuple[float, float]) -> Grid:
        """Grid for samples of about ``width_px`` (y, x) pixels."""
        widths = [min(max(w, SAMPLE_PX[0]), SAMPLE_PX[1]) for w in width_px]
        padded = [good_size(n + 2 * min(math.ceil(PADDING * n), MOST_PADDING_PX), 2) for n in shape]
        samples = [good_size(math.ceil(n / w), 2) for n, w in zip(padded, widths, strict=True)]
        return cls(shape, (padded[0], padded[1]), (samples[0], samples[1]))

    @property
    def width_px(self) -> tuple[float, float]:
        """Width (y, x) of a sample in pixels."""
        return self.padded[0] / self.samples[0], self.padded[1] / self.samples[1]

    @property
    def _margins(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom."""
        (height, width), (tall, wide) = self.shape, self.padded
        left, top = (wide - width) // 2, (tall - height) // 2
        return left, wide - width - left, top, tall - height - top

    def pad(self, images: Tensor) -> Tensor:
        """Images (..., y, x) with their border repeated around them, (..., padded)."""
        flat = images.reshape(1, -1, *images.shape[-2:])
        padded = torch.nn.functional.pad(flat, self._margins, mode="replicate")[0]
        return padded.reshape(*images.shape[:-2], *self.padded)

    def forth(self, images: Tensor) -> Tensor:
        """Images (..., y, x) on the grid, (..., samples)."""
        return self.resample(self.pad(images))

    def resample(self, padded: Tensor) -> Tensor:
        """Padded images on the grid."""
        return resampled(padded, self.samples)

    def back(self, images: Tensor) -> Tensor:
        """Images (..., samples) on the pixels of the image, (..., y, x)."""
        left, _, top, _ = self._margins
        whole = resampled(images, self.padded)
        return whole[..., top : top + self.shape[0], left : left + self.shape[1]]

    def mask(self) -> Tensor:
        """Camera mask on the grid: 1 inside the image, tapered to 0 towards its border."""
        left, right, top, bottom = self._margins
        rows = _taper(self.shape[0], top, bottom, self.samples[0])
        columns = _taper(self.shape[1], left, right, self.samples[1])
        return (rows[:, None] * columns[None, :]).to(torch.float32)


def _taper(n: int, before: int, after: int, samples: int) -> Tensor:
    """Raised cosine along one axis, at the samples' places."""
    whole = n + before + after
    place = torch.arange(samples, dtype=torch.float64) * whole / samples - before
    inside = torch.minimum(place, n - 1 - place) / (TAPER * n)
    return (1 - torch.cos(math.pi * inside.clamp(0, 1))) / 2


def resampled(images: Tensor, samples: tuple[int, int]) -> Tensor:
    """Periodic real images (..., y, x) at another number of samples, by cutting or filling their spectrum."""
    height, width = images.shape[-2:]
    if (height, width) == samples:
        return images
    spectrum = torch.fft.rfft2(images)
    rows, columns = samples
    keep_y, keep_x = min(height, rows) // 2, min(width, columns) // 2
    out = spectrum.new_zeros(*spectrum.shape[:-2], rows, columns // 2 + 1)
    out[..., :keep_y, :keep_x] = spectrum[..., :keep_y, :keep_x]
    out[..., -keep_y + 1 :, :keep_x] = spectrum[..., -keep_y + 1 :, :keep_x]
    return torch.fft.irfft2(out, s=samples) * (rows * columns / (height * width))
