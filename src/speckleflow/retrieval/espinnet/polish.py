"""The last steps at full resolution: those of ``umpa``, begun at the network's displacement, with it as
prior.

The network finds which speckle is which, also where a window would lock on to a wrong one; the normal
equations of ``umpa`` (its code, not a copy) then give the sub-pixel place, transmission and dark field with
an expected error. Both displacements are averaged with their inverse variances: the maximum a posteriori of
the data under the prior that the network predicts, so that pixels with little information keep the network's
value and the others follow the data. A small network that sees both and their surroundings corrects the
weights and cleans what is left, for at an edge neither error is Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speckleflow.retrieval.adaptive import COARSE_SCALES, SCALES, linearise, mixed_windows
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.lowpass import choose_low_pass
from speckleflow.retrieval.noise import NoiseGain, noise_gain
from speckleflow.retrieval.normal import (
    Basis,
    Estimate,
    Moments,
    local_mean,
    make_basis,
    measure,
    solve,
    spline_coefficients,
)

#: local mean of the reference, standard deviation in px: above the grains of usual modulators, below the
#: beam's shape
MEAN_SIGMA = 12.0
#: window in which the first T and D are found, for 50 pixels
START = gaussian(2.0, truncate=3.0)
#: side of the central piece and number of frames that the noise is characterised on
CENTRE, FRAMES = 288, 4
#: The network's displacement is smoothed by this (px) before the data are asked: its pixel-to-pixel noise is
#: no prior.
CALM = gaussian(2.5, truncate=3.0)
#: Log weight of the data against the prior: neighbouring errors of the network are alike, so that its
#: predicted variance promises more than it keeps (0 to 4 were tried on held-out scenes, 2 was best for N = 2
#: and 5).
DATA_FIRST = 2.0
#: disagreements of data and prior below this (px) are details that the network misses, not outliers
OUTLIER_PX = 0.1
WIDTH = 32
#: farthest pixel that matters: twice the widest window and its neighbourhood, spline filters, convolutions,
#: local mean
HALO = 2 * int(9 * SCALES[0]) + 2 * 15 + 3 + int(3 * MEAN_SIGMA)


@dataclass(frozen=True)
class Pattern:
    """What a whole reference stack tells of its pattern: the low-pass it needs (px), and how noise enters."""

    low_pass: float
    gain: NoiseGain


@dataclass(frozen=True)
class Fixed:
    """What the polish needs of one reference stack, or of a tile of it."""

    pattern: Pattern
    basis: Basis
    start: Tensor  #: (10, y, x) products of the regressors in the window START


@dataclass(frozen=True)
class Polished:
    """Fields (B, 1 or 2, y, x): displacement in px, log of its standard deviation, T and D."""

    displacement: Tensor
    log_sigma: Tensor
    transmission: Tensor
    darkfield: Tensor


def characterise(reference: Tensor) -> Pattern:
    """Once for a whole reference stack (N, y, x), divided by its mean; tiles share it."""
    low_pass = choose_low_pass(reference)
    height, width = reference.shape[-2:]
    top, left = max(0, (height - CENTRE) // 2), max(0, (width - CENTRE) // 2)
    centre = reference[:FRAMES, top : top + CENTRE, left : left + CENTRE].contiguous()
    basis = make_basis(centre, local_mean(centre, MEAN_SIGMA), gaussian(low_pass))
    return Pattern(low_pass, noise_gain(basis, low_pass))


def fix(reference: Tensor, pattern: Pattern) -> Fixed:
    """The reference's side (N, y, x): once a scan, or once a tile."""
    basis = make_basis(reference, local_mean(reference, MEAN_SIGMA), gaussian(pattern.low_pass))
    start = filter_xy(basis.gram, START, START, "zero")
    start /= filter_xy(torch.ones_like(start[:1]), START, START, "zero")
    for k in (0, 4, 7, 9):
        start[k] += 1e-5 * start[0] + 1e-12
    return Fixed(pattern, basis, start)


def first_contrasts(fixed: Fixed, moments: Moments) -> tuple[Tensor, Tensor]:
    """T and B = T D (y, x) by linear least squares in the window START; 1 where nothing was measured."""
    maps = torch.cat([moments.h * moments.valid, moments.valid[None]])
    right = filter_xy(maps, START, START, "zero")
    theta, _ = solve(fixed.start, right[:4] / right[4].clamp_min(1e-2))
    seen = right[4] > 0.1
    t = torch.where(seen, (theta[0] + 1).clamp(0.02, 2.0), torch.ones_like(theta[0]))
    b = torch.where(seen, theta[1].clamp(0.02, 2.0), t)
    return t, b


