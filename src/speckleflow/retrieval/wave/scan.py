"""The optics of a scan from its reference frames, ready for the iterations of :mod:`.solver`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.wave.coherence import blur_of
from speckleflow.retrieval.wave.grid import SAMPLES_PER_COHERENCE, Grid, resampled
from speckleflow.retrieval.wave.illumination import coherent_intensity, diffuser
from speckleflow.retrieval.wave.optics import Planes, fresnel_transfer, gaussian_transfer
from speckleflow.retrieval.wave.solver import Optics
from speckleflow.scan.acquisition import Acquisition


@dataclass(frozen=True)
class ScanOptics:
    """Shape (N, y, x) of the reference, its mean, grid, optics on it, and coherence lengths (y, x) in samples."""

    shape: tuple[int, int, int]
    level: float
    grid: Grid
    optics: Optics
    coherence: tuple[float, float]

    @classmethod
    def of(cls, reference: Tensor, acquisition: Acquisition, coherence_px: tuple[float, float]) -> ScanOptics:
        """From reference frames (N, y, x) and the coherence lengths (y, x) in pixels.

        Raises
        ------
        InputError
            Distances or a field of view for which the propagation cannot be sampled.
        """
        n, height, width = reference.shape
        level = float(reference.mean())
        grid = Grid.of(
            (height, width),
            (coherence_px[0] / SAMPLES_PER_COHERENCE, coherence_px[1] / SAMPLES_PER_COHERENCE),
        )
        coherence = coherence_px[0] / grid.width_px[0], coherence_px[1] / grid.width_px[1]
        sample_m = metres(grid.width_px, acquisition)
        planes = Planes.of(acquisition)

        def transfer(distance: float) -> Tensor:
            made = fresnel_transfer(grid.samples, sample_m, acquisition.wavelength_m, distance)
            return made.to(reference.device)

        def blur(shape: tuple[int, int], lengths: tuple[float, float]) -> Tensor:
            return gaussian_transfer(shape, (blur_of(lengths[0]), blur_of(lengths[1]))).to(reference.device)

        after = transfer(planes.after_m)
        # in pixels, where the highest frequencies hold the noise
        sharp = coherent_intensity(grid.pad(reference / level), blur(grid.padded, coherence_px))
        optics = Optics(
            diffuser(resampled(sharp, grid.samples).clamp_min(0), after),
            transfer(planes.before_m) if planes.before_m else None,
            after,
            blur(grid.samples, coherence),
            grid.mask().to(reference.device),
        )
        return cls((n, height, width), level, grid, optics, coherence)

    def inverse_square(self, floor_px: float) -> Tensor:
        """1 / (k^2 + floor^2), k in cycles a sample and 0 at k = 0, on the grid of rfft2; floor in cycles a pixel."""
        wide = self.grid.width_px
        fy, fx = self._frequencies()
        square = fy**2 + fx**2 + floor_px**2 * wide[0] * wide[1]
        inverse = 1 / square.clamp_min(1e-12)
        inverse[0, 0] = 0
        return inverse.to(self.optics.mask.device, torch.float32)

    def beyond_band(self, gamma: float) -> Tensor:
        """1 - STF (eq. 14, 15) on the grid of rfft2."""
        fy, fx = self._frequencies()
        square = (fy * self.coherence[0]) ** 2 + (fx * self.coherence[1]) ** 2
        return (1 - torch.exp(-torch.pi * gamma * square)).to(self.optics.mask.device, torch.float32)

    def _frequencies(self) -> tuple[Tensor, Tensor]:
        fy = torch.fft.fftfreq(self.grid.samples[0], dtype=torch.float64)[:, None]
        fx = torch.fft.rfftfreq(self.grid.samples[1], dtype=torch.float64)[None, :]
        return fy, fx


def metres(width_px: tuple[float, float], acquisition: Acquisition) -> tuple[float, float]:
    """Widths (y, x) in pixels as metres in the sample plane."""
    assert acquisition.pixel_y_m is not None
    assert acquisition.pixel_x_m is not None
    return width_px[0] * acquisition.pixel_y_m, width_px[1] * acquisition.pixel_x_m
