"""Edge fringes of the transmission: light that refraction gathers or spreads.

A ray that lands at x + u(x) brings its light along, so that tracking measures T / det(1 + grad u) where the sample
transmits T: bright and dark fringes at every edge, and an error of T inside every lens.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.filters import Kernel, filter_xy, gaussian

#: Window in which the determinant that fringes come from is taken: width in px, the one with the least error of T on
#: the validation families of 1.0, 1.5, 2.5 and 4.0 px.
FRINGES = gaussian(1.5, truncate=3.0)
#: determinants are kept above this: where rays cross there is no single one
LEAST_DETERMINANT = 0.2


def log_determinant(u: Tensor, kernel: Kernel | None = None) -> Tensor:
    """ln det(1 + grad u) (B, 1, y, x) of a displacement (B, 2, y, x), smoothed by ``kernel`` before.

    A ray's light is spread over the determinant of its map.
    """
    if kernel is not None:
        u = filter_xy(u, kernel, kernel, "mirror")
    ux, uy = u.split(1, 1)
    determinant = (1 + slope_along(ux, -1)) * (1 + slope_along(uy, -2)) - slope_along(ux, -2) * slope_along(
        uy, -1
    )
    return determinant.clamp_min(LEAST_DETERMINANT).log()


def slope_along(image: Tensor, axis: int) -> Tensor:
    """Central differences along an axis of (B, 1, y, x), half as large at the border."""
    pad = (1, 1, 0, 0) if axis == -1 else (0, 0, 1, 1)
    padded = F.pad(image, pad, mode="replicate")
    size = image.shape[axis]
    return (padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)) / 2