def refine(fixed: Fixed, sample: Tensor, u: Tensor) -> Tensor:
    """The steps of ``umpa`` for one sample stack (N, y, x) from the displacement ``u`` (2, y, x).

    Returns (6, y, x): ux, uy, T, D, log of the expected standard deviation of u, log of the noise's.
    """
    coefficients = spline_coefficients(sample, gaussian(fixed.pattern.low_pass))
    ux, uy = filter_xy(u, CALM, CALM, "mirror")
    moments = measure(coefficients, fixed.basis, ux, uy)
    now = Estimate(*first_contrasts(fixed, moments), ux, uy)
    model = linearise(now, moments, fixed.basis)
    now, _, _ = mixed_windows(now, model, fixed.pattern.gain, COARSE_SCALES)
    model = linearise(now, measure(coefficients, fixed.basis, now.ux, now.uy), fixed.basis)
    now, variance, _ = mixed_windows(now, model, fixed.pattern.gain, SCALES)
    log_sigma = 0.5 * (variance + 1e-8).log()
    return torch.stack([now.ux, now.uy, now.t, now.b / now.t, log_sigma, 0.5 * (model.noise + 1e-10).log()])


class Polish(nn.Module):
    """Joins the network's displacement and that of the data."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        #: corrections of the log weights of [prior, data], of the displacement, of T and D, of log sigma
        self.parts = (2, 2, 2, 1)
        self.body = nn.Sequential(
            nn.Conv2d(8 + hidden, WIDTH, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        self.last = nn.Conv2d(WIDTH, sum(self.parts), 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(
        self, data: Tensor, prior: Tensor, prior_log_sigma: Tensor, hidden: Tensor, positions: int
    ) -> Polished:
        """Fields from those of the data (B, 6, y, x, as :func:`refine` gives them) and the prior (B, 2, y,
        x).
        """
        u, t, d, log_sigma, noise = data.split((2, 1, 1, 1, 1), 1)
        log_sigma = log_sigma.clamp(-7.0, 3.0)
        prior_log_sigma = prior_log_sigma.detach().clamp(-7.0, 3.0)
        prior = prior.detach()
        count = torch.full_like(t, math.log(positions / 5))
        known = [(u - prior).clamp(-3.0, 3.0), t, d, log_sigma, prior_log_sigma, noise, count, hidden]
        found = self.last(self.body(torch.cat(known, 1)))
        of_weights, rest, of_contrasts, of_sigma = found.split(self.parts, 1)
        # Where the two disagree by far more than both expect, the data have locked on to something else: the
        # network, which has few outliers, is believed.
        expected = torch.exp(2 * prior_log_sigma) + torch.exp(2 * log_sigma) + OUTLIER_PX**2
        excess = ((u - prior).square().mean(1, True) - expected).clamp_min(0)
        variance = torch.exp(2 * log_sigma - DATA_FIRST) + excess
        precision = -torch.cat([2 * prior_log_sigma, variance.log()], 1)
        # in units of the expected error, and limited: what the network never saw must not become a wild value
        rest = torch.exp(-0.5 * precision.logsumexp(1, True)) * rest.tanh()
        precision = precision + of_weights
        weights = precision.softmax(1)
        contrasts = (torch.cat([t, d], 1) + 0.05 * of_contrasts.tanh()).clamp_min(0.0)
        return Polished(
            weights[:, :1] * prior + weights[:, 1:] * u + rest,
            of_sigma - 0.5 * precision.logsumexp(1, keepdim=True),
            contrasts[:, :1],
            contrasts[:, 1:],
        )


def polish(
    network: Polish, fixed: list[Fixed], sample: Tensor, u: Tensor, log_sigma: Tensor, hidden: Tensor
) -> Polished:
    """Fields of a batch. ``fixed`` has one entry, or one for each of the batch; ``u``, ``log_sigma`` and
    ``hidden`` are the pyramid's at full resolution."""
    with torch.no_grad():
        beams = fixed * len(sample) if len(fixed) == 1 else fixed
        each = [refine(f, s.float(), v.float()) for f, s, v in zip(beams, sample, u.detach(), strict=True)]
    return network(torch.stack(each), u, log_sigma, hidden, sample.shape[1])
