"""Random scenes for training: patterns, displacement, transmission and dark field with their truth.

API
---
``PatternBank(generator, patterns=48, size_px=384, device="cpu")``
    simulated once and kept: patterns of coded masks, sandpapers and checkerboard gratings (pitch 2 to 20 px),
    from which reference stacks of any N are cropped at random diffuser positions.
``random_scene(generator, n, size, bank) -> Scene``
    one scene. ``Scene(reference (n, y, x), sample (n, y, x), ux, uy, transmission, darkfield (y, x), blur_px ())``,
    float32, fields on the REFERENCE grid in pixels (eq. (1) of physics.md), stacks normalised to a mean beam
    of about 1, and the detector's blur.
``random_batch(generator, batch, n, size, bank) -> Scene``
    the same with a leading batch axis, one N for all.

Every random number comes from ``generator`` (its device must be the bank's), so a stream is repeatable. One
scene costs tens of milliseconds on a CPU core at size 128. ``SceneRanges`` holds what is drawn from where.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.simulate.modulators import KINDS, Modulator, cast_pattern
from speckleflow.simulate.optics import Beam, bin_mean, blur_matrix, gaussian_blur
from speckleflow.simulate.shapes import bezier_outline, ellipsoid_thickness, fill_outline, smooth_field
from speckleflow.simulate.sharp import sharp_solids
from speckleflow.simulate.trajectories import trajectory
from speckleflow.simulate.warp import jacobian, landing_to_reference, spline_at

#: Samples per pixel and side. Two suffice: no finer detail passes the detector's blur and its pixel.
OVERSAMPLING = 2


class Scene(NamedTuple):
    """A training example; see the module's documentation for shapes and units."""

    reference: Tensor
    sample: Tensor
    ux: Tensor
    uy: Tensor
    transmission: Tensor
    darkfield: Tensor
    blur_px: Tensor


@dataclass(frozen=True)
class SceneRanges:
    """Limits of what is drawn; lengths in pixels. Displacement, photons and pitch are drawn log-uniformly."""

    displacement_px: tuple[float, float] = (0.05, 10.0)
    pitch_px: tuple[float, float] = (2.0, 20.0)
    #: standard deviation / mean of the pattern on the detector
    contrast: tuple[float, float] = (0.05, 0.6)
    photons: tuple[float, float] = (200.0, 1e5)
    blur_px: tuple[float, float] = (0.3, 1.0)
    #: lowest transmission and lowest visibility ratio
    transmission_min: float = 0.2
    darkfield_min: float = 0.1
    #: variation of the beam over the image, which stays where it is on the detector (standard deviation)
    beam: float = 0.1
    #: standard deviation of the flux of one frame that normalisation left over
    flux_error: float = 0.01
    #: rays may come this near to crossing (determinant of the Jacobian); beyond, eq. (1) has no single answer
    jacobian_min: float = 0.15
    #: share of the scenes with sharp solids, where rays do cross: the direct beam is taken there
    sharp: float = 0.0
    #: of these, standard deviation of what rays resolve (see :meth:`.forward.ProjectedFields.resolved`)
    resolved_px: tuple[float, float] = (0.2, 0.8)


