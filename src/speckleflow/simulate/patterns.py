"""Patterns and waves of random modulators for training, simulated once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.physics import wavelength_m
from speckleflow.simulate.draw import Draw
from speckleflow.simulate.modulators import KINDS, Modulator, cast_pattern, modulated_wave
from speckleflow.simulate.optics import Beam
from speckleflow.simulate.trajectories import trajectory

#: Samples per pixel and side of a pattern: no finer detail passes the detector's blur and its pixel.
OVERSAMPLING = 2
#: Samples per pixel and side of a wave: its phase must not turn by more than pi between two of them.
WAVE_OVERSAMPLING = 4


class IncidentWave(NamedTuple):
    """A wave (y, x) just behind a modulator, periodic and of mean intensity 1, its pitch in px, and its beam."""

    wave: Tensor
    pitch_px: float
    beam: Beam


class PatternBank:
    """Patterns of coded masks, sandpapers and checkerboard gratings, oversampled, and their pitches in pixels.

    Parameters
    ----------
    generator : every random number; its device is that of the patterns.
    patterns : number of patterns.
    size_px : side of a pattern in pixels.
    pitch_px : range of the pitch in pixels, drawn log-uniformly.
    waves : number of waves for wave-optical scenes.
    """

    def __init__(
        self,
        generator: torch.Generator,
        patterns: int = 48,
        size_px: int = 384,
        pitch_px: tuple[float, float] = (3.0, 30.0),
        waves: int = 9,
    ) -> None:
        self.device, self.pitch_px = generator.device, pitch_px
        drawn = [self._draw(generator, index, size_px) for index in range(patterns)]
        self.images = [image for image, _ in drawn]
        self.pitches = [pitch for _, pitch in drawn]
        self._waves = generator.clone_state(), waves

    @cached_property
    def waves(self) -> list[IncidentWave]:
        """Waves behind modulators of their own; made when the first wave-optical scene asks for them."""
        generator, count = self._waves
        return [self._draw_wave(generator, index) for index in range(count)]

    def _optics(self, draw: Draw, index: int, spreads: tuple[float, float]) -> tuple[Modulator, Beam, float]:
        """A modulator and a beam of 10-40 keV, pixels of 0.7-7 um, and lambda d / p^2 within ``spreads``."""
        pitch = draw.log_uniform(*self.pitch_px)
        pixel = draw.log_uniform(0.7e-6, 7e-6)
        energy = draw.log_uniform(10.0, 40.0)
        distance = draw.log_uniform(*spreads) * pixel**2 / wavelength_m(energy)
        beam = Beam(energy, pixel, distance, draw.uniform(0.2, 0.6) * pixel)
        modulator = Modulator.usual(KINDS[index % len(KINDS)], pitch * pixel, 1e-6)
        # Thickness by its effect: phase shift 0.5 to 6 rad for grains, attenuation 0.2 to 3 for absorbers.
        if modulator.kind == "sandpaper":
            thickness = draw.log_uniform(0.5, 6.0) / (beam.wavenumber_m * modulator.material.delta(energy))
        else:
            thickness = draw.log_uniform(0.2, 3.0) / modulator.material.mu(energy)
        return Modulator(modulator.kind, modulator.pitch_m, modulator.material, thickness), beam, pitch

    def _draw(self, generator: torch.Generator, index: int, size_px: int) -> tuple[Tensor, float]:
        """A pattern: from a shadow to several fringes, its diffraction no wider than a fifth of the field."""
        modulator, beam, pitch = self._optics(Draw(generator), index, (0.03, 3.0))
        pattern = cast_pattern(modulator, beam, (size_px, size_px), generator, OVERSAMPLING)
        return pattern.intensity, pitch

    def _draw_wave(self, generator: torch.Generator, index: int) -> IncidentWave:
        modulator, beam, pitch = self._optics(Draw(generator), index, (0.3, 3.0))
        wave = modulated_wave(modulator, beam, (256, 256), generator, WAVE_OVERSAMPLING)
        return IncidentWave(wave / wave.abs().square().mean().sqrt(), pitch, beam)

    def stack(self, generator: torch.Generator, n: int, side: int) -> Tensor:
        """One random pattern at n diffuser positions: (n, side, side) samples, mean about 1."""
        draw = Draw(generator)
        which = draw.integer(0, len(self.images))
        stack = crops(draw, self.images[which], self.pitches[which], n, side, OVERSAMPLING)
        return stack.transpose(1, 2) if draw.chance(0.5) else stack


def crops(draw: Draw, canvas: Tensor, pitch_px: float, n: int, side: int, oversampling: int) -> Tensor:
    """Pieces (n, side, side) of a periodic canvas (y, x), as ``n`` positions of a modulator show them."""
    kinds: Sequence[str] = ("diagonal", "grid", "random")
    kind = kinds[draw.integer(0, len(kinds))]
    step = pitch_px * draw.uniform(0.3, 2.0)
    cpu = torch.Generator().manual_seed(draw.integer(0, 2**31))
    path = trajectory(kind, n, step, cpu, jitter=0.05 * step)  # type: ignore[arg-type]
    origin = torch.rand(2, generator=cpu, dtype=torch.float64) * canvas.shape[0]
    first = (origin + path * oversampling).round().long().to(canvas.device)
    reach = torch.arange(side, device=canvas.device)
    y = (first[:, 0, None] + reach) % canvas.shape[0]
    x = (first[:, 1, None] + reach) % canvas.shape[1]
    return canvas[y[:, :, None], x[:, None, :]]
