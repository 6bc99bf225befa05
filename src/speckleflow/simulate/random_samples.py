"""Random samples for training: what refracts, absorbs and scatters, as fields on an oversampled grid.

A sample is a phase and the integrals of attenuation and extinction at the corners of the samples. The displacement is
the gradient of the phase (refraction has no curl), as an exact mean along the samples' edges. Three kinds are drawn:
solids with edges (balls, ellipsoids, rods, pores, outlines; one material or several), smooth fields, and both. Phase
and attenuation are related as in one material, unrelated, or of opposite sign (pores and immersed bodies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from speckleflow.simulate.draw import Draw
from speckleflow.simulate.optics import gaussian_blur
from speckleflow.simulate.shapes import bezier_outline, fill_outline, smooth_field

Kind = Literal["smooth", "solids", "both"]
#: share of the samples whose materials all refract the same way, as matter in air does; the others are immersed
IN_AIR = 0.8
#: share of hard edges (softness 0) among the solids
HARD = 0.3


class Corners(NamedTuple):
    """Phase, attenuation and extinction in arbitrary units at the corners of the samples, (side + 1, side + 1) each."""

    phase: Tensor
    attenuation: Tensor
    extinction: Tensor


def random_corners(
    generator: torch.Generator,
    side: int,
    oversampling: int,
    kinds: Sequence[Kind] = get_args(Kind),
    edge_px: tuple[float, float] = (0.0, 3.0),
) -> Corners:
    """A sample of solids, of smooth fields, or of both.

    Parameters
    ----------
    side : samples a side.
    oversampling : samples a pixel.
    kinds : what is drawn, each as often as it is named.
    edge_px : softness of the solids' edges (standard deviation in pixels), uniform; where it begins at 0, HARD of
        the samples have hard edges.
    """
    draw = Draw(generator)
    kind = kinds[draw.integer(0, len(kinds))]
    if kind == "smooth":
        return smooth_corners(generator, side, oversampling)
    soft = 0.0 if edge_px[0] == 0 and draw.chance(HARD) else draw.uniform(*edge_px)
    solids = Corners(*gaussian_blur(torch.stack(solid_corners(generator, side)), soft * oversampling))
    if kind == "solids":
        return solids
    smooth = smooth_corners(generator, side, oversampling)
    shares = [draw.uniform(0.0, 1.0) for _ in solids]
    return Corners(
        *(
            _unit(a) + share * _unit(b) * float(bool(a.any()))
            for a, b, share in zip(solids, smooth, shares, strict=True)
        )
    )


def smooth_corners(generator: torch.Generator, side: int, oversampling: int) -> Corners:
    """Smooth fields with features of 8 to 40 px; attenuation and extinction follow the phase, or do not."""
    draw = Draw(generator)
    pixels = side / oversampling

    def smooth() -> Tensor:
        knots = max(1, round(pixels / draw.log_uniform(8.0, 40.0)))
        return smooth_field(generator, side + 1, knots)[0]

    phase = smooth()
    relation = draw.uniform(0, 1)
    attenuation = smooth() if relation < 0.4 else (-phase if relation < 0.9 else phase)
    extinction = smooth() if draw.chance(0.7) else -phase
    return Corners(phase, attenuation - attenuation.min(), extinction - extinction.min())


def solid_corners(generator: torch.Generator, side: int) -> Corners:
    """One to five solids of up to three materials with hard edges.

    At the edge of a ball the derivative of its thickness has no bound. What refracts also absorbs, in one proportion
    all over a material.
    """
    device = generator.device

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    materials = 1 + int(3 * random(1))
    # refraction, attenuation, extinction per thickness: one in five absorbs nothing, three in five do not scatter
    strengths = random(materials, 3) ** 2
    strengths[:, 0] += 0.1
    strengths[:, 1] *= (random(materials) < 0.8).float()
    strengths[:, 2] *= (random(materials) < 0.4).float()
    if float(random(1)) > IN_AIR:
        strengths[:, 0] *= (random(materials) < 0.5).float() * 2 - 1
    sums = torch.zeros(3, side + 1, side + 1, device=device)
    for _ in range(1 + int(5 * random(1))):
        material = strengths[int(materials * random(1))]
        kind, r = float(random(1)), random(6)
        if kind < 0.65:
            centre, radius = side * r[:2], side * (0.03 + 0.3 * r[2] ** 2)
            flat = 1.0 if kind < 0.4 else 0.4 + 0.6 * float(r[3])
            thickness = _ellipsoid(side, centre, radius, flat, math.pi * float(r[4]))
            if float(r[5]) < 0.3:  # a pore inside
                inside = radius * (0.2 + 0.4 * r[3]) * flat
                where = centre + (radius * flat - inside) * (random(2) - 0.5)
                thickness = thickness - _ellipsoid(side, where, inside, 1.0, 0.0)
        elif kind < 0.85:
            thickness = _rod(side, side * r[:2], side * (0.01 + 0.2 * r[2] ** 2), math.pi * float(r[4]))
        else:  # a plate with a random outline; its faces are a wedge or a bowl
            plate = fill_outline(bezier_outline(generator, side + 1), side + 1)
            faces = smooth_field(generator, side + 1, 2 + int(7 * float(r[0])))[0]
            thickness = side * (0.02 + 0.1 * float(r[1])) * plate * (1 + 0.5 * float(r[2]) * faces)
        sums += material[:, None, None] * thickness
    return Corners(-sums[0], sums[1].clamp_min(0), sums[2].clamp_min(0))


def _unit(field: Tensor) -> Tensor:
    """Scaled to a range of 1 (a constant stays)."""
    return field / (field.max() - field.min()).clamp_min(1e-9)


def _corner_places(side: int, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Places (y, x) of the corners of side x side samples, from ``centre``."""
    line = torch.arange(side + 1, device=centre.device, dtype=torch.float32)
    return line[:, None] - centre[0], line[None, :] - centre[1]


def _ellipsoid(side: int, centre: Tensor, radius: Tensor, flat: float, turn: float) -> Tensor:
    """Thickness in samples at the corners of a spheroid; ``flat``: short axis over long."""
    y, x = _corner_places(side, centre)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    inside = 1 - (along / radius) ** 2 - (across / (flat * radius)) ** 2
    return 2 * radius * inside.clamp_min(0).sqrt()


def _rod(side: int, centre: Tensor, radius: Tensor, turn: float) -> Tensor:
    """Thickness in samples at the corners of an endless rod across the beam."""
    y, x = _corner_places(side, centre)
    across = y * math.cos(turn) - x * math.sin(turn)
    return 2 * (radius**2 - across**2).clamp_min(0).sqrt()
