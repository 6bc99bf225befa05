"""Forward models on an oversampled detector: exact projections, then rays or Fresnel wave optics.

Rays, :func:`modulated_sample`: a ray that leaves the sample at x lands at x + u(x) and takes its light along,

    I_s(x + u(x)) det(1 + grad u)(x) = T(x) { m(x) + D(x) [ I_r(x) - m(x) ] },

with m the mean of the reference over many pitches: the beam without modulator, 1. Light is conserved; edges get
fringes, and where rays have crossed their intensities add up.

Equation 1, :func:`equation_1_sample`: the same without the determinant, as the equation stands in the papers
(eq. 1 of SPINNet, Qiao et al., Optica 9, 391, 2022). It moves the pattern and loses the balance of light; it is
here to repeat the papers' figures.

Waves, :func:`propagated_sample`: Fresnel propagation.

All are evaluated before the detector, on ``oversampling`` samples a pixel and side and from fields that are
exact means over a sample; only then the detector blurs and bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from speckleflow.errors import ConfigError
from speckleflow.simulate.optics import (
    Beam,
    bin_mean,
    corner_gradients,
    corner_mean,
    gaussian_blur,
    gaussian_blur_periodic,
)
from speckleflow.simulate.phantoms import Phantom
from speckleflow.simulate.warp import landing_to_reference, sample_at, splat, spline_at
from speckleflow.simulate.wave import intensity, propagate, transmission_function


class ProjectedFields(NamedTuple):
    """Fields of one projection on the reference grid, (y, x): phase in rad, T, D, displacement in pixels."""

    phase: Tensor
    transmission: Tensor
    darkfield: Tensor
    ux: Tensor
    uy: Tensor

    def resolved(self, beam: Beam, oversampling: int) -> ProjectedFields:
        """What rays can resolve: the fields smoothed over the Fresnel scale.

        Geometrical optics holds for structures wider than sqrt(lambda d); below, diffraction spreads the light
        of an edge over that width. At a sharp edge the derivative of the phase has no bound. The Fresnel kernel
        exp(i pi x^2 / lambda d) is a Gaussian of variance lambda d / (2 pi) but for the i; that width is taken.
        """
        sigma = fresnel_width(beam, oversampling)
        return ProjectedFields(*(gaussian_blur(field, sigma) for field in self))

    def occupied(self) -> tuple[slice, slice]:
        """Rows and columns beyond which there is air alone: phase 0, T = D = 1."""
        matter = (self.phase != 0) | (self.transmission != 1) | (self.darkfield != 1)
        rows, columns = (matter.any(axis).nonzero().flatten() for axis in (1, 0))
        if not len(rows):
            return slice(0, 0), slice(0, 0)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def binned(self, oversampling: int, margin: int) -> ProjectedFields:
        """Means over detector pixels, without ``margin`` pixels on every side."""
        size = [n // oversampling for n in self.phase.shape]
        inner = (slice(margin, size[0] - margin), slice(margin, size[1] - margin))
        return ProjectedFields(*(bin_mean(field, oversampling)[inner].contiguous() for field in self))


def fresnel_width(beam: Beam, oversampling: int) -> float:
    """Standard deviation of the Fresnel scale in samples (:meth:`ProjectedFields.resolved`)."""
    return math.sqrt(beam.distance_m / beam.wavenumber_m) / beam.pixel_size_m * oversampling


def project(
    phantom: Phantom,
    beam: Beam,
    angle_deg: float,
    centre_px: tuple[float, float],
    samples: tuple[int, int],
    oversampling: int,
    margin: int = 0,
    device: torch.device | str = "cpu",
) -> ProjectedFields:
    """Exact fields of one projection on (y, x) = ``samples``, ``oversampling`` of them a pixel and side.

    The integrals are taken at the corners of the samples: the difference of the phase between two corners is
    the exact mean of its derivative along that edge, however sharp the edge. Each field is the mean over the
    corners (T and D: of the integrals).

    Parameters
    ----------
    centre_px : (row, column) of the phantom's middle and of the rotation axis, pixel centres at integers.
    margin : pixels before pixel (0, 0) at which the samples begin.
    """
    corners_y, corners_x = (
        torch.arange(n + 1, dtype=torch.float64, device=device) / oversampling - 0.5 - margin - c
        for n, c in zip(samples, centre_px, strict=True)
    )
    s, z = corners_x * beam.pixel_size_m, corners_y * beam.pixel_size_m
    per_sample = beam.phase_per_px / oversampling
    fields = ProjectedFields(*torch.zeros(5, *samples, device=device))
    fields.transmission.fill_(1)
    fields.darkfield.fill_(1)
    filled = phantom.extent(angle_deg, s, z)
    # a corner belongs to the samples before and after it
    rows_filled, columns = (
        slice(max(0, part.start - 1), min(n, part.stop)) for part, n in zip(filled, samples, strict=True)
    )
    s = s[columns.start : columns.stop + 1]
    # a few rows at a time: what is between stays in the cache
    for first in range(rows_filled.start, rows_filled.stop, _ROWS):
        rows = slice(first, min(rows_filled.stop, first + _ROWS))
        integrals = phantom.line_integrals(beam.energy_kev, angle_deg, s, z[rows.start : rows.stop + 1])
        phase = -beam.wavenumber_m * integrals.delta
        ux, uy = corner_gradients(phase / per_sample)
        values = (
            corner_mean(phase),
            torch.exp(-corner_mean(integrals.mu)),
            torch.exp(-corner_mean(integrals.extinction)),
            ux,
            uy,
        )
        for field, value in zip(fields, values, strict=True):
            field[rows, columns] = value
    return fields


#: rows of samples whose fields are made at a time
_ROWS = 32


def modulated_sample(reference: Tensor, fields: ProjectedFields, oversampling: int) -> Tensor:
    """Intensity (N, y, x) behind the sample from the reference (N, y, x), by rays that keep their light.

    In units of the beam without modulator; oversampled, as the ``fields`` are.
    """
    return transported(_behind(reference, fields), fields.ux, fields.uy, oversampling)


def by_rays(
    model: RayModel, reference: Tensor, fields: ProjectedFields, beam: Beam, oversampling: int
) -> Tensor:
    """Intensity (N, y, x) behind the sample by a model of rays, from fields smoothed to what rays resolve.

    Only where light of the sample can land is anything computed; elsewhere it is the reference, which is written over.

    Parameters
    ----------
    model : :func:`modulated_sample` or :func:`equation_1_sample`.
    reference : (N, y, x), in units of the beam without modulator, oversampled as the ``fields`` are.
    """
    matter = fields.occupied()
    if matter[0].start == matter[0].stop:
        return reference
    smoothed = math.ceil(5 * fresnel_width(beam, oversampling))
    farthest = oversampling * float(torch.maximum(fields.ux.abs().max(), fields.uy.abs().max()))
    lit = [
        _grown(part, smoothed + math.ceil(farthest) + _TAIL, n)
        for part, n in zip(matter, fields.phase.shape, strict=True)
    ]
    outer = [
        _of_fast_length(_grown(part, _TAIL, n), n) for part, n in zip(lit, fields.phase.shape, strict=True)
    ]
    near = ProjectedFields(*(field[outer[0], outer[1]] for field in fields)).resolved(beam, oversampling)
    carried = model(reference[:, outer[0], outer[1]], near, oversampling)
    inner = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(lit, outer, strict=True)]
    reference[:, lit[0], lit[1]] = carried[:, inner[0], inner[1]]
    return reference


def _grown(part: slice, by: int, size: int) -> slice:
    """A slice that is longer by ``by`` at both ends, and no longer than the axis."""
    return slice(max(0, part.start - by), min(size, part.stop + by))


def _of_fast_length(part: slice, size: int) -> slice:
    """The slice, longer where that makes its Fourier transform faster and the axis is long enough."""
    length = min(next_fast_len(part.stop - part.start, real=True), size)
    stop = min(size, part.start + length)
    return slice(stop - length, stop)


#: samples after which what the spline's prefilter makes of a border (a factor of 0.27 a sample) is gone
_TAIL = 16


def transported(behind: Tensor, ux: Tensor, uy: Tensor, oversampling: int) -> Tensor:
    """Intensity (N, y, x) in the sample's exit plane, carried along the rays to the detector; light is conserved.

    ``ux``, ``uy``: displacement in pixels on the (y, x) samples, ``oversampling`` of them a pixel and side.
    """
    if not (ux.any() or uy.any()):
        return behind
    y, x = (torch.arange(n, dtype=ux.dtype, device=ux.device) for n in ux.shape)
    return splat(behind, y[:, None] + oversampling * uy, x + oversampling * ux)


def equation_1_sample(reference: Tensor, fields: ProjectedFields, oversampling: int) -> Tensor:
    """As :func:`modulated_sample` without the determinant. Where rays have crossed the direct beam is taken."""
    behind = _behind(reference, fields)
    if not (fields.ux.any() or fields.uy.any()):
        return behind
    y, x = landing_to_reference(fields.ux * oversampling, fields.uy * oversampling, tolerance=0.005)
    # one by one: the memory of the interpolation does not grow with N
    return torch.cat([spline_at(one[None], y, x) for one in behind])


def _behind(reference: Tensor, fields: ProjectedFields) -> Tensor:
    """Intensity (N, y, x) in the sample's exit plane."""
    return torch.lerp(torch.ones_like(reference), reference, fields.darkfield).mul_(fields.transmission)


