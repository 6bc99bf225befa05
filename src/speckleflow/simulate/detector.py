"""The detector: photons to counts, with everything a correction has to undo."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speckleflow.config.models import SimulatedDetector

SATURATION = 65535  #: largest count of a 16-bit camera
#: Fixed pattern of a scientific camera: response of the pixels, and their offsets as a share of the dark
#: level.
RESPONSE_STD, OFFSET_STD = 0.01, 0.02
#: Fall of the beam from the middle to the corners.
BEAM_FALL = 0.3
#: Dark signal of the hot pixels, as a share of SATURATION.
HOT_RANGE = (0.1, 1.0)


def seeded(seed: int, *stream: int) -> torch.Generator:
    """An independent generator for each (seed, stream...): any frame can be made without those before it."""
    state = np.random.SeedSequence([abs(seed), int(seed < 0), *stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) & (2**63 - 1))


class Detector:
    """One camera in one beam: its fixed pattern is drawn once, its noise for every frame.

    Attributes
    ----------
    beam : empty beam (y, x), mean 1: an off-centre Gaussian that falls by BEAM_FALL.
    hot, dead : (k, 2) places (y, x) of the bad pixels.
    """

    def __init__(
        self, settings: SimulatedDetector, rows: int, columns: int, generator: torch.Generator
    ) -> None:
        self.settings, self.shape = settings, (rows, columns)
        y = torch.linspace(-1, 1, rows)[:, None] - 0.2
        x = torch.linspace(-1, 1, columns)[None, :] + 0.15
        beam = torch.exp(math.log(1 - BEAM_FALL) * (y**2 + x**2) / 2)
        self.beam = beam / beam.mean()
        self._response = 1 + RESPONSE_STD * torch.randn(rows, columns, generator=generator)
        self._offset = settings.dark_counts * (
            1 + OFFSET_STD * torch.randn(rows, columns, generator=generator)
        )
        order = torch.randperm(rows * columns, generator=generator)[
            : settings.hot_pixels + settings.dead_pixels
        ]
        places = torch.stack([order // columns, order % columns], dim=1)
        self.hot, self.dead = places[: settings.hot_pixels], places[settings.hot_pixels :]
        low, high = HOT_RANGE
        share = low + (high - low) * torch.rand(len(self.hot), generator=generator)
        self._offset[self.hot[:, 0], self.hot[:, 1]] += share * SATURATION

    def expose(
        self, intensity: Tensor | None, generator: torch.Generator, flux: float = 1.0, frames: int = 1
    ) -> NDArray[np.uint16]:
        """Raw frames (frames, y, x) of an intensity (y, x), 1 = empty beam before its shape; None: a dark.

        Poisson photons, pixel response, gain, offset, Gaussian read noise, rounding, 16-bit saturation.
        """
        shape = (frames, *self.shape)
        counts = self._offset + self.settings.read_noise_counts * torch.randn(shape, generator=generator)
        if intensity is not None:
            expected = (self.settings.photons * flux * intensity.cpu() * self.beam).clamp_min(0)
            photons = torch.poisson(expected.expand(shape), generator=generator)
            counts = counts + photons * self._response / self.settings.gain
        counts[:, self.dead[:, 0], self.dead[:, 1]] = 0
        return counts.round().clamp(0, SATURATION).to(torch.int32).numpy().astype(np.uint16)
