"""Forward model: exact projections of a phantom and eq. (1) of physics.md, on an oversampled detector.

``I_s(x + u(x)) = T(x) { m(x) + D(x) [ I_r(x) - m(x) ] }`` with m the local mean of the reference.

All of it is evaluated before the detector: on ``oversampling`` samples a pixel and side, from fields that are
exact means over a sample; only then the detector blurs and bins. The equation has no Jacobian factor: light
that refraction gathers or spreads changes its place but not its intensity, so there are no edge fringes (the
model ``wave`` has them). Where rays have crossed the equation has no single answer; the direct beam is taken
there (see :func:`warp.landing_to_reference`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.simulate.optics import Beam, bin_mean, local_mean
from speckleflow.simulate.phantoms import Phantom
from speckleflow.simulate.warp import landing_to_reference, sample_at


class ProjectedFields(NamedTuple):
    """Fields of one projection on the reference grid, (y, x): phase in rad, T, D, displacement in pixels."""

    phase: Tensor
    transmission: Tensor
    darkfield: Tensor
    ux: Tensor
    uy: Tensor

    def binned(self, oversampling: int, margin: int) -> ProjectedFields:
        """Means over detector pixels, without ``margin`` pixels on every side."""
        size = [n // oversampling for n in self.phase.shape]
        inner = (slice(margin, size[0] - margin), slice(margin, size[1] - margin))
        return ProjectedFields(*(bin_mean(field, oversampling)[inner].contiguous() for field in self))


def project(
    phantom: Phantom,
    beam: Beam,
    angle_deg: float,
    rows: int,
    columns: int,
    axis_px: float,
    oversampling: int = 4,
    margin: int = 0,
    device: torch.device | str = "cpu",
) -> ProjectedFields:
    """Exact fields of one projection, ``oversampling`` samples a pixel and side, ``margin`` pixels around.

    The integrals are taken at the corners of the samples: the difference of the phase between two corners is
    the exact mean of its derivative along that edge, however sharp the limb. Each field is the mean over the
    corners (T and D: of the integrals). float32.
    """
    step = 1 / oversampling
    corners_x = torch.arange((columns + 2 * margin) * oversampling + 1, dtype=torch.float64, device=device)
    corners_y = torch.arange((rows + 2 * margin) * oversampling + 1, dtype=torch.float64, device=device)
    s = (corners_x * step - 0.5 - margin - axis_px) * beam.pixel_size_m
    z = (corners_y * step - 0.5 - margin - (rows - 1) / 2) * beam.pixel_size_m
    integrals = phantom.line_integrals(beam.energy_kev, angle_deg, s, z)
    phase = -beam.wavenumber_m * integrals.delta
    per_sample = beam.phase_per_px * step
    ux = phase.diff(dim=1) / per_sample
    uy = phase.diff(dim=0) / per_sample
    fields = (
        _corner_mean(phase),
        torch.exp(-_corner_mean(integrals.mu)),
        torch.exp(-_corner_mean(integrals.extinction)),
        (ux[:-1] + ux[1:]) / 2,
        (uy[:, :-1] + uy[:, 1:]) / 2,
    )
    return ProjectedFields(*(field.to(torch.float32) for field in fields))


def _corner_mean(corners: Tensor) -> Tensor:
    rows = corners[:-1] + corners[1:]
    return (rows[:, :-1] + rows[:, 1:]) / 4


def modulated_sample(
    reference: Tensor, fields: ProjectedFields, oversampling: int, mean_width_px: float
) -> Tensor:
    """Eq. (1): intensity (N, y, x) behind the sample, oversampled, from the oversampled reference (N, y, x).

    Parameters
    ----------
    fields : oversampled, as :func:`project` gives them.
    mean_width_px : standard deviation in pixels of the Gaussian that takes the local mean m of the reference:
        one pitch of the modulator, so that nothing of the pattern is left in it.
    """
    mean = local_mean(reference, mean_width_px * oversampling)
    behind = fields.transmission * torch.lerp(mean, reference, fields.darkfield)
    if not (fields.ux.any() or fields.uy.any()):
        return behind
    y, x = landing_to_reference(fields.ux * oversampling, fields.uy * oversampling, tolerance=0.005)
    return sample_at(behind, y, x, mode="bicubic")