#: A model of rays: intensity (N, y, x) from the reference (N, y, x), the fields and the samples a pixel.
RayModel = Callable[[Tensor, ProjectedFields, int], Tensor]


def propagated_sample(wave: Tensor, fields: ProjectedFields, beam: Beam, oversampling: int) -> Tensor:
    """Fresnel wave optics: intensity (N, y, x) at the detector of waves that cross the sample.

    The sample stands just behind the modulator and multiplies the wave by exp(i phi) sqrt(T); both are
    propagated over the whole distance, so that edge fringes, flux and crossing rays come out as they do.
    Scattering by what is too small for the grid is not in a wave: as with rays, D shrinks the pattern
    towards the image that the sample gives without modulator, at the place where the light lands.

    Parameters
    ----------
    wave : (N, y, x) complex, on a periodic canvas, of mean intensity 1.
    fields : on the samples of the same canvas.

    Raises
    ------
    ConfigError
        The phase turns by more than pi between two samples in more than one sample in a hundred (a sphere's
        outline always has some): refraction there would be aliased.
    """
    largest = math.pi * oversampling / beam.phase_per_px
    steep = float((torch.maximum(fields.ux.abs(), fields.uy.abs()) > largest).float().mean())
    if steep > 0.01:
        raise ConfigError(
            f"simulate.model wave: expected displacements below {largest:.2g} px ({oversampling} samples per "
            f"pixel), found more at {steep:.1%} of the samples; use a shorter distance or model rays"
        )
    sample = transmission_function(fields.phase, -fields.transmission.log())

    def image(incident: Tensor) -> Tensor:
        arrived = intensity(propagate(incident * sample, beam.fresnel_number / oversampling**2))
        return gaussian_blur_periodic(arrived, beam.source_blur_px * oversampling)

    if not (fields.darkfield < 1).any():
        return image(wave)
    y, x = landing_to_reference(fields.ux * oversampling, fields.uy * oversampling, tolerance=0.01)
    landed = sample_at(fields.darkfield[None], y, x)
    return torch.lerp(image(torch.ones_like(wave[:1])), image(wave), landed)
