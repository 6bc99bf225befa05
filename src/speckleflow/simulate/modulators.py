"""Wavefront modulators (coded mask, sandpaper, checkerboard grating) and the intensity pattern they cast.

A modulator is a relief of a real material on a periodic canvas. The pattern at the detector is its Fresnel
diffraction, blurred by the finite source; because the illumination is a plane wave, moving the modulator
moves the pattern rigidly, so that one propagation serves every diffuser position and every sub-pixel shift
(Fourier shift).

API
---
``relief(kind, cells, samples_per_pitch, generator)``
    the relief alone, in units of the modulator's thickness, on a periodic canvas.
``Modulator(kind, pitch_m, material, thickness_m)``
    a modulator with a real pitch, material and thickness.
``cast_pattern(modulator, beam, field_px, generator, oversampling=4) -> Pattern``
    its pattern at the detector: mean 1, periodic, at least ``field_px`` detector pixels wide.
``Pattern.crop(rows, columns, position_yx_px=(0, 0), margin=0)``
    the piece that covers a detector of rows x columns (and a margin) with the modulator at a position,
    oversampled.
``thickness_for_visibility(...)``
    the thickness that gives a wanted visibility at the detector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from speckleflow.errors import ConfigError
from speckleflow.simulate.materials import Material, material
from speckleflow.simulate.optics import Beam, bin_mean, gaussian_blur_periodic, shift_spectrum
from speckleflow.simulate.wave import intensity, propagate, transmission_function

ModulatorKind = Literal["mask", "sandpaper", "grating"]
KINDS: tuple[ModulatorKind, ...] = get_args(ModulatorKind)

#: What such modulators are usually made of: electroplated gold masks and gratings, silicon-carbide paper.
USUAL_MATERIAL: dict[ModulatorKind, str] = {"mask": "gold", "sandpaper": "silicon carbide", "grating": "gold"}

#: Grain diameters of a sandpaper in units of its pitch: FEPA grades hold about half an octave around their
#: mean.
GRAIN_SIZES = (0.7, 0.85, 1.0, 1.2, 1.4)


@dataclass(frozen=True)
class Modulator:
    """A modulator.

    Attributes
    ----------
    kind : mask (random binary cells), sandpaper (grains of random size and place), grating (checkerboard).
    pitch_m : side of a mask's cell, mean diameter of a grain, or period of the checkerboard (two cells), in
        m.
    material : of mask, grains or grating.
    thickness_m : height of mask and grating, or of a grain of mean size, in m.
    """

    kind: ModulatorKind
    pitch_m: float
    material: Material
    thickness_m: float

    @classmethod
    def usual(cls, kind: ModulatorKind, pitch_m: float, thickness_m: float) -> Modulator:
        """A modulator of the material that its kind is usually made of."""
        return cls(kind, pitch_m, material(USUAL_MATERIAL[kind]), thickness_m)

    @property
    def correlation_m(self) -> float:
        """Shortest move in m after which the pattern is a new one (a grating: half a period, its longest
        move).
        """
        return self.pitch_m / 2 if self.kind == "grating" else self.pitch_m


@dataclass(frozen=True)
class Pattern:
    """A periodic intensity pattern at the detector (y, x), mean 1, before the detector's blur.

    ``oversampling`` samples a detector pixel; the canvas repeats after ``intensity.shape`` samples.
    """

    intensity: Tensor
    oversampling: int

    @cached_property
    def _spectrum(self) -> Tensor:
        return torch.fft.rfft2(self.intensity)

    def crop(
        self, rows: int, columns: int, position_yx_px: tuple[float, float] = (0.0, 0.0), margin: int = 0
    ) -> Tensor:
        """Oversampled intensity over a detector, with the modulator moved by ``position_yx_px`` pixels.

        Returns ((rows + 2 margin) s, (columns + 2 margin) s) with s = oversampling; the first sample is the
        corner of pixel (-margin, -margin). Where the canvas is too small it repeats.
        """
        s = self.oversampling
        height, width = self.intensity.shape
        # the canvas is periodic: moved by the margin as well, the field begins at its first sample
        shift_y, shift_x = ((place + margin) * s for place in position_yx_px)
        moved = shift_spectrum(self._spectrum, (height, width), shift_y, shift_x)
        y, x = (rows + 2 * margin) * s, (columns + 2 * margin) * s
        if y <= height and x <= width:
            return moved[:y, :x]
        return moved.index_select(0, torch.arange(y) % height).index_select(1, torch.arange(x) % width)

    def visibility(self, detector_blur_px: float = 0.0) -> float:
        """Standard deviation over mean of the pattern as a detector of this point spread sees it."""
        blurred = gaussian_blur_periodic(self.intensity, detector_blur_px * self.oversampling)
        height, width = (n // self.oversampling * self.oversampling for n in blurred.shape)
        seen = bin_mean(blurred[:height, :width], self.oversampling)
        return float(seen.std(correction=0) / seen.mean())


def relief(
    kind: ModulatorKind,
    cells: tuple[int, int],
    samples: tuple[int, int],
    generator: torch.Generator,
    layers: int = 1,
) -> Tensor:
    """Relief on a periodic canvas that holds a whole number of pitches; float32.

    mask and grating: fraction of each sample that is covered, exact for edges inside a sample. sandpaper:
    height in units of a mean grain's.

    Parameters
    ----------
    kind : of the modulator.
    cells : (y, x) pitches on the canvas.
    samples : (y, x) samples of the canvas.
    generator : random numbers; the relief is on its device.
    layers : sheets of sandpaper, one behind the other.
    """
    if kind == "sandpaper":
        return _grains(cells, samples, generator, layers)
    if kind == "mask":
        filled = (torch.rand(cells, generator=generator, device=generator.device) < 0.5).to(torch.float64)
    else:
        cells = (2 * cells[0], 2 * cells[1])
        y, x = (torch.arange(n, device=generator.device) for n in cells)
        filled = ((y[:, None] + x[None, :]) % 2).to(torch.float64)
    rows = _coverage(cells[0], samples[0], generator.device)
    columns = _coverage(cells[1], samples[1], generator.device)
    return (rows @ filled @ columns.T).to(torch.float32)


def _coverage(cells: int, samples: int, device: torch.device) -> Tensor:
    """(samples, cells): the fraction of each sample that lies in each cell, both dividing the same length."""
    sample_edges = torch.arange(samples + 1, dtype=torch.float64, device=device) / samples
    cell_edges = torch.arange(cells + 1, dtype=torch.float64, device=device) / cells
    low = torch.maximum(sample_edges[:-1, None], cell_edges[None, :-1])
    high = torch.minimum(sample_edges[1:, None], cell_edges[None, 1:])
    return (high - low).clamp_min(0) * samples


def _grains(
    cells: tuple[int, int], samples: tuple[int, int], generator: torch.Generator, sheets: int
) -> Tensor:
    """Hemi-ellipsoidal grains over GRAIN_SIZES at random places; on each sheet two grains a pitch squared."""
    device = generator.device
    per_size = max(1, round(2 * sheets * cells[0] * cells[1] / len(GRAIN_SIZES)))
    spectrum = torch.zeros(samples[0], samples[1] // 2 + 1, dtype=torch.complex64, device=device)
    y, x = (torch.fft.fftfreq(n, d=1 / n, device=device) for n in samples)
    for size in GRAIN_SIZES:
        places = [torch.randint(n, (per_size,), generator=generator, device=device) for n in samples]
        heights = size * (0.5 + torch.rand(per_size, generator=generator, device=device))
        comb = torch.zeros(samples, device=device)
        # accumulate=False would lose grains that fall on the same sample; index_put_ adds them in a fixed
        # order
        comb.index_put_((places[0], places[1]), heights, accumulate=True)
        radius = [size * n / c / 2 for n, c in zip(samples, cells, strict=True)]
        cap = (1 - (y[:, None] / radius[0]) ** 2 - (x[None, :] / radius[1]) ** 2).clamp_min(0).sqrt()
        spectrum += torch.fft.rfft2(comb) * torch.fft.rfft2(cap)
    return torch.fft.irfft2(spectrum, s=samples).clamp_min(0)


def modulated_wave(
    modulator: Modulator,
    beam: Beam,
    field_px: tuple[int, int],
    generator: torch.Generator,
    oversampling: int = 4,
) -> Tensor:
    """Complex amplitude just behind the modulator in a plane wave of amplitude 1, periodic, (y, x).

    The canvas is at least ``field_px`` = (rows, columns) detector pixels wide and holds a whole number of
    pitches; the pitch is met to better than half a sample over the canvas.

    Raises
    ------
    ConfigError
        The pitch is below two samples.
    """
    pitch = modulator.pitch_m / beam.pixel_size_m * oversampling
    if pitch < 2:
        raise ConfigError(
            f"modulator: expected a pitch of at least two samples, found {pitch:.2g} "
            f"({modulator.pitch_m * 1e6:g} um with {oversampling} samples per pixel)"
        )
    cells = (math.ceil(field_px[0] * oversampling / pitch), math.ceil(field_px[1] * oversampling / pitch))
    samples = (round(cells[0] * pitch), round(cells[1] * pitch))
    heights = relief(modulator.kind, cells, samples, generator)
    phase = -beam.wavenumber_m * modulator.material.delta(beam.energy_kev) * modulator.thickness_m
    attenuation = modulator.material.mu(beam.energy_kev) * modulator.thickness_m
    if modulator.kind == "sandpaper":
        return transmission_function(phase * heights, attenuation * heights)
    # A sample cut by an edge holds both amplitudes, not the amplitude of half the thickness.
    behind = math.exp(-attenuation / 2) * complex(math.cos(phase), math.sin(phase))
    return 1 + (behind - 1) * heights.to(torch.complex64)


def cast_pattern(
    modulator: Modulator,
    beam: Beam,
    field_px: tuple[int, int],
    generator: torch.Generator,
    oversampling: int = 4,
) -> Pattern:
    """The modulator's pattern at the detector; arguments and errors as in :func:`modulated_wave`.

    Raises
    ------
    ConfigError
        Also where the propagation is under-sampled (see :func:`wave.propagate`).
    """
    return pattern_of(modulated_wave(modulator, beam, field_px, generator, oversampling), beam, oversampling)


def pattern_of(wave: Tensor, beam: Beam, oversampling: int) -> Pattern:
    """The pattern at the detector of a wave (y, x) just behind the modulator."""
    image = intensity(propagate(wave, beam.fresnel_number / oversampling**2))
    image = gaussian_blur_periodic(image, beam.source_blur_px * oversampling)
    return Pattern(image / image.mean(), oversampling)


def thickness_for_visibility(
    modulator: Modulator,
    beam: Beam,
    visibility: float,
    generator: torch.Generator,
    detector_blur_px: float = 0.0,
    oversampling: int = 4,
) -> Modulator:
    """The modulator made just thick enough for ``visibility`` (standard deviation / mean at the detector).

    Searched upward from thin, on a field of 24 pitches, and refined by bisection to 1 %: visibility grows
    with the thickness until the modulator absorbs or scatters all it can.

    Raises
    ------
    ConfigError
        No thickness up to three pitches (masks and grains cannot be made taller) reaches it.
    """
    side = math.ceil(24 * modulator.pitch_m / beam.pixel_size_m)
    state = generator.get_state()

    def at(thickness_m: float) -> float:
        generator.set_state(state)  # the same relief for every thickness
        trial = replace(modulator, thickness_m=thickness_m)
        return cast_pattern(trial, beam, (side, side), generator, oversampling).visibility(detector_blur_px)

    low, high = 0.0, modulator.pitch_m / 256
    best = at(high)
    while best < visibility:
        low, high = high, high * math.sqrt(2)
        if high > 3 * modulator.pitch_m:
            raise ConfigError(
                f"modulator: expected a visibility of {visibility:g}, found at most {best:.2g} from a "
                f"{modulator.kind} of {modulator.material.name} with a pitch of {modulator.pitch_m * 1e6:g} "
                "um; use a coarser pitch, less blur or a longer distance"
            )
        best = max(best, at(high))
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) >= visibility else (middle, high)
    generator.set_state(state)
    return replace(modulator, thickness_m=high)
