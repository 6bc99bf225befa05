"""The last step at full resolution: Gauss-Newton solutions of several windows, joined with the network's
result.

The normal equations and the interpolation are those of ``umpa``. Each window proposes a displacement,
transmission and dark field with an expected error; the displacement that the network brings, with its own
predicted error, is one more proposal: the prior. To begin with they are averaged with their inverse
variances (the maximum a posteriori of independent Gaussian proposals); a small network, which sees all of
them and their surroundings, corrects these weights, because windows overlap and an edge inside one is no
Gaussian error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from speckleflow.retrieval.filters import energy, filter_xy, gaussian
from speckleflow.retrieval.normal import Basis, local_mean, make_basis, measure, solve, spline_coefficients

#: both stacks are low-passed by this (px): it lowers the noise more than the signal (sigma of a usual
#: detector)
LOW_PASS = gaussian(0.6)
#: local mean of the reference, standard deviation in px: above the grains of usual modulators, below the
#: beam's shape
MEAN_SIGMA = 12.0
#: windows: standard deviations in px; 4 pi sigma^2 = 4, 13, 45 and 163 pixels
WINDOWS = tuple(gaussian(sigma, truncate=3.0) for sigma in (0.55, 1.0, 1.9, 3.6))
STEPS = 2
#: least noise of a window as a share of the next larger one's, whose own may hold an edge
POOLED = 0.3
WIDTH = 32
#: farthest pixel of one step: largest window, spline filters, convolutions; and the local mean, once
HALO = STEPS * (2 * (len(WINDOWS[-1]) // 2) + 2) + 3 + 2 * 15 + int(3 * MEAN_SIGMA) + 1


@dataclass(frozen=True)
class Fixed:
    """What the polish needs of one reference stack: its regressors, and their products in every window."""

    basis: Basis
    windows: tuple[Tensor, ...]  #: (10, y, x) each


@dataclass(frozen=True)
class Proposals:
    """For one sample: (K, ...) proposals of the K windows at the displacement that was tried.

    ``step`` (K, 2, y, x) px, ``log_sigma`` (K, y, x), ``transmission`` and ``amplitude`` B = T D (K, y, x),
    ``misfit`` (K, y, x) log of the residual's standard deviation over the mean;
    ``log_variance_t``, ``log_variance_b`` (K, y, x): expected errors of T and B.
    """

    step: Tensor
    log_sigma: Tensor
    transmission: Tensor
    amplitude: Tensor
    misfit: Tensor
    log_variance_t: Tensor
    log_variance_b: Tensor


def fix(reference: Tensor) -> Fixed:
    """The reference's side (N, y, x), divided by its mean: once a scan."""
    basis = make_basis(reference, local_mean(reference, MEAN_SIGMA), LOW_PASS)
    return Fixed(basis, tuple(filter_xy(basis.gram, k, k, "zero") for k in WINDOWS))


def propose(fixed: Fixed, coefficients: Tensor, u: Tensor, before: Tensor) -> Proposals:
    """Solve every window at the displacement ``u`` (2, y, x).

    ``before`` (2, y, x) holds T - 1 and B, assumed where a ray lands outside the image and there is no
    measurement.
    """
    n = fixed.basis.shape[0]
    moments = measure(coefficients, fixed.basis, u[0], u[1])
    gram = fixed.basis.gram
    # (T - 1, B, 0, 0) times the packed matrix: what would have been measured there
    pairs = ((0, 1), (1, 4), (2, 5), (3, 6))
    assumed = torch.stack([gram[k] * before[0] + gram[j] * before[1] for k, j in pairs])
    h = torch.lerp(assumed, moments.h, moments.valid)
    model = before[0] * assumed[0] + before[1] * assumed[1]
    e = torch.lerp(model, moments.energy, moments.valid)
    # A window finds what its pixels have in common; what differs from pixel to pixel in u, mostly noise,
    # would stay. So u is carried to a smooth one first, to first order, and the step is taken from there.
    smooth = filter_xy(u, WINDOWS[-1], WINDOWS[-1], "mirror")
    ax, ay = before[1] * (u - smooth)
    e = e - 2 * (ax * h[2] + ay * h[3]) + ax * (ax * gram[7] + 2 * ay * gram[8]) + ay * ay * gram[9]
    rows = ((2, 3), (5, 6), (7, 8), (8, 9))
    h = h - torch.stack([gram[k] * ax + gram[j] * ay for k, j in rows])
    maps = torch.cat([h, e[None]])
    found: list[list[Tensor]] = []
    noise = torch.zeros_like(e)
    # the low-pass makes neighbouring errors alike: only so many pixels of a window count
    for kernel, matrix in reversed(list(zip(WINDOWS, fixed.windows, strict=True))):
        pixels = energy(LOW_PASS) ** 2 / energy(kernel) ** 2
        right = filter_xy(maps, kernel, kernel, "zero")
        ridged = matrix.clone()
        # rounding leaves uniform regions singular; 1e-6 of the beam is far below any modulation
        for k in (4, 7, 9):
            ridged[k] += 1e-6 * matrix[0]
        theta, inverse = solve(ridged, right[:4])
        residual = (right[4] - (theta * right[:4]).sum(0)).clamp_min(0) / n
        # four unknowns are fitted; something is taken to be left in any case
        freedom = max(n * pixels - 4.0, 0.4 * n * pixels)
        # a small window can fit its few pixels by chance: its noise is not much below that of the larger ones
        noise = torch.maximum(residual * (n * pixels / freedom), POOLED * noise).clamp_min(1e-9)
        b = theta[1].clamp_min(0.02)
        step = -(theta[2:] / b)
        length = (step[0] ** 2 + step[1] ** 2).sqrt().clamp_min(1e-9)
        step = smooth + step * (length.clamp_max(1.0) / length) - u
        spread = noise / pixels * (inverse[2] + inverse[3]) / 2 / b**2
        found.append(
            [
                step,
                0.5 * (spread + 1e-8).log(),
                (theta[0] + 1).clamp(0.01, 2.0),
                theta[1].clamp(0.0, 2.0),
                0.5 * noise.log(),
                (noise / pixels * inverse[0] + 1e-8).log(),
                (noise / pixels * inverse[1] + 1e-8).log(),
            ]
        )
    found.reverse()
    return Proposals(*(torch.stack(parts) for parts in zip(*found, strict=True)))


