"""Fusion head: a network that mixes the displacements of the pyramid and of the refinement, at full resolution.

Its input is the displacement of the last Gauss-Newton step, those of windows of several widths, transmission and dark
field, the displacement predicted from absorption, and the expected error of the pyramid; its output are the weights of
these displacements. It adds no displacement of its own: a mixture of unbiased windows cannot show what is not in the
data. Lengths are in units of a local scale (the expected error, or what the narrow windows find missing), so that
weights learned of large errors hold for small ones. Untrained it leaves the last step nearly as it is.

Tracking measures T / det(1 + grad u), because refraction gathers light. The head divides this determinant out, with
the weight that it gives to it.

Refraction is the gradient of a phase and has no curl. The curl of the result is half of its noise; it is subtracted as
far as it is no larger than the expected error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speckleflow.retrieval.espinnet.refinement import WINDOWS, RefinementData
from speckleflow.retrieval.filters import filter_xy, gaussian, halve, smooth
from speckleflow.retrieval.fringes import log_determinant, slope_along
from speckleflow.retrieval.parallel import parallel_for, row_strips, thread_pool

WIDTH = 40
DILATIONS = (1, 2, 4, 1)
#: surroundings (px, standard deviations) against which details of the displacement are seen
NEAR, FAR = gaussian(1.5, truncate=3.0), gaussian(6.0, truncate=3.0)
#: the local scale is averaged over this
AROUND = gaussian(2.0, truncate=3.0)
#: least local scale (px): interpolation alone costs as much
MIN_SCALE_PX = 1e-3
#: largest correction of T and D
MAX_CONTRAST_CORRECTION = 0.05
#: log odds of the pyramid's displacement against the polished one to begin with
PRIOR_BIAS = -4.0
#: weights of the determinant of the displacement itself and of that smoothed by NEAR, to begin with
DETERMINANT_BIAS = (0.0, 1.0)
#: Widths (px) of the Gaussians whose sum stands for the inverse Laplacian: the integral over t of
#: exp(-k^2 t), t up to 16^2 / 2, in four pieces, each with the Gaussian of its middle. Wider curls are no noise.
CURL_EDGES = (0.0, 0.7, 1.8, 5.0, 16.0)
#: The curled part is noise while its mean square over NEAR_CURL is at most this many expected variances: 1 took as
#: much off held-out scenes as any larger number, and left a field that does have curl as it is.
CURL_VARIANCES = 1.0
NEAR_CURL = gaussian(3.0, truncate=3.0)
#: window (standard deviation in pairs of pixels) in which refraction is compared with absorption: a few speckles
FIT = gaussian(2.5, truncate=3.0)
#: slopes of ln T below this (per px) tell nothing
MIN_SLOPE = 1e-3
#: bytes of the rows that are brought into another order of memory together
_ROWS_BYTES = 1 << 17
#: farthest pixel that matters beyond those of the refinement
HALO = 2 * (sum(DILATIONS) + 1) + 18


@dataclass(frozen=True)
class RefinedFields:
    """Fields (B, 1 or 2, y, x): displacement in px, log of its standard deviation, T and D, T / det(1 + grad u)."""

    displacement: Tensor
    log_sigma: Tensor
    transmission: Tensor
    darkfield: Tensor
    transmission_measured: Tensor


class FusionHead(nn.Module):
    """Fields from the data's and the pyramid's; its convolutions run on 2 x 2 pixels as channels."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        #: weights of [pyramid, windows, shift of blur, absorption's], of two determinants, log sigma, T and D
        self.parts = (3 + len(WINDOWS), len(DETERMINANT_BIAS), 1, 2)
        channels = (4 * (19 + 3 * len(WINDOWS)) + hidden, *[WIDTH] * len(DILATIONS))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=d, dilation=d)
            for a, b, d in zip(channels[:-1], channels[1:], DILATIONS, strict=True)
        )
        self.last = nn.Conv2d(WIDTH, 4 * sum(self.parts), 3, padding=1)
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self, data: RefinementData, prior: Tensor, prior_log_sigma: Tensor, hidden: Tensor, positions: int
    ) -> RefinedFields:
        """``prior`` (B, 2, y, x) and ``prior_log_sigma`` are the pyramid's, ``hidden`` (B, channels, y / 2, x / 2)
        too.
        """
        # lengths of thousandths of a pixel need float32, whatever the convolutions run in
        with torch.no_grad(), torch.autocast(prior.device.type, enabled=False):
            absorbed = data.transmission * log_determinant(data.displacement, NEAR).exp()
            suggested, agreement = predict_from_absorption(data.displacement, absorbed)
            detail = data.displacement - filter_xy(data.displacement, NEAR, NEAR, "mirror")
            seen, scale = _network_input(data, detail, prior.float(), prior_log_sigma.float(), positions)
            other = _asinh((suggested - data.displacement) / scale)
            seen = torch.cat([seen, other, agreement], 1)
        last = _pack_pixels(seen, hidden.detach())
        del seen, other, agreement, absorbed, detail  # as large as everything that follows
        for convolution in self.convolutions:
            last = F.leaky_relu(convolution(last), 0.1, inplace=True)
        found = F.pixel_shuffle(self.last(last).contiguous(), 2)  # planes, whatever the convolutions' order
        with torch.autocast(prior.device.type, enabled=False):
            return self._fields(found.float(), data, prior.float(), suggested, scale)

    def _fields(
        self, found: Tensor, data: RefinementData, prior: Tensor, suggested: Tensor, scale: Tensor
    ) -> RefinedFields:
        """Fields from the output of the convolutions."""
        weights, determinants, log_sigma, contrasts = found.split(self.parts, 1)
        u = data.displacement + (weights[:, :1] + PRIOR_BIAS).sigmoid() * (prior - data.displacement)
        for k in range(len(WINDOWS)):
            u = u + weights[:, 1 + k : 2 + k].clamp(-1.5, 2.0) * data.steps[:, 2 * k : 2 * k + 2]
        u = u + weights[:, -2:-1].clamp(-1.0, 1.0) * data.shift
        u = u + weights[:, -1:].clamp(-0.5, 1.5) * (suggested - data.displacement)
        log_sigma = scale.log() + log_sigma
        u = remove_curl(u, log_sigma)
        log_t = data.transmission.clamp_min(1e-3).log()
        for k, (kernel, bias) in enumerate(zip((None, NEAR), DETERMINANT_BIAS, strict=True)):
            weight = (determinants[:, k : k + 1] + bias).clamp(-0.5, 1.5)
            # the errors of T do not teach the displacement
            log_t = log_t + weight * log_determinant(u.detach(), kernel)
        t, d = (
            torch.cat([log_t.exp(), data.darkfield], 1) + MAX_CONTRAST_CORRECTION * contrasts.tanh()
        ).split(1, 1)
        return RefinedFields(u, log_sigma, t.clamp_min(0), d.clamp_min(0), data.transmission)


