"""Samples of thin walls and struts in projection, and their speckle and in-line images (the double exposure's data).

Yu et al., IUCrJ (2024), "Dynamic X-ray speckle-tracking imaging": foam of bubbles, sponge, spheres in a tube, at
15 keV, 0.6 m, 3.25 um and a sandpaper of 8.6 um grains. A sample is the thickness of its material along the beam; wave
optics makes of it the image with sandpaper, the image without, and the sandpaper's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from speckleflow.simulate.draw import Draw
from speckleflow.simulate.materials import Material, material
from speckleflow.simulate.modulators import Modulator, modulated_wave
from speckleflow.simulate.optics import Beam, LineBlur, bin_mean, corner_gradients, corner_mean
from speckleflow.simulate.wave import intensity, propagate, transmission_function

SampleKind = Literal["foam", "sponge", "spheres"]
SAMPLES: tuple[SampleKind, ...] = get_args(SampleKind)
#: what they are made of
MATERIAL: dict[SampleKind, str] = {"foam": "polyurethane", "sponge": "polyurethane", "spheres": "POM"}
OVERSAMPLING = 3
#: Pixels simulated around a frame: waves from farther away, beyond the edge of the periodic field, arrive as fringes
#: below a hundredth.
MARGIN_PX = 24


@dataclass(frozen=True)
class SpeckleSetup:
    """Beam, sandpaper just before the sample, detector."""

    beam: Beam = field(default_factory=lambda: Beam(15.0, 3.25e-6, 0.6, source_blur_m=1e-6))
    grain_m: float = 8.6e-6
    #: mean height of a grain: its phase shift is 1.1 rad; see docs/model-cards/double-exposure.md for higher ones
    height_m: float = 5e-6
    psf_px: float = 0.5

    @property
    def blur_px(self) -> float:
        """Standard deviation in pixels of all that blurs at the detector."""
        return math.hypot(self.beam.source_blur_px, self.psf_px)


class Exposures(NamedTuple):
    """Images (y, x) in units of the beam before counting, and the sample's fields on the reference grid.

    ``speckle`` : sandpaper and sample; ``reference`` : sandpaper; ``inline`` : sample. ``displacement`` (2, y, x)
    in px, u_x first; ``phase`` in rad; ``transmission``.
    """

    speckle: Tensor
    reference: Tensor
    inline: Tensor
    displacement: Tensor
    phase: Tensor
    transmission: Tensor


def sandpaper_wave(generator: torch.Generator, setup: SpeckleSetup, side_px: int) -> Tensor:
    """Wave (y, x) just behind the sandpaper, periodic, mean intensity 1, at least ``side_px`` pixels a side."""
    paper = Modulator("sandpaper", setup.grain_m, material("silicon carbide"), setup.height_m)
    wave = modulated_wave(paper, setup.beam, (side_px, side_px), generator, OVERSAMPLING)
    return wave / wave.abs().square().mean().sqrt()


def thickness(generator: torch.Generator, kind: SampleKind, side_px: int, pixel_m: float) -> Tensor:
    """Thickness of material along the beam in m at the corners of the samples, (side s + 1, side s + 1)."""
    draw = Draw(generator)
    corner = torch.arange(side_px * OVERSAMPLING + 1, dtype=torch.float64) / OVERSAMPLING
    y, x = corner[:, None], corner[None, :]
    make = {"foam": _foam, "sponge": _sponge, "spheres": _spheres}[kind]
    return make(draw, y, x, side_px) * pixel_m


def _chord(radius: float, off2: Tensor) -> Tensor:
    """Length of a ray in a ball or round rod at the square of its distance from the middle."""
    return 2 * (radius**2 - off2).clamp_min(0).sqrt()


def _foam(draw: Draw, y: Tensor, x: Tensor, side: int) -> Tensor:
    """Bubbles: hollow spheres with thin walls."""
    total = torch.zeros(y.shape[0], x.shape[1], dtype=torch.float64)
    for _ in range(draw.integer(4, 14)):
        radius = draw.log_uniform(0.08, 0.45) * side
        wall = draw.log_uniform(0.8, 4.0)
        off2 = (y - draw.uniform(-0.2, 1.2) * side) ** 2 + (x - draw.uniform(-0.2, 1.2) * side) ** 2
        total += _chord(radius, off2) - _chord(radius - wall, off2)
    return total


def _sponge(draw: Draw, y: Tensor, x: Tensor, side: int) -> Tensor:
    """An open-celled sponge: round struts in all directions."""
    total = torch.zeros(y.shape[0], x.shape[1], dtype=torch.float64)
    for _ in range(draw.integer(6, 24)):
        radius = draw.log_uniform(1.5, 8.0)
        angle, tilt = draw.uniform(0, math.pi), draw.uniform(-0.9, 0.9)
        cy, cx = draw.uniform(-0.1, 1.1) * side, draw.uniform(-0.1, 1.1) * side
        off = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
        along = (y - cy) * math.sin(angle) + (x - cx) * math.cos(angle)
        half = draw.uniform(0.1, 0.5) * side
        end = (along.abs() - half).clamp_min(0)  # the ends are round
        total += _chord(radius, off**2 + end**2) / math.cos(tilt)
    return total


def _spheres(draw: Draw, y: Tensor, x: Tensor, side: int) -> Tensor:
    """Solid spheres side by side in a tube along y, whose wall counts as the same material."""
    total = torch.zeros(y.shape[0], x.shape[1], dtype=torch.float64)
    radius = draw.uniform(0.3, 1.2) * side
    inner = radius - draw.log_uniform(2.0, 10.0)
    off2 = (x - draw.uniform(-0.2, 1.2) * side) ** 2 + torch.zeros_like(y)
    total += 0.71 * (_chord(radius, off2) - _chord(inner, off2))  # polyethylene has 0.71 times POM's delta
    for _ in range(draw.integer(1, 6)):
        ball = draw.log_uniform(0.08, 0.4) * side
        off2 = (y - draw.uniform(-0.1, 1.1) * side) ** 2 + (x - draw.uniform(-0.1, 1.1) * side) ** 2
        total += _chord(ball, off2)
    return total


def expose(
    generator: torch.Generator,
    wave: Tensor,
    depth: Tensor,
    matter: Material,
    setup: SpeckleSetup,
) -> Exposures:
    """The three exposures of one sample.

    Parameters
    ----------
    generator : place of the sandpaper.
    wave : of :func:`sandpaper_wave`, at least as large as the sample.
    depth : of :func:`thickness`, with :data:`MARGIN_PX` around the frame.
    matter : of the sample.
    setup : beam and detector.
    """
    beam, draw = setup.beam, Draw(generator)
    samples = depth.shape[-1] - 1
    size = samples // OVERSAMPLING - 2 * MARGIN_PX
    rows, columns = ((torch.arange(samples) + draw.integer(0, n)) % n for n in wave.shape)
    incident = wave.index_select(0, rows).index_select(1, columns)
    phase = -beam.wavenumber_m * matter.delta(beam.energy_kev) * depth
    sample = transmission_function(
        corner_mean(phase).float(), (matter.mu(beam.energy_kev) * corner_mean(depth)).float()
    )
    fresnel = beam.fresnel_number / OVERSAMPLING**2
    images = intensity(propagate(torch.stack([incident * sample, incident, sample]), fresnel))
    blur = LineBlur(size, OVERSAMPLING, MARGIN_PX, setup.blur_px * OVERSAMPLING, images)
    clean = blur.along_x(blur.along_y(images)).clamp_min(0)
    gradients = corner_gradients(phase * OVERSAMPLING / beam.phase_per_px)
    fields = torch.stack([*gradients, corner_mean(phase), corner_mean(depth)]).float()
    inner = slice(MARGIN_PX, MARGIN_PX + size)
    ux, uy, phi, t = bin_mean(fields, OVERSAMPLING)[:, inner, inner]
    transmission = torch.exp(-matter.mu(beam.energy_kev) * t)
    return Exposures(clean[0], clean[1], clean[2], torch.stack([ux, uy]), phi, transmission)


def counted(generator: torch.Generator, frames: Tensor, photons: float) -> Tensor:
    """Frames in units of the beam with Poisson's noise of ``photons`` per pixel in the empty beam."""
    return torch.poisson(frames * photons, generator=generator) / photons


def random_exposures(
    generator: torch.Generator, kind: SampleKind, size: int, setup: SpeckleSetup
) -> Exposures:
    """Exposures of a random sample of a kind, behind a sandpaper of its own, ``size`` x ``size`` pixels."""
    side = size + 2 * MARGIN_PX
    depth = thickness(generator, kind, side, setup.beam.pixel_size_m)
    wave = sandpaper_wave(generator, setup, side)
    return expose(generator, wave, depth, material(MATERIAL[kind]), setup)