class PatternBank:
    """Simulated patterns, oversampled, and their pitches in pixels; see the module's documentation."""

    def __init__(
        self,
        generator: torch.Generator,
        patterns: int = 48,
        size_px: int = 384,
        ranges: SceneRanges | None = None,
    ) -> None:
        self.ranges = ranges or SceneRanges()
        self.device = generator.device
        drawn = [self._draw(generator, KINDS[i % len(KINDS)], size_px) for i in range(patterns)]
        self.images = [image for image, _ in drawn]
        self.pitches = [pitch for _, pitch in drawn]

    def _draw(self, generator: torch.Generator, kind: str, size_px: int) -> tuple[Tensor, float]:
        """One pattern of random pitch, thickness and Fresnel number (10-40 keV, pixels of 0.7-7 um)."""
        draw = _Draw(generator)
        pitch = draw.log_uniform(*self.ranges.pitch_px)
        pixel = draw.log_uniform(0.7e-6, 7e-6)
        energy = draw.log_uniform(10.0, 40.0)
        # lambda d / p^2 from 0.03 (a shadow) to 3 (several fringes), but no wider than a fifth of the field
        spread = draw.log_uniform(0.03, 3.0)
        distance = spread * pixel**2 / (1.23984198e-9 / energy)
        beam = Beam(energy, pixel, distance, draw.uniform(0.2, 0.6) * pixel)
        modulator = Modulator.usual(next(k for k in KINDS if k == kind), pitch * pixel, 1e-6)
        # Thickness by its effect: phase shift 0.5 to 6 rad for grains, attenuation 0.2 to 3 for absorbers.
        if kind == "sandpaper":
            thickness = draw.log_uniform(0.5, 6.0) / (beam.wavenumber_m * modulator.material.delta(energy))
        else:
            thickness = draw.log_uniform(0.2, 3.0) / modulator.material.mu(energy)
        modulator = Modulator(modulator.kind, modulator.pitch_m, modulator.material, thickness)
        pattern = cast_pattern(modulator, beam, (size_px, size_px), generator, OVERSAMPLING)
        return pattern.intensity, pitch

    def stack(self, generator: torch.Generator, n: int, side: int) -> Tensor:
        """One random pattern at n diffuser positions: (n, side, side) samples, mean about 1."""
        draw = _Draw(generator)
        which = draw.integer(0, len(self.images))
        image, pitch = self.images[which], self.pitches[which]
        kind = ("diagonal", "grid", "random")[draw.integer(0, 3)]
        step = pitch * draw.uniform(0.3, 2.0)
        cpu = torch.Generator().manual_seed(draw.integer(0, 2**31))
        path = trajectory(kind, n, step, cpu, jitter=0.05 * step)  # type: ignore[arg-type]
        origin = torch.rand(2, generator=cpu, dtype=torch.float64) * image.shape[0]
        first = (origin + path * OVERSAMPLING).round().long().to(self.device)
        reach = torch.arange(side, device=self.device)
        y = (first[:, 0, None] + reach) % image.shape[0]
        x = (first[:, 1, None] + reach) % image.shape[1]
        stack = image[y[:, :, None], x[:, None, :]]
        if draw.uniform(0, 1) < 0.5:
            stack = stack.transpose(1, 2)
        return stack


def random_scene(
    generator: torch.Generator, n: int, size: int, bank: PatternBank, ranges: SceneRanges | None = None
) -> Scene:
    """One scene of ``n`` diffuser positions, ``size`` x ``size`` pixels; see the module's documentation."""
    ranges = ranges or bank.ranges
    draw = _Draw(generator)
    margin = math.ceil(ranges.displacement_px[1]) + 4  # light that lands inside comes from at most here
    side = (size + 2 * margin) * OVERSAMPLING

    sharp = ranges.sharp > 0 and draw.uniform(0, 1) < ranges.sharp
    fields = torch.stack((_sharp_sample if sharp else _random_sample)(generator, side, ranges))
    fields[2:] = (-fields[2:]).exp()
    smooth = draw.uniform(*ranges.resolved_px) * OVERSAMPLING if sharp else 0.0
    ux, uy, transmission, visibility = gaussian_blur(fields, smooth)
    stack = bank.stack(generator, n, side)
    blur = draw.uniform(*ranges.blur_px) * OVERSAMPLING
    detector = blur_matrix(size, OVERSAMPLING, margin, blur, stack)
    # As deep as wanted on the detector, but not below zero (a fine pattern under a wide blur stays fainter).
    depth = draw.log_uniform(*ranges.contrast) / (detector @ stack @ detector.T).std()
    stack = 1 + torch.minimum(depth, 0.98 / (1 - stack.min())) * (stack - 1)

    y, x = landing_to_reference(ux * OVERSAMPLING, uy * OVERSAMPLING, tolerance=0.02, iterations=30)
    warped = spline_at(transmission * (1 + visibility * (stack - 1)), y, x)
    beam = 1 + ranges.beam * smooth_field(generator, side, 2)
    frames = (detector @ (torch.cat([stack, warped]) * beam) @ detector.T).clamp_min(1e-3)

    photons = draw.log_uniform(*ranges.photons)
    noise = torch.randn(frames.shape, generator=generator, device=generator.device)
    flux = 1 + ranges.flux_error * torch.randn(2 * n, 1, 1, generator=generator, device=generator.device)
    # Gaussian in place of Poisson: above 40 photons, the faintest here, they cannot be told apart
    frames = (frames + (frames / photons).sqrt() * noise) * flux

    crop = slice(margin, margin + size)
    true_ux, true_uy, true_t, true_d = bin_mean(fields, OVERSAMPLING)[:, crop, crop]
    told = fields.new_tensor(blur / OVERSAMPLING)
    return Scene(frames[:n], frames[n:], true_ux, true_uy, true_t, true_d, told)