def _network_input(
    data: RefinementData, detail: Tensor, prior: Tensor, prior_log_sigma: Tensor, positions: int
) -> tuple[Tensor, Tensor]:
    """Input of the network (B, channels, y, x), and the local scale (B, 1, y, x) in px."""
    u = data.displacement
    # what the middle window finds missing beyond noise
    missing = data.steps[:, 2:4].square().mean(1, True) - torch.exp(2 * data.log_errors[:, 1:2])
    excess = filter_xy(missing, AROUND, AROUND, "mirror").clamp_min(0)
    scale = (torch.exp(2 * data.log_sigma) + excess + MIN_SCALE_PX**2).sqrt().clamp_max(1.0)
    log_scale = scale.log()
    contrasts = torch.cat([10 * data.transmission.clamp_min(0.01).log(), 5 * data.darkfield], 1)
    lengths = [prior - u, data.steps, data.shift, detail, u - filter_xy(u, FAR, FAR, "mirror")]
    seen = [
        _asinh(torch.cat(lengths, 1) / scale),
        data.log_errors - log_scale,
        contrasts - filter_xy(contrasts, FAR, FAR, "mirror"),
        data.darkfield - 1,
        log_scale + 4,  # the middle of usual values
        data.log_sigma - log_scale,
        (prior_log_sigma - log_scale).clamp(-4.0, 4.0),
        data.log_noise + 4,
        torch.full_like(scale, math.log(positions / 5)),
    ]
    return torch.cat(seen, 1), scale


