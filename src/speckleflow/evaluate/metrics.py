"""Errors of fields against the truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.base import Fields

#: pixels next to the border that no number counts: windows leave the image there
BORDER = 8


@dataclass(frozen=True)
class Errors:
    """Errors of one method on one or more scenes.

    Attributes
    ----------
    rmse, bias, percentile99 : of the displacement components, in px (bias: mean of the signed error along
    the truth;
        percentile99: 99th percentile of the absolute error).
    rmse_transmission, rmse_darkfield : NaN where the method has none.
    within_sigma : share of the displacement errors within one predicted standard deviation (NaN without one).
    """

    rmse: float
    bias: float
    percentile99: float
    rmse_transmission: float
    rmse_darkfield: float
    within_sigma: float

    def row(self) -> dict[str, float]:
        """Names and values."""
        return asdict(self)


def errors(fields: Fields, ux: Tensor, uy: Tensor, transmission: Tensor, darkfield: Tensor) -> Errors:
    """Errors of fields (B, y, x) against the truth on the reference grid (B, y, x)."""

    def inner(image: Tensor) -> Tensor:
        return image[..., BORDER:-BORDER, BORDER:-BORDER]

    def rms(image: Tensor | None, truth: Tensor) -> float:
        return float((inner(image) - inner(truth)).square().mean().sqrt()) if image is not None else math.nan

    if fields.ux is None or fields.uy is None:
        nan = math.nan
        return Errors(nan, nan, nan, rms(fields.transmission, transmission), nan, nan)
    truth = torch.stack([inner(ux), inner(uy)])
    error = torch.stack([inner(fields.ux), inner(fields.uy)]) - truth
    size = error.abs()
    bias = (error * truth).sum() / truth.square().sum().clamp_min(1e-12) * truth.square().mean().sqrt()
    std = fields.displacement_std
    within = float((size <= inner(std)).float().mean()) if std is not None else math.nan
    return Errors(
        rmse=float(error.square().mean().sqrt()),
        bias=float(bias),
        # torch's quantile takes 16 million values at most
        percentile99=float(size.flatten().double().sort().values[int(0.99 * (size.numel() - 1))]),
        rmse_transmission=rms(fields.transmission, transmission),
        rmse_darkfield=rms(fields.darkfield, darkfield),
        within_sigma=within,
    )


def similarity(image: Tensor, reference: Tensor) -> float:
    """Pearson correlation of two images (y, x), as in Fig. 6e of Qiao et al., J. Synchrotron Rad., 2026."""
    a, b = image - image.mean(), reference - reference.mean()
    return float((a * b).sum() / (a.norm() * b.norm()))
