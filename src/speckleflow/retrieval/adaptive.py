"""Windows: one that is given, or the best mixture of many at each pixel.

``auto`` proceeds from wide Gaussian windows to narrow ones. Each window adds a correction computed from the residual of
the wider ones, weighted by 1 - C / P: P is the local mean square of the correction, C its variance expected of noise
(a Wiener filter with an estimated signal, as in the empirical-Bayes shrinkage of James and Stein, Proc. 4th Berkeley
Symp. 1, 361, 1961). Where the displacement is smooth, the wide windows dominate and average the noise of many pixels;
at edges the narrow ones contribute. All windows use the quadratic model of one warp, which is a few maps.

Transmission is not constant in a window: light that the sample refracts makes bright and dark fringes as wide as a
pixel. Left alone they are taken for displacement, since slopes of the pattern do not cancel in so small a window.
With N positions every pixel knows its own transmission, so its deviation from the window's is a free parameter of that
pixel, with a variance that the data give, and drops out of the normal equations (:func:`free_transmission`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.filters import Kernel, box, energy, filter_xy, gaussian, halve
from speckleflow.retrieval.noise import NoiseGain
from speckleflow.retrieval.normal import PACKED, PLACE, Basis, Estimate, Moments, apply, solve
from speckleflow.retrieval.parallel import map_rows

#: widths of the windows in pixels, wide to narrow, by factors near 1.6: finer spacing changed the error by less than
#: 1 %, wider ones raised it. The widest averages over 800 pixels, the narrowest is the pixel and its neighbours.
SCALES = (8.0, 5.0, 3.0, 2.0, 1.3, 0.8)
#: for a step that only prepares the next warp
COARSE_SCALES = (4.0, 2.0, 1.0)
#: P is averaged over a Gaussian this many times as wide as the window: over some 18 independent cells, so that it
#: is known to a third. Over fewer, P is noise and a weight above 1 - C / P must not be believed: 1 - 1.5 C / P over 8
#: cells was as good where fields are smooth, but removed 3 % of delta beside edges, which the wide windows smear.
_NEIGHBOURHOOD = 3.0
#: windows from this width on are as good on 2 x 2 means, at a quarter of the work
_HALF_FROM = 2.0
#: the noise is averaged over this width: wide enough to know it to a few per cent with N = 3
_NOISE_SIGMA = 4.0
#: windows (px) in which the deviation of a pixel's transmission is judged: near the middle of the wide and of the
#: narrow windows
FREE_WIDE_PX, FREE_NARROW_PX = 3.0, 1.0
#: no step moves a ray by more than this: the linear model does not reach farther than a speckle
_CLAMP_PX = 1.0
#: limits of T and D: beyond them the data contradict the model
T_LIMITS = (0.005, 3.0)
D_LIMITS = (0.0, 2.0)


@dataclass(frozen=True)
class Linearised:
    """The quadratic model around an estimate, in the unknowns (T, D, u_x, u_y).

    ``gram`` (10, y, x) packed, ``residual`` (4, y, x) its right-hand side, ``noise`` (y, x) variance of one
    sample about the model, ``valid`` (y, x) 1 where there are data, else 0; ``transmission`` (y, x) that every pixel
    alone finds, None with one position (then it cannot be told from the pattern).
    """

    gram: Tensor
    residual: Tensor
    noise: Tensor
    valid: Tensor
    transmission: Tensor | None = None


def linearise(now: Estimate, moments: Moments, basis: Basis) -> Linearised:
    """Quadratic model around ``now``, from the sums over n of the sample warped by it."""
    slopes = (*torch.gradient(now.ux), *torch.gradient(now.uy))
    maps = (now.t, now.b, *slopes, moments.h, moments.energy, moments.valid, basis.gram)
    gram, residual, squares = map_rows(_regressors, (basis.gram, moments.h, now.t), *maps)
    positions, transmission = basis.shape[0], None
    degrees = positions
    if positions > 1:
        squares, transmission = map_rows(_pixel_transmission, (now.t, now.t), now.t, gram, residual, squares)
        degrees = positions - 1
    wide = gaussian(_NOISE_SIGMA, truncate=3.0)
    sums = filter_xy(torch.stack((squares, moments.valid)), wide, wide, "zero")
    noise = sums[0] / (sums[1] * degrees).clamp_min(1e-3)
    return Linearised(gram, residual, noise, moments.valid, transmission)


def _pixel_transmission(t: Tensor, gram: Tensor, residual: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Squares that are left, and T, where every pixel has its own."""
    step = residual[0] / (gram[0] + 1e-9)
    return (squares - step * residual[0]).clamp_min(0), t + step


