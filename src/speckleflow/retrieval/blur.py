"""The displacement that blur makes out of absorption, and its removal.

The detector sees the pattern r times its strength B = T D through its point spread. Where B changes, the stronger
side of the point spread weighs more: for a point spread of variance s^2 (per axis) and ln B linear over its width,

    blur(B r)(x) = B { blur(r)(x) + s^2 (ln B)'(x) blur(r)'(x) },

which is blur(r)(x - u) with u = -s^2 (ln B)': it looks like a displacement, of 0.01 px for 1 % of absorption per
pixel and s = 1 px. In one material it is proportional to the refraction itself, so that delta comes out too small
by a constant factor.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: variance of a pixel's own aperture (a box of width 1) in pixels^2
PIXEL_VARIANCE = 1 / 12
#: a pattern weaker than this is noise
_LEAST = 1e-3


def without_blur_shift(ux: Tensor, uy: Tensor, strength: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """Displacement (..., y, x) without what a point spread of ``variance`` px^2 per axis made of B = T D.

    ``variance`` counts all that blurs after the sample: the pixel's aperture, the detector's point spread, and
    a low-pass of the stacks.
    """
    along_y, along_x = torch.gradient(strength.clamp_min(_LEAST).log(), dim=(-2, -1))
    return ux + variance * along_x, uy + variance * along_y
