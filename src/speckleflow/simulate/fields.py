"""Random scenes for training and held-out tables: reference and sample stacks with their truth.

``random_scene(generator, n, size, bank) -> Scene`` makes one scene of n diffuser positions, ``random_batch`` several
with a leading batch axis. Light is conserved (:mod:`.forward`); a share of the scenes is wave-optical. Every random
number comes from ``generator`` (its device must be the bank's), so that a stream is repeatable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.simulate.draw import Draw
from speckleflow.simulate.forward import ProjectedFields, propagated_sample, transported
from speckleflow.simulate.optics import (
    bin_mean,
    blur_matrix,
    corner_gradients,
    corner_mean,
    gaussian_blur,
    gaussian_blur_periodic,
)
from speckleflow.simulate.patterns import OVERSAMPLING, WAVE_OVERSAMPLING, PatternBank, crops
from speckleflow.simulate.random_samples import Kind, random_corners
from speckleflow.simulate.shapes import smooth_field
from speckleflow.simulate.warp import jacobian
from speckleflow.simulate.wave import intensity, propagate

#: pixels simulated around a scene beyond the largest displacement: reach of blur and interpolation
RIM_PX = 6


class Scene(NamedTuple):
    """A scene; all float32.

    ``reference`` and ``sample`` (n, y, x), the beam about 1; on the REFERENCE grid (y, x): ``ux``, ``uy`` in px,
    ``transmission`` (what the sample lets through, no fringes) and ``darkfield``; ``blur_px`` (): what blurs after the
    sample (standard deviation).
    """

    reference: Tensor
    sample: Tensor
    ux: Tensor
    uy: Tensor
    transmission: Tensor
    darkfield: Tensor
    blur_px: Tensor


@dataclass(frozen=True)
class SceneRanges:
    """Limits of what is drawn; lengths in pixels. Displacement and photons are drawn log-uniformly."""

    displacement_px: tuple[float, float] = (0.05, 8.0)
    #: standard deviation / mean of the pattern on the detector (patterns of wave-optical scenes stay as they are)
    contrast: tuple[float, float] = (0.05, 0.6)
    #: photons per pixel and frame in the empty beam, and frames that the reference is averaged over
    photons: tuple[float, float] = (300.0, 1e5)
    reference_frames: tuple[int, ...] = (1, 1, 4, 10)
    #: read noise in photons (largest)
    read_noise: float = 3.0
    blur_px: tuple[float, float] = (0.0, 1.5)
    #: share of the detectors that blur after the photons were counted (scintillator), and so blur the noise
    scintillator: float = 0.5
    #: lowest transmission and lowest visibility ratio
    transmission_min: float = 0.2
    darkfield_min: float = 0.1
    #: share of the scattering scenes whose scattered light lands in a halo, and its width
    halo: float = 0.4
    halo_px: tuple[float, float] = (3.0, 60.0)
    #: variation of the beam over the image (standard deviation)
    beam: float = 0.1
    #: standard deviation of the flux of one frame that normalisation left over, in half of the scenes
    flux_error: float = 0.01
    #: what is in the beam, and the softness of its edges (standard deviation)
    kinds: tuple[Kind, ...] = ("smooth", "solids", "both")
    edge_px: tuple[float, float] = (0.0, 3.0)
    #: share of the pixels where rays may come nearer to crossing than the determinant ``jacobian_min``
    crossing: float = 0.02
    jacobian_min: float = 0.15
    #: standard deviation of what rays resolve (see :meth:`.forward.ProjectedFields.resolved`)
    resolved_px: tuple[float, float] = (0.2, 0.8)
    #: shares of the scenes: by wave optics, with one wrong position (of five or more), with filled pixels
    wave: float = 0.0
    wrong_position: float = 0.0
    filled: float = 0.0


def random_scene(
    generator: torch.Generator, n: int, size: int, bank: PatternBank, ranges: SceneRanges | None = None
) -> Scene:
    """One scene of ``n`` diffuser positions, ``size`` x ``size`` pixels.

    Parameters
    ----------
    generator : every random number.
    n : diffuser positions.
    size : side in pixels.
    bank : patterns.
    ranges : what is drawn from where; None: the defaults.
    """
    ranges = ranges or SceneRanges()
    draw = Draw(generator)
    margin = math.ceil(ranges.displacement_px[1]) + RIM_PX  # light that lands inside comes from at most here
    blur = draw.uniform(*ranges.blur_px)
    by_waves = draw.chance(ranges.wave)
    oversampling = WAVE_OVERSAMPLING if by_waves else OVERSAMPLING
    detector = blur_matrix(size, oversampling, margin, blur * oversampling, bank.images[0])
    if by_waves:
        images, truth = _by_waves(draw, n, (size + 2 * margin) * oversampling, bank, ranges)
    else:
        images, truth = _by_rays(draw, n, (size + 2 * margin) * oversampling, bank, ranges, detector)
    frames = _exposed(draw, images, detector, n, oversampling, ranges)

    if n >= 5 and draw.chance(ranges.wrong_position):
        wrong = n + draw.integer(0, n)
        frames[wrong] = frames[wrong].roll((draw.integer(2, 9), -draw.integer(2, 9)), (0, 1))
    if draw.chance(ranges.filled):
        frames = _with_filled_pixels(draw, frames)
    inner = slice(margin, margin + size)
    fields = torch.stack([truth.ux, truth.uy, truth.transmission, truth.darkfield])
    ux, uy, transmission, darkfield = bin_mean(fields, oversampling)[:, inner, inner]
    return Scene(frames[:n], frames[n:], ux, uy, transmission, darkfield, fields.new_tensor(blur))


def random_batch(
    generator: torch.Generator,
    batch: int,
    n: int,
    size: int,
    bank: PatternBank,
    ranges: SceneRanges | None = None,
) -> Scene:
    """``batch`` scenes stacked: stacks (batch, n, y, x), fields (batch, y, x), blur (batch); see random_scene."""
    scenes = [random_scene(generator, n, size, bank, ranges) for _ in range(batch)]
    return Scene(*(torch.stack(parts) for parts in zip(*scenes, strict=True)))


def _by_rays(
    draw: Draw, n: int, side: int, bank: PatternBank, ranges: SceneRanges, detector: Tensor
) -> tuple[Tensor, ProjectedFields]:
    """Images (2 n, side, side) before the detector, references first, by rays; and the true fields."""
    truth = _random_fields(draw, side, OVERSAMPLING, ranges, math.inf)
    smooth = draw.uniform(*ranges.resolved_px) * OVERSAMPLING
    resolved = ProjectedFields(*gaussian_blur(torch.stack(truth), smooth))
    stack = bank.stack(draw.generator, n, side)
    # As deep as wanted on the detector, but not below zero (a fine pattern under a wide blur stays fainter).
    depth = draw.log_uniform(*ranges.contrast) / (detector @ stack @ detector.T).std()
    stack = 1 + torch.minimum(depth, 0.98 / (1 - stack.min())) * (stack - 1)

    def carried(behind: Tensor) -> Tensor:
        return transported(behind, resolved.ux, resolved.uy, OVERSAMPLING)

    reference = stack * (1 + ranges.beam * smooth_field(draw.generator, side, 2))
    if not draw.chance(ranges.halo) or not bool((truth.darkfield < 1).any()):
        beam = reference / stack
        behind = beam * resolved.transmission * (1 + resolved.darkfield * (stack - 1))
        return torch.cat([reference, carried(behind)]), truth
    width = draw.log_uniform(*ranges.halo_px) * OVERSAMPLING
    straight = resolved.transmission * resolved.darkfield
    sample = carried(straight * reference)
    halo = carried((resolved.transmission - straight) * reference)
    return torch.cat([reference, sample + gaussian_blur_periodic(halo, width)]), truth


def _by_waves(
    draw: Draw, n: int, side: int, bank: PatternBank, ranges: SceneRanges
) -> tuple[Tensor, ProjectedFields]:
    """As :func:`_by_rays`, by Fresnel propagation of waves behind modulators of the bank."""
    incident = bank.waves[draw.integer(0, len(bank.waves))]
    beam = incident.beam
    # the phase turns by at most 0.6 pi between two samples
    steepest = 0.6 * math.pi * WAVE_OVERSAMPLING / beam.phase_per_px
    fields = _random_fields(draw, side, WAVE_OVERSAMPLING, ranges, steepest)
    fields = fields._replace(phase=fields.phase * beam.phase_per_px / WAVE_OVERSAMPLING)
    waves = crops(draw, incident.wave, incident.pitch_px, n, side, WAVE_OVERSAMPLING)
    empty = intensity(propagate(waves, beam.fresnel_number / WAVE_OVERSAMPLING**2))
    reference = gaussian_blur_periodic(empty, beam.source_blur_px * WAVE_OVERSAMPLING)
    return torch.cat([reference, propagated_sample(waves, fields, beam, WAVE_OVERSAMPLING)]), fields


def _exposed(
    draw: Draw, images: Tensor, detector: Tensor, n: int, oversampling: int, ranges: SceneRanges
) -> Tensor:
    """Frames (2 n, y, x) of a detector with noise, the references averaged over several frames.

    Photon noise is Gaussian: above 60 photons, the faintest here, it cannot be told from Poisson's.
    """
    generator, device = draw.generator, images.device
    photons = draw.log_uniform(*ranges.photons)
    averaged = ranges.reference_frames[draw.integer(0, len(ranges.reference_frames))]
    weight = torch.ones(len(images), 1, 1, device=device)
    weight[:n] = averaged**-0.5

    def noise(level: Tensor, quanta: float) -> Tensor:
        grain = torch.randn(level.shape, generator=generator, device=device)
        return weight * (level.clamp_min(0) / quanta).sqrt() * grain

    if draw.chance(ranges.scintillator):
        frames = detector @ (images + noise(images, photons / oversampling**2)) @ detector.T
    else:
        frames = detector @ images @ detector.T
        frames = frames + noise(frames, photons)
    read = draw.uniform(0, ranges.read_noise) / photons
    frames = frames + read * weight * torch.randn(frames.shape, generator=generator, device=device)
    error = ranges.flux_error * float(draw.chance(0.5))
    flux = 1 + error * torch.randn(len(frames), 1, 1, generator=generator, device=device)
    return frames.clamp_min(1e-3) * flux


def _with_filled_pixels(draw: Draw, frames: Tensor) -> Tensor:
    """Frames whose bad pixels (single ones and a blob, the same in all) hold the mean of their surroundings."""
    size = frames.shape[-1]
    generator, device = draw.generator, frames.device
    bad = torch.rand(size, size, generator=generator, device=device) < draw.uniform(0.0, 0.01)
    place = torch.arange(size, device=device)
    y, x = (place - draw.integer(0, size) for _ in range(2))
    bad |= y[:, None] ** 2 + x[None, :] ** 2 <= draw.uniform(0.0, 4.0) ** 2
    good = (~bad).to(frames.dtype)
    around = gaussian_blur(frames * good, 2.0) / gaussian_blur(good, 2.0).clamp_min(1e-3)
    return torch.where(bad, around, frames)


def _random_fields(
    draw: Draw, side: int, oversampling: int, ranges: SceneRanges, steepest_px: float
) -> ProjectedFields:
    """True fields on (side, side) samples; the phase in units of pixels times samples (its gradient is u).

    ``steepest_px`` limits the displacement of what is not a uniform shift.
    """
    corners = random_corners(draw.generator, side, oversampling, ranges.kinds, ranges.edge_px)
    gx, gy = corner_gradients(corners.phase)
    length = bin_mean(torch.stack([gx, gy]), oversampling).norm(dim=0)
    large = length[length > 1e-3 * length.max()]
    typical = large[:: max(1, len(large) // 4000)].quantile(0.9) if len(large) else length.max() + 1
    largest = min(ranges.displacement_px[1], steepest_px)
    amplitude = draw.log_uniform(*ranges.displacement_px)
    scale = min(amplitude / float(typical), 0.9 * largest / float(gx.hypot(gy).max().clamp_min(1e-9)))
    scale *= _share_without_crossing(scale * gx, scale * gy, oversampling, ranges)
    turn, shift = draw.uniform(0, 2 * math.pi), min(draw.log_uniform(0.01, 1.0), 0.1 * largest)
    least_t, least_d = (draw.uniform(least, 1.0) for least in (ranges.transmission_min, ranges.darkfield_min))
    if draw.chance(0.5):
        least_d = 1.0
    ramp = torch.arange(side + 1, dtype=gx.dtype, device=gx.device) * shift
    phase = scale * corners.phase + ramp[:, None] * math.sin(turn) + ramp * math.cos(turn)
    return ProjectedFields(
        corner_mean(phase),
        torch.exp(-_limited(corner_mean(corners.attenuation), -math.log(least_t))),
        torch.exp(-_limited(corner_mean(corners.extinction), -math.log(least_d))),
        scale * gx + shift * math.cos(turn),
        scale * gy + shift * math.sin(turn),
    )


def _share_without_crossing(ux: Tensor, uy: Tensor, oversampling: int, ranges: SceneRanges) -> float:
    """Factor at most 1 for the displacement in px that keeps most rays from crossing.

    By bisection on the Jacobian of the pixel means: one pixel in fifty may lie under the limit.
    """
    ux, uy = bin_mean(torch.stack([ux, uy]), oversampling)
    low, high = 0.0, 1.0
    for trial in range(7):
        middle = 1.0 if trial == 0 else (low + high) / 2
        crossing = float((jacobian(middle * ux, middle * uy) < ranges.jacobian_min).float().mean())
        if crossing < ranges.crossing:
            low = middle
            if trial == 0:
                return 1.0
        else:
            high = middle
    return low


def _limited(value: Tensor, largest: float) -> Tensor:
    """Scaled so that the maximum is ``largest`` (zero stays zero)."""
    return value * (largest / float(value.max().clamp_min(1e-6)))
