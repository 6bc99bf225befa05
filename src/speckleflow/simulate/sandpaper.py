"""Patterns of stacked sandpapers in a divergent beam, and pairs of frames deformed patch by patch (CADE's data).

Shi et al., "CADE", secs. II-A and II-B. The paper deforms detected images; here the intensity on half pixels is
deformed, before the blur of source and detector and before counting, along rays that keep their light.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.errors import ConfigError
from speckleflow.simulate.draw import Draw
from speckleflow.simulate.forward import transported
from speckleflow.simulate.materials import material
from speckleflow.simulate.modulators import relief
from speckleflow.simulate.optics import Beam, LineBlur, bin_mean, gaussian_blur_periodic
from speckleflow.simulate.wave import intensity, propagate, transmission_function

#: full width at half maximum over standard deviation of a Gaussian
FWHM = 2 * math.sqrt(2 * math.log(2))
#: samples per pixel and side: of the wave, and of the intensity that is kept
WAVE_OVERSAMPLING, OVERSAMPLING = 4, 2
#: pixels simulated around a frame: the largest displacement, reach of blur and interpolation
MARGIN_PX = 8
#: patterns tried for each one that is kept
_TRIALS = 40


@dataclass(frozen=True)
class DivergentBeam:
    """A point source, a diffuser and a detector; lengths in m.

    Attributes
    ----------
    energy_kev : photon energy in keV.
    source_m : full width at half maximum of the focal spot.
    diffuser_m, detector_m : distances from the source.
    pixel_m : pixel size of the detector.
    psf_px : standard deviation of the detector's point spread in pixels.
    """

    energy_kev: float = 30.0
    source_m: float = 10e-6
    diffuser_m: float = 1.0
    detector_m: float = 3.0
    pixel_m: float = 12e-6
    psf_px: float = 1 / FWHM

    @property
    def magnification(self) -> float:
        """Of the diffuser on the detector."""
        return self.detector_m / self.diffuser_m

    @property
    def parallel(self) -> Beam:
        """The parallel beam of the same Fresnel pattern: pixel and distance divided by the magnification."""
        m = self.magnification
        return Beam(self.energy_kev, self.pixel_m / m, (self.detector_m - self.diffuser_m) / m)

    @property
    def blur_px(self) -> float:
        """Standard deviation in pixels of all that blurs at the detector: focal spot and point spread."""
        spot = self.source_m / FWHM * (self.magnification - 1) / self.pixel_m
        return math.hypot(spot, self.psf_px)


class Speckle(NamedTuple):
    """A periodic pattern (y, x), :data:`OVERSAMPLING` samples a pixel, mean 1, before any blur.

    ``fwhm_px``: full width at half maximum of its autocorrelation on the detector; ``visibility``: standard
    deviation over mean there.
    """

    image: Tensor
    fwhm_px: float
    visibility: float


def stacked_sandpaper_wave(
    generator: torch.Generator, beam: Beam, side_px: int, grain_px: float, height_m: float, layers: int
) -> Tensor:
    """Complex amplitude (y, x) behind ``layers`` sheets of aluminium oxide grains, periodic, 4 samples a pixel.

    The backing is even: it takes the same share of the light everywhere, so it is left out.

    Parameters
    ----------
    generator : random places and sizes of the grains.
    beam : the parallel beam.
    side_px : side of the canvas in pixels.
    grain_px : mean diameter of the grains in pixels.
    height_m : mean height of a grain in m.
    layers : sheets; their grains are independent, so that more sheets are more grains.
    """
    samples = side_px * WAVE_OVERSAMPLING
    cells = max(1, round(side_px / grain_px))
    grains = material("aluminium oxide")
    heights = height_m * relief("sandpaper", (cells, cells), (samples, samples), generator, layers)
    phase = -beam.wavenumber_m * grains.delta(beam.energy_kev) * heights
    return transmission_function(phase, grains.mu(beam.energy_kev) * heights)


def autocorrelation_fwhm(image: Tensor) -> float:
    """Full width at half maximum in px of the autocorrelation of a periodic image (y, x), mean over x and y."""
    spectrum = torch.fft.fft2(image - image.mean())
    correlation = torch.fft.ifft2(spectrum.abs().square()).real
    correlation = correlation / correlation[0, 0]
    widths = []
    for line in (correlation[0], correlation[:, 0]):
        below = int((line < 0.5).to(torch.uint8).argmax())
        before, after = float(line[below - 1]), float(line[below])
        widths.append(2 * (below - 1 + (before - 0.5) / (before - after)))
    return sum(widths) / 2


@dataclass(frozen=True)
class SandpaperRanges:
    """What patterns are drawn from: grain diameter in pixels (log-uniform), height over diameter, limits."""

    layers: int = 10
    grain_px: tuple[float, float] = (1.5, 45.0)
    height: tuple[float, float] = (0.25, 1.2)
    fwhm_px: tuple[float, float] = (2.0, 10.0)
    visibility: float = 0.2


def draw_speckle(
    generator: torch.Generator, setup: DivergentBeam, side_px: int, ranges: SandpaperRanges
) -> Speckle:
    """One pattern whose speckle size and visibility on the detector are within ``ranges``.

    Raises
    ------
    ConfigError
        None of :data:`_TRIALS` patterns is.
    """
    draw, beam = Draw(generator), setup.parallel
    for _ in range(_TRIALS):
        grain_px = draw.log_uniform(*ranges.grain_px)
        height_m = draw.uniform(*ranges.height) * grain_px * beam.pixel_size_m
        wave = stacked_sandpaper_wave(generator, beam, side_px, grain_px, height_m, ranges.layers)
        speckle = cast_speckle(wave, setup)
        low, high = ranges.fwhm_px
        if low <= speckle.fwhm_px <= high and speckle.visibility >= ranges.visibility:
            return speckle
    raise ConfigError(
        f"patterns: expected a speckle size of {ranges.fwhm_px[0]:g} to {ranges.fwhm_px[1]:g} px and a visibility of "
        f"at least {ranges.visibility:g}, found none in {_TRIALS} sandpapers; widen grain_px or height"
    )


def cast_speckle(wave: Tensor, setup: DivergentBeam) -> Speckle:
    """The pattern at the detector of a wave just behind the diffuser."""
    image = intensity(propagate(wave, setup.parallel.fresnel_number / WAVE_OVERSAMPLING**2))
    image = bin_mean(image / image.mean(), WAVE_OVERSAMPLING // OVERSAMPLING)
    seen = bin_mean(gaussian_blur_periodic(image, setup.blur_px * OVERSAMPLING), OVERSAMPLING)
    return Speckle(image, autocorrelation_fwhm(seen), float(seen.std(correction=0) / seen.mean()))


@dataclass(frozen=True)
class DeformationRanges:
    """What pairs are drawn from."""

    patch_px: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    #: largest displacement; the values at the nodes are normal, of a third of it, cut there
    displacement_px: float = 1.0
    #: share of the pairs with one displacement everywhere (a quarter of them: none), and its largest value
    constant: float = 0.02
    constant_px: float = 0.15
    transmission_min: float = 0.5
    #: photons per pixel in the empty beam, log-uniform
    photons: tuple[float, float] = (1e3, 1e5)


class Pair(NamedTuple):
    """Frames (y, x) in units of the beam, and on the reference grid u (2, y, x) in px, u_x first, and T (y, x)."""

    reference: Tensor
    sample: Tensor
    displacement: Tensor
    transmission: Tensor


def patchwise(draw: Draw, side: int, patch: float, nodes: Tensor) -> Tensor:
    """A field (side, side) that is linear between ``nodes`` (n, n), ``patch`` samples apart, at a random origin."""
    place = (torch.arange(side, device=nodes.device) + 0.5) / patch
    rows, columns = (_hat(place + draw.uniform(0, 1), nodes.shape[0]) for _ in range(2))
    return rows @ nodes @ columns.T


def _hat(place: Tensor, count: int) -> Tensor:
    """Weights (samples, nodes) of linear interpolation at ``place`` among nodes at 0, 1, ... count - 1."""
    nodes = torch.arange(count, device=place.device)
    return (1 - (place[:, None] - nodes).abs()).clamp_min(0)


def deformed_pair(
    generator: torch.Generator,
    speckle: Tensor,
    setup: DivergentBeam,
    size: int,
    ranges: DeformationRanges,
) -> Pair:
    """One pair of frames of ``size`` x ``size`` pixels from a pattern, cropped and turned at random.

    Parameters
    ----------
    generator : every random number.
    speckle : :attr:`Speckle.image`.
    setup : for the blur.
    size : side of the frames in pixels.
    ranges : what deformation, transmission and photons are drawn from.
    """
    draw = Draw(generator)
    side = (size + 2 * MARGIN_PX) * OVERSAMPLING
    pattern = _cropped(draw, speckle, side)

    def field(values: Tensor, patch: int) -> Tensor:
        return patchwise(draw, side, patch * OVERSAMPLING, values)

    def nodes(patch: int) -> tuple[int, int]:
        count = math.ceil(side / (patch * OVERSAMPLING)) + 2
        return count, count

    if draw.chance(ranges.constant):
        which = draw.integer(0, 4)  # none, along x, along y, both
        shifts = [draw.uniform(-1, 1) * ranges.constant_px * bool(which & bit) for bit in (1, 2)]
        u = torch.stack([torch.full_like(pattern, shift) for shift in shifts])
    else:
        patch = ranges.patch_px[draw.integer(0, len(ranges.patch_px))]
        largest = ranges.displacement_px
        values = torch.randn(2, *nodes(patch), generator=generator, device=pattern.device)
        values = (values * largest / 3).clamp(-largest, largest)
        u = torch.stack([field(one, patch) for one in values])
    patch = ranges.patch_px[draw.integer(0, len(ranges.patch_px))]
    lost = torch.rand(nodes(patch), generator=generator, device=pattern.device)
    transmission = field(1 - (1 - ranges.transmission_min) * lost, patch)
    carried = transported((transmission * pattern)[None], u[0], u[1], OVERSAMPLING)
    blur = LineBlur(size, OVERSAMPLING, MARGIN_PX, setup.blur_px * OVERSAMPLING, pattern)
    frames = blur.along_x(blur.along_y(torch.cat([pattern[None], carried]))).clamp_min(0)
    photons = draw.log_uniform(*ranges.photons)
    frames = torch.poisson(frames * photons, generator=generator) / photons
    inner = (..., slice(MARGIN_PX, MARGIN_PX + size), slice(MARGIN_PX, MARGIN_PX + size))
    fields = bin_mean(torch.cat([u, transmission[None]]), OVERSAMPLING)[inner]
    return Pair(frames[0], frames[1], fields[:2], fields[2])


def _cropped(draw: Draw, pattern: Tensor, side: int) -> Tensor:
    """A piece (side, side) of a periodic pattern at a random place, mirrored and turned at random."""
    rows, columns = (
        (torch.arange(side, device=pattern.device) + draw.integer(0, n)) % n for n in pattern.shape
    )
    piece = pattern.index_select(0, rows).index_select(1, columns)
    if draw.chance(0.5):
        piece = piece.flip(0)
    return torch.rot90(piece, draw.integer(0, 4))


def without_noise(ranges: DeformationRanges) -> DeformationRanges:
    """The same pairs with so many photons (1e9) that their noise is below float32's own."""
    return replace(ranges, photons=(1e9, 1e9))