def _pack_pixels(seen: Tensor, hidden: Tensor) -> Tensor:
    """2 x 2 pixels of ``seen`` (B, C, y, x) as channels, and ``hidden`` (B, channels, y / 2, x / 2), in the order of
    memory that convolutions want.

    A few rows at a time: whole planes lie so that they push each other out of a processor's cache.
    """
    batch, _, height, width = hidden.shape
    own = 4 * seen.shape[1]
    shape = batch, own + hidden.shape[1], height, width
    out = torch.empty(shape, dtype=seen.dtype, device=seen.device, memory_format=torch.channels_last)

    def pack_rows(rows: slice) -> None:
        double = slice(2 * rows.start, 2 * rows.stop)
        out[:, :own, rows] = F.pixel_unshuffle(seen[:, :, double], 2)
        out[:, own:, rows] = hidden[:, :, rows]

    with thread_pool(seen.device):
        parallel_for(pack_rows, row_strips(batch * own, height, width, seen.device, _ROWS_BYTES))
    return out


def _asinh(x: Tensor) -> Tensor:
    """As torch.asinh, to 1e-7, in a tenth of the time on a CPU: of operations that are vectorised."""
    if torch.compiler.is_compiling():
        return x.asinh()  # ONNX has no sign bit
    return x.square().add_(1).sqrt_().add_(x.abs()).log_().copysign_(x)


def predict_from_absorption(u: Tensor, transmission: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement predicted from absorption (B, 2, y, x), and its correlation with ``u`` around (B, 1, y, x).

    In one material both the phase and ln T are proportional to the thickness (Paganin et al., J. Microsc. 206, 33,
    2002), and so are the displacement and the gradient of ln T. The factor, and an offset, are fitted to ``u``
    (B, 2, y, x) in Gaussian windows. T, which must be free of fringes (:func:`log_determinant`), shows an edge as
    sharp as the detector does, whatever the speckle's size.
    """
    slope = torch.cat([slope_along(transmission.clamp_min(0.02).log(), axis) for axis in (-1, -2)], 1)
    small = halve(torch.cat([u, slope], 1))
    v, g = small.split(2, 1)
    products = torch.cat([(v * g).sum(1, True), (g * g).sum(1, True), (v * v).sum(1, True)], 1)
    mean_v, mean_g, products = filter_xy(torch.cat([small, products], 1), FIT, FIT, "mirror").split(
        (2, 2, 3), 1
    )
    vg, gg, vv = products.split(1, 1)
    vg = vg - (mean_v * mean_g).sum(1, True)
    gg = (gg - mean_g.square().sum(1, True)).clamp_min(0) + MIN_SLOPE**2
    vv = (vv - mean_v.square().sum(1, True)).clamp_min(0) + MIN_SCALE_PX**2
    factor = vg / gg
    fit = torch.cat([factor, mean_v - factor * mean_g, vg * (gg * vv).rsqrt()], 1)
    fit = F.interpolate(fit, scale_factor=2.0, mode="bilinear", align_corners=False)
    factor, offset, agreement = fit.split((1, 2, 1), 1)
    return offset + factor * slope, agreement


def remove_curl(u: Tensor, log_sigma: Tensor) -> Tensor:
    """Displacement (B, 2, y, x) without the curl that noise of standard deviation exp(``log_sigma``) explains."""
    curled = solenoidal_part(u)
    with torch.no_grad():
        power = filter_xy(curled.square().mean(1, True), NEAR_CURL, NEAR_CURL, "mirror")
        allowed = CURL_VARIANCES * torch.exp(2 * log_sigma)
        weight = allowed / torch.maximum(allowed, power)
    return u - weight * curled


def solenoidal_part(u: Tensor) -> Tensor:
    """Solenoidal part of a displacement (B, 2, y, x), up to curls of some 16 px.

    It is the curl of -psi, with psi the inverse Laplacian of the vorticity: a sum of Gaussians of it, as
    1 / k^2 is the integral of exp(-k^2 t). For errors without direction it is half of their energy.
    """
    vorticity = slope_along(u[:, 1:], -1) - slope_along(u[:, :1], -2)
    psi = torch.zeros_like(vorticity)
    for low, high in pairwise(CURL_EDGES):
        kernel = gaussian(math.sqrt((low**2 + high**2) / 2), truncate=3.0)
        psi = psi + (high**2 - low**2) / 2 * smooth(vorticity, kernel)
    return torch.cat([slope_along(psi, -2), -slope_along(psi, -1)], 1)