def free_transmission(model: Linearised, sigma: float) -> Linearised:
    """The model in which every pixel's T may deviate from that of a window, so that fringes do not look like u.

    The deviation e of each pixel is Gaussian with a variance V of its own; with the regressor g of T (the first row of
    the pixel's Gram matrix G) and the noise C, eliminating e leaves G - w g g^T and r - w g r_T, w = V / (C + V G_TT)
    (Sherman and Morrison, Ann. Math. Stat. 21, 124, 1950). V is the local variance, within ``sigma`` pixels (the
    window's standard deviation), of the T that the pixels find alone, less what noise makes of it.

    With one position the model comes back as it is.
    """
    if model.transmission is None:
        return model
    kernel = gaussian(sigma, truncate=3.0)
    values = torch.stack((model.transmission * model.valid, model.valid))
    mean, ones = filter_xy(values, kernel, kernel, "zero")
    squares = (model.transmission - mean / ones.clamp_min(1e-3)).square() * model.valid
    spread = filter_xy(squares[None], kernel, kernel, "zero")[0] / ones.clamp_min(1e-3)
    gram, residual = map_rows(
        _eliminate, (model.gram, model.residual), model.gram, model.residual, model.noise, spread
    )
    return replace(model, gram=gram, residual=residual)


def _eliminate(gram: Tensor, residual: Tensor, noise: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Pointwise part of :func:`free_transmission`."""
    first = [gram[PLACE[0, i]] for i in range(4)]
    variance = (spread - noise / (first[0] + 1e-9)).clamp_min(0)
    weight = variance / (noise + variance * first[0] + 1e-12)
    out = torch.stack([gram[k] - weight * first[i] * first[j] for k, (i, j) in enumerate(PACKED)])
    share = weight * residual[0]
    return out, residual - share * torch.stack(first)


def _regressors(
    t: Tensor,
    b: Tensor,
    ux_y: Tensor,
    ux_x: Tensor,
    uy_y: Tensor,
    uy_x: Tensor,
    h: Tensor,
    energy_: Tensor,
    valid: Tensor,
    basis_gram: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gram matrix, right-hand side and squares of what is left, for the unknowns (T, D, u_x, u_y)."""
    d = b / t
    zero = torch.zeros_like(t)
    theta = torch.stack((t - 1, b, zero, zero))
    rest = h - apply(basis_gram, theta)
    squares = (energy_ - (theta * (h + rest)).sum(0)).clamp_min(0) * valid
    # new regressors: T: m + D rho; D: T rho; u: -B J^-T grad r, with the determinant kept from vanishing at folds
    scale = -b / ((1 + ux_x) * (1 + uy_y) - ux_y * uy_x).clamp_min(0.2)
    xx, yx, xy, yy = scale * (1 + uy_y), -scale * uy_x, -scale * ux_y, scale * (1 + ux_x)

    def row(v: list[Tensor]) -> list[Tensor]:
        return [v[0] + d * v[1], t * v[1], xx * v[2] + yx * v[3], xy * v[2] + yy * v[3]]

    half = [row([basis_gram[PLACE[i, j]] for j in range(4)]) for i in range(4)]
    full = [row([half[i][j] for i in range(4)]) for j in range(4)]
    gram = torch.stack([full[j][i] for i, j in PACKED]).mul_(valid)
    return gram, torch.stack(row(list(rest.unbind()))).mul_(valid), squares


def fixed_window(
    now: Estimate, model: Linearised, gain: NoiseGain, side: int
) -> tuple[Estimate, Tensor, Tensor]:
    """One Gauss-Newton step with a square window of ``side`` pixels in which all four unknowns are constant.

    Returns the new estimate, the expected variance of one displacement component in px^2, and a mask of the
    pixels that met a bound.
    """
    kernel = box(side)
    fields = torch.stack((now.t, now.b / now.t, now.ux, now.uy))
    # solved for the fields, not for their change: repeated changes would undo the window's averaging.
    # A box of side k has the second moment of a Gaussian of width k / sqrt(12).
    right = model.residual + apply(model.gram, fields)
    fields, variance = Window(model, kernel).step(right, gain(max(side, 2) / 12**0.5))
    estimate, bound = _apply_bounds(now, fields)
    return estimate, (variance[2] + variance[3]) / 2, bound


def mixed_windows(
    now: Estimate, model: Linearised, gain: NoiseGain, scales: tuple[float, ...]
) -> tuple[Estimate, Tensor, Tensor]:
    """One step with windows of all ``scales`` (pixels, wide to narrow), mixed as described above.

    Returns as :func:`fixed_window`.
    """
    fields = torch.stack((now.t, now.b / now.t, now.ux, now.uy))
    wide = tuple(sigma for sigma in scales if sigma >= _HALF_FROM)
    delta, expected = _wide_windows(fields, free_transmission(model, FREE_WIDE_PX), gain, wide)
    model = free_transmission(model, FREE_NARROW_PX)
    for sigma in scales[len(wide) :]:
        kernel = gaussian(sigma, truncate=3.0)
        step, variance = Window(model, kernel).step(model.residual - apply(model.gram, delta), gain(sigma))
        step, error = _shrink(step, variance, sigma)
        delta += step
        expected += error
    estimate, bound = _apply_bounds(now, fields + delta)
    return estimate, expected, bound


def _wide_windows(
    fields: Tensor, model: Linearised, gain: NoiseGain, scales: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Change of the fields (4, y, x) by the wide windows, and the variance of u (y, x), worked out on 2 x 2 means."""
    shape = fields.shape[-2:]
    half = Linearised(*(_pool(part) for part in (model.gram, model.residual, model.noise, model.valid)))
    widest = gaussian(scales[0] / 2, truncate=3.0)
    # Start from the smoothed fields, so that noise of the previous estimate does not persist. Where rays leave the
    # image there are no data, and the neighbours' estimate is used.
    weight = model.valid + 1e-4
    sums = filter_xy(_pool(torch.cat((fields * weight, weight[None]))), widest, widest, "zero")
    delta = _unpool(sums[:4] / sums[4], shape) - fields
    residual = _pool(model.residual - apply(model.gram, delta))
    change, expected = torch.zeros_like(residual), torch.zeros_like(residual[0])
    for k, sigma in enumerate(scales):
        window = Window(half, gaussian(sigma / 2, truncate=3.0))
        step, variance = window.step(residual, gain(sigma) / 4)  # a mean of four has a quarter
        if k == 0:
            # twice: 1 - (1 - W)^2 leaves the fourth derivative of the field as bias, W alone the second
            again, _ = window.step(residual - apply(half.gram, step), gain(sigma))
            step = step + again
            # energy of the kernel 2 W - W * W against W: 4 - 8/3 + 1/2 = 1.83 for a Gaussian in two dimensions
            error = 1.83 * (variance[2] + variance[3]) / 2
        else:
            step, error = _shrink(step, variance, sigma / 2)
        change += step
        expected += error
        residual = residual - apply(half.gram, step)
    delta += _unpool(change, shape)
    return delta, _unpool(expected, shape)


def _shrink(step: Tensor, variance: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Step (4, y, x) weighted by 1 - C / P, and the variance (y, x) that it adds to that of u."""
    around = gaussian(max(_NEIGHBOURHOOD * sigma, 1.0), truncate=3.0)
    (squares,) = map_rows(_relative_squares, (step,), step, variance)
    power = filter_xy(squares, around, around, "zero")
    shrunk, error = map_rows(_shrink_pointwise, (step, step[0]), step, variance, power)
    return shrunk, error


def _relative_squares(step: Tensor, variance: Tensor) -> tuple[Tensor]:
    """Squares of (T, D, u) over their variances, and ones."""
    t, d, x, y = step**2 / (variance + 1e-12)
    return (torch.stack((t, d, (x + y) / 2, torch.ones_like(t))),)


def _shrink_pointwise(step: Tensor, variance: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Pointwise part of :func:`_shrink`, from local means of :func:`_relative_squares`."""
    t, d, u, ones = power
    ratio = torch.stack((t, d, u, u)) / ones
    weight = (1 - 1 / (ratio + 1e-9)).clamp_min_(0)
    w, signal = weight[2], (ratio[2] - 1).clamp_min(0)
    return weight * step, (w**2 + (1 - w) ** 2 * signal) * (variance[2] + variance[3]) / 2


def _pool(maps: Tensor) -> Tensor:
    """Means over 2 x 2 pixels of (..., y, x); a last odd row or column counts alone."""
    height, width = maps.shape[-2:]
    if height % 2 or width % 2:
        maps = F.pad(maps[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
    return halve(maps)


def _unpool(maps: Tensor, shape: torch.Size) -> Tensor:
    """Maps (..., y, x) of 2 x 2 means carried back to ``shape`` linearly."""
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    fine = F.interpolate(flat, scale_factor=2.0, mode="bilinear", align_corners=False)
    return fine[..., : shape[0], : shape[1]].reshape(*maps.shape[:-2], *shape)


class Window:
    """Normal equations of a model, summed over a window."""

    def __init__(self, model: Linearised, kernel: Kernel) -> None:
        self.kernel, self.noise = kernel, model.noise
        self.gram = filter_xy(model.gram, kernel, kernel, "zero")
        # relative to the light in the window: no information, no step; 1e-5 is far below the weakest usable contrast^2
        floor = 1e-5 * self.gram[0] + 1e-12
        for i in range(4):
            self.gram[PLACE[i, i]] += floor

    def step(self, residual: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Their solution (4, y, x) for a right-hand side not yet summed (4, y, x), and the variance expected of it."""
        step, inverse = solve(self.gram, filter_xy(residual, self.kernel, self.kernel, "zero"))
        factor = gain * energy(self.kernel) ** 2
        (variance,) = map_rows(lambda part, noise: (part * noise * factor,), (inverse,), inverse, self.noise)
        return step, variance


def _apply_bounds(now: Estimate, fields: Tensor) -> tuple[Estimate, Tensor]:
    """Estimate of ``fields`` (T, D, u_x, u_y) clamped to the bounds, and a mask of the clamped pixels."""
    t = fields[0].clamp(*T_LIMITS)
    d = fields[1].clamp(*D_LIMITS)
    ux = torch.minimum(torch.maximum(fields[2], now.ux - _CLAMP_PX), now.ux + _CLAMP_PX)
    uy = torch.minimum(torch.maximum(fields[3], now.uy - _CLAMP_PX), now.uy + _CLAMP_PX)
    bound = (t != fields[0]) | (d != fields[1]) | (ux != fields[2]) | (uy != fields[3])
    return Estimate(t, t * d, ux, uy), bound
