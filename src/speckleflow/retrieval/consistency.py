"""Whether the fields explain the frames: the speckle simulated again from them beside the measured one.

Eq. (1), I_s(x + u) = T { m + D [I_r - m] }, m the local mean of the reference, is a claim about every frame. Both of
its sides are compared at pairs of diagonal neighbours, one pair in every cell of three pixels. What the two of a pair
do not share is noise; what they share is something that the fields say and the frames do not, or the other way round:
a feature that a network invented, an edge steeper than a window, rays that cross. Its root mean square in a window,
over that of the pattern T (I_r - m), is the misfit: 0 where the fields explain the frames, 1 where what is left is as
strong as the pattern.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.base import FLAG_MISFIT, Fields
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.normal import MEAN_SIGMA

#: side of a cell in px, and the window in px (standard deviation)
CELL, WINDOW_PX = 3, 5.0
_WINDOW = gaussian(WINDOW_PX / CELL, truncate=3.0)
#: the local mean is taken on an image so many times smaller
_MEAN_STEP = 8
_MEAN = gaussian(MEAN_SIGMA / _MEAN_STEP, truncate=3.0)
#: least power of the pattern over its mean: less is no pattern to compare with
_LEAST_POWER = 1e-3
#: least part of the pattern's power that pairs of it share: less is finer than the pixels
_LEAST_SHARED = 0.25
#: what pairs share is told from noise from so many standard deviations of its own on
_SEEN = 4.0


@dataclass(frozen=True)
class Consistency:
    """The check of the fields that one reference gives.

    Attributes
    ----------
    shape : (N, y, x) of the reference.
    rows, columns : (2, y', x') the compared pixels: both of the pair in every cell.
    mean : (2, y', x') local mean m.
    pattern : (N, 2, y', x') reference minus m.
    """

    shape: tuple[int, int, int]
    rows: Tensor
    columns: Tensor
    mean: Tensor
    pattern: Tensor

    @classmethod
    def of(cls, reference: Tensor) -> Consistency:
        """From the reference stack (N, y, x), on the device where the fields will be."""
        n, height, width = reference.shape
        rows, columns = _pairs(height, width, reference.device)
        mean = _local_mean(reference.mean(0))[rows, columns]
        return cls((n, height, width), rows, columns, mean, reference[:, rows, columns] - mean)

    def check(self, sample: Tensor, fields: Fields, largest: float) -> Fields:
        """The fields with their misfit, and FLAG_MISFIT where it is larger than ``largest`` and no noise.

        Parameters
        ----------
        sample : (B, N, y, x) frames that the fields were retrieved from.
        fields : (B, y, x); of a method without displacement they are returned as they are.
        """
        if fields.ux is None or fields.uy is None:
            return fields
        with torch.inference_mode():
            found = [self._projection(sample[k], fields, k) for k in range(len(sample))]
        misfit, seen = (torch.stack(maps) for maps in zip(*found, strict=True))
        wrong = ((misfit > largest) & (seen > 0.5)).to(torch.uint8) * FLAG_MISFIT
        flags = wrong if fields.flags is None else fields.flags | wrong
        return replace(fields, misfit=misfit, flags=flags)

    def _projection(self, sample: Tensor, fields: Fields, k: int) -> tuple[Tensor, Tensor]:
        """Misfit, and whether it is more than noise (1 or 0), both (y, x), of frames (N, y, x)."""
        n, height, width = self.shape
        measured = (
            fields.transmission if fields.transmission_measured is None else fields.transmission_measured
        )
        assert fields.ux is not None
        assert fields.uy is not None
        ux, uy, t = (image[k][self.rows, self.columns] for image in (fields.ux, fields.uy, measured))
        x, y = self.columns + ux, self.rows + uy
        place = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        landed = F.grid_sample(
            sample.to(ux.device, ux.dtype)[None],
            place.flatten(0, 1)[None],
            mode="bicubic",
            padding_mode="border",
            align_corners=True,
        ).view(n, *self.rows.shape)
        pattern = t * self.pattern
        model = (
            pattern if fields.darkfield is None else fields.darkfield[k][self.rows, self.columns] * pattern
        )
        rest = landed - t * self.mean - model
        there = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).all(0)
        values = [part for images in (rest, pattern) for part in _shared_and_power(images)]
        # where a ray leaves the image nothing is known, whatever was found
        sums = torch.stack([torch.where(there, value, 0.0) for value in values] + [there.to(t.dtype)])
        shared, power, of_pattern, light, count = filter_xy(sums, _WINDOW, _WINDOW, "zero")
        count = count.clamp_min(1e-6)
        floor = _LEAST_POWER * float((light / count).mean()) + 1e-30
        of_pattern = torch.maximum(of_pattern, _LEAST_SHARED * light).maximum(floor * count)
        misfit = (shared.clamp_min(0) / of_pattern).sqrt()
        pairs = n * 4 * torch.pi * (WINDOW_PX / CELL) ** 2
        seen = (shared > _SEEN / pairs**0.5 * (power - shared)).to(misfit.dtype)
        return _fine(misfit, height, width), _fine(seen, height, width)


def _shared_and_power(images: Tensor) -> tuple[Tensor, Tensor]:
    """Products of pairs, and mean squares, of images (N, 2, y, x), summed over N."""
    return (images[:, 0] * images[:, 1]).sum(0), images.square().mean(1).sum(0)


def _pairs(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns (2, y', x') of two diagonal neighbours in every cell; the diagonals alternate."""
    i, j = (torch.arange((n - 2) // CELL + 1, device=device) for n in (height, width))
    row, column = torch.broadcast_tensors(CELL * i[:, None], CELL * j)
    other = (i[:, None] + j) % 2
    return torch.stack([row, row + 1]), torch.stack([column + other, column + 1 - other])


def _fine(image: Tensor, height: int, width: int) -> Tensor:
    """Image (y, x) of all pixels from one of every cell, linear between them."""
    size = [CELL * (n - 1) + 1 for n in image.shape]
    full = F.interpolate(image[None, None], size, mode="bilinear", align_corners=True)
    return F.pad(full, (0, width - size[1], 0, height - size[0]), mode="replicate")[0, 0]


def _local_mean(image: Tensor) -> Tensor:
    """Mean (y, x) over a Gaussian as wide as the local mean of the methods, over what of it is inside."""
    small = F.avg_pool2d(image[None, None], _MEAN_STEP, ceil_mode=True, count_include_pad=False)[0]
    smooth = filter_xy(small, _MEAN, _MEAN, "zero") / filter_xy(torch.ones_like(small), _MEAN, _MEAN, "zero")
    return F.interpolate(smooth[None], image.shape, mode="bilinear", align_corners=False)[0, 0]
