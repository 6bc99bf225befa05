"""Random solids with sharp limbs, for training: balls, ellipsoids, rods and pores of a few materials.

At the limb of a ball the derivative of its thickness has no bound: rays cross there, and a pixel's mean displacement
is several times that of its neighbours. What refracts also absorbs, in the same proportion all over a material: the
transmission shows the limb that the displacement smears.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: share of the scenes whose materials all refract the same way, as matter in air does; the others are immersed
IN_AIR = 0.8


def sharp_solids(generator: torch.Generator, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients (x and y, per sample) of a phase, and integrals of attenuation and extinction, (side, side) each.

    In arbitrary units. The gradients are exact means along the samples' edges, as in
    :func:`speckleflow.simulate.forward.project`.
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
        if kind < 0.75:
            centre, radius = side * r[:2], side * (0.03 + 0.3 * r[2] ** 2)
            flat = 1.0 if kind < 0.45 else 0.4 + 0.6 * float(r[3])
            thickness = _ellipsoid(side, centre, radius, flat, math.pi * float(r[4]))
            if float(r[5]) < 0.3:  # a pore inside
                inside = radius * (0.2 + 0.4 * r[3]) * flat
                where = centre + (radius * flat - inside) * (random(2) - 0.5)
                thickness = thickness - _ellipsoid(side, where, inside, 1.0, 0.0)
        else:
            thickness = _rod(side, side * r[:2], side * (0.01 + 0.2 * r[2] ** 2), math.pi * float(r[4]))
        sums += material[:, None, None] * thickness
    phase = -sums[0]
    gx, gy = phase.diff(dim=1), phase.diff(dim=0)
    attenuation, extinction = (
        (s[:-1, :-1] + s[:-1, 1:] + s[1:, :-1] + s[1:, 1:]) / 4 for s in (sums[1], sums[2])
    )
    return (gx[:-1] + gx[1:]) / 2, (gy[:, :-1] + gy[:, 1:]) / 2, attenuation, extinction


def _corners(side: int, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Places (y, x) of the corners of side x side samples, from ``centre``."""
    line = torch.arange(side + 1, device=centre.device, dtype=torch.float32)
    return line[:, None] - centre[0], line[None, :] - centre[1]


def _ellipsoid(side: int, centre: Tensor, radius: Tensor, flat: float, turn: float) -> Tensor:
    """Thickness in samples at the corners (side + 1, side + 1) of a spheroid; ``flat``: short axis over long."""
    y, x = _corners(side, centre)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    inside = 1 - (along / radius) ** 2 - (across / (flat * radius)) ** 2
    return 2 * radius * inside.clamp_min(0).sqrt()


def _rod(side: int, centre: Tensor, radius: Tensor, turn: float) -> Tensor:
    """Thickness in samples at the corners (side + 1, side + 1) of an endless rod across the beam."""
    y, x = _corners(side, centre)
    across = y * math.cos(turn) - x * math.sin(turn)
    return 2 * (radius**2 - across**2).clamp_min(0).sqrt()