def random_batch(
    generator: torch.Generator,
    batch: int,
    n: int,
    size: int,
    bank: PatternBank,
    ranges: SceneRanges | None = None,
) -> Scene:
    """``batch`` scenes stacked: stacks (batch, n, y, x), fields (batch, y, x), blur (batch)."""
    scenes = [random_scene(generator, n, size, bank, ranges) for _ in range(batch)]
    return Scene(*(torch.stack(parts) for parts in zip(*scenes, strict=True)))


def _random_sample(generator: torch.Generator, side: int, ranges: SceneRanges) -> tuple[Tensor, ...]:
    """ux, uy in pixels, integral of mu and of the extinction, each (side, side) on the oversampled grid.

    The displacement is the gradient of a random phase (it has no curl, as refraction has none): a smooth
    background, solids with edges, and a constant (drift of the beam or of the modulator).
    """
    draw = _Draw(generator)
    device = generator.device
    phase, attenuation, extinction = torch.zeros(3, side, side, device=device)
    for _ in range(draw.integer(0, 6)):
        if draw.uniform(0, 1) < 0.4:
            solid = ellipsoid_thickness(generator, side)
        else:
            solid = fill_outline(bezier_outline(generator, side), side)
            filling = smooth_field(generator, side, draw.integer(2, 9))[0]
            # a wedge, a bowl or a slab: at its edge a phase jump, softened to a pixel or two
            solid = solid * (1 + draw.uniform(0.0, 0.5) * filling)
            solid = gaussian_blur(solid[None], OVERSAMPLING * draw.uniform(0.5, 2.0))[0]
        phase = phase + draw.normal() * solid
        if draw.uniform(0, 1) < 0.7:
            attenuation = attenuation + draw.uniform(0, 1) ** 2 * solid
        if draw.uniform(0, 1) < 0.5:
            extinction = extinction + draw.uniform(0, 1) * solid
    background = smooth_field(generator, side, draw.integer(1, 12))[0]

    amplitude = draw.log_uniform(*ranges.displacement_px)
    shares = torch.rand(3, generator=generator, device=device) + 0.05
    shares = amplitude * shares / shares.sum()
    turn = draw.uniform(0, 2 * math.pi)
    ux, uy = torch.zeros(2, side, side, device=device)
    for potential, share in ((phase, shares[0]), (background, shares[1])):
        gy, gx = torch.gradient(potential)
        # the 99.9th percentile, not the largest value: a limb's last sample does not set the scale
        scale = share / gx.hypot(gy).flatten()[::7].quantile(0.999).clamp_min(1e-9)
        scale = scale * _foldless(scale * gx, scale * gy, ranges.jacobian_min)
        ux, uy = ux + scale * gx, uy + scale * gy
    whole = _foldless(ux, uy, ranges.jacobian_min)
    ux, uy = ux * whole + shares[2] * math.cos(turn), uy * whole + shares[2] * math.sin(turn)
    return *_within(ux, uy, ranges), *_integrals(draw, attenuation, extinction, ranges)