class Polish(nn.Module):
    """Joins the proposals; the same weights serve every step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        k = len(WINDOWS)
        #: corrections of the log weights of [prior, windows], of the windows' for T and for D, residual
        #: step, log sigma
        self.parts = (1 + k, k, k, 2, 1)
        self.body = nn.Sequential(
            nn.Conv2d(6 * k + 4 + hidden, WIDTH, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
        self.last = nn.Conv2d(WIDTH, sum(self.parts), 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(
        self, found: Proposals, prior: Tensor, prior_log_sigma: Tensor, hidden: Tensor, positions: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Step (B, 2, y, x), log sigma, T and D (B, 1, y, x).

        ``found`` has a leading batch axis; ``prior`` (B, 2, y, x) is the step that would lead to the
        network's displacement, ``prior_log_sigma`` its predicted error, ``positions`` is N.
        """
        batch, k, _, height, width = found.step.shape
        prior_log_sigma = prior_log_sigma.detach().clamp(-7.0, 3.0)
        known = torch.cat(
            [
                found.step.reshape(batch, 2 * k, height, width),
                found.log_sigma,
                found.transmission,
                found.amplitude,
                found.misfit,
                prior.clamp(-3.0, 3.0),
                prior_log_sigma,
                torch.full_like(prior_log_sigma, math.log(positions / 5)),
                hidden,
            ],
            1,
        )
        of_step, of_t, of_d, rest, of_sigma = self.last(self.body(known)).split(self.parts, 1)
        precision = -2 * torch.cat([prior_log_sigma, found.log_sigma.clamp(-7.0, 3.0)], 1)
        weights = (of_step + precision).softmax(1)
        candidates = torch.cat([prior[:, None], found.step], 1)
        step = (weights[:, :, None] * candidates).sum(1) + 0.1 * rest
        log_sigma = of_sigma - 0.5 * precision.logsumexp(1, keepdim=True)
        t = ((of_t - found.log_variance_t).softmax(1) * found.transmission).sum(1, keepdim=True)
        d = ((of_d - found.log_variance_b).softmax(1) * found.amplitude / found.transmission).sum(
            1, keepdim=True
        )
        return step, log_sigma, t, d.clamp(0.0, 1.5)


def polish(
    network: Polish, fixed: list[Fixed], sample: Tensor, u: Tensor, log_sigma: Tensor, hidden: Tensor
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """All steps for a batch: displacement (B, 2, y, x), its log sigma, T and D (B, 1, y, x) after each.

    ``fixed`` has one entry, or one for each of the batch; ``u``, ``log_sigma`` and ``hidden`` are the
    pyramid's at full resolution.
    """
    with torch.no_grad():
        coefficients = [spline_coefficients(s.float(), LOW_PASS) for s in sample]
        beam = [(fixed[0] if len(fixed) == 1 else fixed[i]) for i in range(len(sample))]
    prior = now = u.detach().float()
    before = torch.stack([torch.zeros_like(now[:, 0]), torch.ones_like(now[:, 0])], 1)
    results = []
    for _ in range(STEPS):
        with torch.no_grad():
            each = [propose(f, c, v, b) for f, c, v, b in zip(beam, coefficients, now, before, strict=True)]
            found = Proposals(*(torch.stack([getattr(p, name) for p in each]) for name in _NAMES))
        step, sigma, t, d = network(found, prior - now, log_sigma, hidden, sample.shape[1])
        results.append((now + step, sigma, t, d))
        now = (now + step).detach().float()
        before = torch.cat([t - 1, t * d], 1).detach().float()
    return results


_NAMES = tuple(field.name for field in fields(Proposals))
