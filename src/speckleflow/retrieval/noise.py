"""How noise that is correlated from pixel to pixel enters a window's estimate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.normal import Basis

#: lags up to this many pixels: the correlation of noise low-passed by less than 1.4 px is below 1 % beyond
_REACH = 4
#: frames and central pixels that the correlations are measured on: 4 x 256 x 256 samples know them to 1 %
_FRAMES, _SIDE = 4, 256


@dataclass(frozen=True)
class NoiseGain:
    """Factor on the variance that white noise of the same size would give, for T, D, u_x, u_y.

    With noise of correlation rho_n and a regressor g of correlation rho_g, the sum over a Gaussian window of
    width sigma of g times noise has the variance of the white case times
    sum_d rho_n(d) rho_g(d) exp(-d^2 / 4 sigma^2).
    """

    products: Tensor  #: (4, lags): rho_n rho_g for the regressors m, rho, r_x, r_y
    squares: Tensor  #: (lags,) squared lag in pixels

    def __call__(self, sigma: float) -> Tensor:
        """(4, 1, 1) for a Gaussian window of ``sigma`` pixels."""
        return (
            (self.products * torch.exp(-self.squares / (4 * sigma**2))).sum(1)[:, None, None].clamp_min(0.1)
        )


def noise_gain(basis: Basis, low_pass_sigma: float) -> NoiseGain:
    """Gain for noise that was white before both stacks were low-passed by ``low_pass_sigma`` pixels."""
    reach = min(_REACH, (min(basis.shape[1:]) - 1) // 4)
    lag = torch.arange(-reach, reach + 1, dtype=torch.float32, device=basis.rho.device)
    squares = lag[:, None] ** 2 + lag**2
    noise = torch.exp(-squares / (4 * max(low_pass_sigma, 1e-3) ** 2))
    regressors = [torch.ones_like(noise)] + [
        _autocorrelation(g, reach) for g in (basis.rho, basis.rx, basis.ry)
    ]
    return NoiseGain(torch.stack([(noise * g).flatten() for g in regressors]), squares.flatten())


def _autocorrelation(stack: Tensor, reach: int) -> Tensor:
    _, height, width = stack.shape
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    part = stack[:_FRAMES, top : top + _SIDE, left : left + _SIDE]
    height, width = part.shape[-2:]
    centre = part[:, reach : height - reach, reach : width - reach]
    side = 2 * reach + 1
    out = torch.empty(side, side, device=stack.device)
    for i in range(side):
        for j in range(side):
            shifted = part[:, i : height - 2 * reach + i, j : width - 2 * reach + j]
            out[i, j] = (centre * shifted).sum()
    return out / out[reach, reach].clamp_min(1e-20)