def _sharp_sample(generator: torch.Generator, side: int, ranges: SceneRanges) -> tuple[Tensor, ...]:
    """As :func:`_random_sample`, of sharp solids before a smooth background.

    The scale of the displacement is that of one in twenty pixels: at limbs it is a few times as large.
    """
    draw = _Draw(generator)
    ux, uy, attenuation, extinction = sharp_solids(generator, side)
    length = bin_mean(torch.stack([ux, uy]), OVERSAMPLING).norm(dim=0).flatten()
    scale = draw.log_uniform(*ranges.displacement_px) / 2 / length.quantile(0.95).clamp_min(1e-9)
    gy, gx = torch.gradient(smooth_field(generator, side, draw.integer(1, 8))[0])
    share = draw.log_uniform(0.01, 1.0) / gx.hypot(gy).max()
    share = share * _foldless(share * gx, share * gy, 0.5)
    turn, drift = draw.uniform(0, 2 * math.pi), draw.log_uniform(0.01, 1.0)
    ux, uy = (
        scale * u + share * g + drift * d for u, g, d in ((ux, gx, math.cos(turn)), (uy, gy, math.sin(turn)))
    )
    return *_within(ux, uy, ranges), *_integrals(draw, attenuation, extinction, ranges)


def _within(ux: Tensor, uy: Tensor, ranges: SceneRanges) -> tuple[Tensor, Tensor]:
    """The displacement scaled so that none is longer than the largest one."""
    longest = float(ux.hypot(uy).max())
    shorter = min(1.0, ranges.displacement_px[1] / max(longest, 1e-9))
    return ux * shorter, uy * shorter


def _integrals(
    draw: _Draw, attenuation: Tensor, extinction: Tensor, ranges: SceneRanges
) -> tuple[Tensor, Tensor]:
    """Integrals of mu and of the extinction, down to a random lowest transmission and visibility ratio."""
    least = draw.uniform(ranges.transmission_min, 1.0)
    attenuation = _limited(attenuation.clamp_min(0), -math.log(least))
    least = draw.uniform(ranges.darkfield_min, 1.0)
    return attenuation, _limited(extinction.clamp_min(0), -math.log(least))


def _foldless(ux: Tensor, uy: Tensor, jacobian_min: float) -> float:
    """Factor at most 1 for the displacement (in pixels, oversampled) that keeps the rays from crossing.

    By bisection on the Jacobian of the pixel means, of which one in two thousand may lie under the limit.
    """
    ux, uy = bin_mean(torch.stack([ux, uy]), OVERSAMPLING)
    low, high = 0.0, 1.0
    for trial in range(7):
        middle = 1.0 if trial == 0 else (low + high) / 2
        folded = float((jacobian(middle * ux, middle * uy) < jacobian_min).float().mean())
        if folded < 5e-4:
            low = middle
            if trial == 0:
                return 1.0
        else:
            high = middle
    return low


def _limited(value: Tensor, largest: float) -> Tensor:
    """Scaled so that the maximum is ``largest`` (zero stays zero)."""
    return value * (largest / float(value.max().clamp_min(1e-6)))


class _Draw:
    """Scalars from a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(
            torch.rand((), generator=self.generator, device=self.generator.device)
        )

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """Uniform in low, ..., high - 1."""
        return int(torch.randint(low, high, (), generator=self.generator, device=self.generator.device))

    def normal(self) -> float:
        return float(torch.randn((), generator=self.generator, device=self.generator.device))
