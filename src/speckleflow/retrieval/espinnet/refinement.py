"""Gauss-Newton refinement at full resolution: the steps of ``umpa`` with the network's displacement as initial guess.

The network identifies the speckles, also where a window would lock on to a wrong one; the normal equations of ``umpa``
then give the sub-pixel displacement, transmission and dark field with an expected error. The displacements of windows
of other widths, and the shift that blur makes of absorption, are inputs of the fusion head (:mod:`.fusion`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.adaptive import (
    COARSE_SCALES,
    FREE_NARROW_PX,
    FREE_WIDE_PX,
    SCALES,
    Linearised,
    free_transmission,
    linearise,
    mixed_windows,
)
from speckleflow.retrieval.blur import PIXEL_VARIANCE
from speckleflow.retrieval.filters import energy, filter_xy, gaussian
from speckleflow.retrieval.lowpass import LowPass, choose_low_pass
from speckleflow.retrieval.noise import NoiseGain, noise_gain
from speckleflow.retrieval.normal import (
    PLACE,
    Basis,
    Estimate,
    Moments,
    apply,
    local_mean,
    make_basis,
    measure,
    solve,
    spline_coefficients,
)
from speckleflow.retrieval.parallel import thread_pool
from speckleflow.retrieval.periodicity import is_periodic
from speckleflow.retrieval.spectrum import spectrum

#: Local mean of the reference, standard deviation in px: wide enough that the pattern of a few positions averages
#: out (an error of the mean is one of T, times 1 - D), narrow beside the shape of a beam.
MEAN_SIGMA = 64.0
#: window in which the first T and D are found, for 50 pixels
START_WINDOW = gaussian(2.0, truncate=3.0)
#: side of the central piece and number of frames that the noise is characterised on
CENTRE, FRAMES = 288, 4
#: The network's displacement is smoothed by this (px) before the data are asked: its pixel-to-pixel noise is
#: no prior.
PRIOR_SMOOTHING = gaussian(2.5, truncate=3.0)
#: widths (px) of the windows whose displacement is offered: from a pixel and its neighbours to several speckles
WINDOWS = (0.7, 1.2, 2.1, 3.6, 6.0)
#: windows from this width (px) on count as wide
_WIDE_FROM_PX = 2.0
#: standard deviation (px) of what a window adds before the data are asked: what two steps leave at edges
STEP_PRIOR_PX = 0.3
#: Steepest logarithm of D per pixel that is believed when the shift of blur is taken off: a speckle is wider than
#: the steps in D that there are, and where the pattern is faint D is noise.
MAX_LOG_GRADIENT = 0.1
#: Standard deviation of the detector's point spread where nobody told it: the root mean square of what the training
#: scenes have (px).
TYPICAL_BLUR_PX = 0.7
#: farthest pixel that matters: twice the widest window and its neighbourhood, spline filters
HALO = 2 * int(9 * SCALES[0]) + 2 * 15 + 3


@dataclass(frozen=True)
class Pattern:
    """Properties of a whole reference stack: the low-pass it needs, the gain of the noise, its local mean (y, x),
    whether its pattern is periodic; and the detector's blur (px), which is given.
    """

    low_pass: LowPass
    gain: NoiseGain
    mean: Tensor
    blur: float
    periodic: bool


@dataclass(frozen=True)
class ReferenceTerms:
    """Terms of one reference stack, or of a tile of it, for the refinement."""

    pattern: Pattern
    basis: Basis
    start: Tensor  #: (10, y, x) products of the regressors in the window START_WINDOW


@dataclass(frozen=True)
class RefinementData:
    """Result of the refinement of a batch, (B, 1 or more, y, x): see :func:`refine_sample`."""

    displacement: Tensor  #: px
    transmission: Tensor
    darkfield: Tensor
    log_sigma: Tensor  #: log of the expected standard deviation of the displacement
    log_noise: Tensor  #: log of the noise of one sample of the stacks
    shift: Tensor  #: part of the displacement that was added against the shift that blur makes
    steps: Tensor  #: (B, 2 len(WINDOWS), y, x) x and y of each window's displacement minus ``displacement``
    log_errors: Tensor  #: (B, len(WINDOWS), y, x) log of their expected standard deviations

    @staticmethod
    def from_maps(each: list[Tensor]) -> RefinementData:
        """From the maps of :func:`refine_sample` of each sample."""
        return RefinementData(*torch.stack(each).split((2, 1, 1, 1, 1, 2, 2 * len(WINDOWS), len(WINDOWS)), 1))


def characterise(reference: Tensor, blur_px: float | None = None) -> Pattern:
    """Once for a whole reference stack (N, y, x), divided by its mean; tiles share it. ``blur_px``: of the detector,
    where it is known.
    """
    seen = spectrum(reference)
    low_pass = choose_low_pass(seen)
    height, width = reference.shape[-2:]
    top, left = max(0, (height - CENTRE) // 2), max(0, (width - CENTRE) // 2)
    centre = reference[:FRAMES, top : top + CENTRE, left : left + CENTRE].contiguous()
    basis = make_basis(centre, local_mean(centre, MEAN_SIGMA), gaussian(low_pass.sigma))
    blur = TYPICAL_BLUR_PX if blur_px is None else blur_px
    gain, mean = noise_gain(basis, low_pass.sigma), local_mean(reference, MEAN_SIGMA)
    return Pattern(low_pass, gain, mean, blur, is_periodic(seen))


def precompute_reference(reference: Tensor, pattern: Pattern) -> ReferenceTerms:
    """The reference's side (N, y, x): once a scan, or once a tile (then ``pattern.mean`` is the tile's)."""
    basis = make_basis(reference, pattern.mean, gaussian(pattern.low_pass.sigma))
    start = filter_xy(basis.gram, START_WINDOW, START_WINDOW, "zero")
    start /= filter_xy(torch.ones_like(start[:1]), START_WINDOW, START_WINDOW, "zero")
    for k in (0, 4, 7, 9):
        start[k] += 1e-5 * start[0] + 1e-12
    return ReferenceTerms(pattern, basis, start)


def initial_contrasts(fixed: ReferenceTerms, moments: Moments) -> tuple[Tensor, Tensor]:
    """T and B = T D (y, x) by linear least squares in the window START_WINDOW; 1 where nothing was measured."""
    maps = torch.cat([moments.h * moments.valid, moments.valid[None]])
    right = filter_xy(maps, START_WINDOW, START_WINDOW, "zero")
    theta, _ = solve(fixed.start, right[:4] / right[4].clamp_min(1e-2))
    seen = right[4] > 0.1
    t = torch.where(seen, (theta[0] + 1).clamp(0.02, 2.0), torch.ones_like(theta[0]))
    b = torch.where(seen, theta[1].clamp(0.02, 2.0), t)
    return t, b


def refine_sample(fixed: ReferenceTerms, sample: Tensor, u: Tensor) -> Tensor:
    """The steps of ``umpa`` for one sample stack (N, y, x) from the displacement ``u`` (2, y, x).

    Returns the maps of :class:`RefinementData`, one after the other: (8 + 3 len(WINDOWS), y, x).
    """
    low_pass = fixed.pattern.low_pass
    coefficients = spline_coefficients(sample, gaussian(low_pass.sigma))
    ux, uy = filter_xy(u, PRIOR_SMOOTHING, PRIOR_SMOOTHING, "mirror")
    moments = measure(coefficients, fixed.basis, ux, uy)
    now = Estimate(*initial_contrasts(fixed, moments), ux, uy)
    model = linearise(now, moments, fixed.basis)
    now, _, _ = mixed_windows(now, model, fixed.pattern.gain, COARSE_SCALES)
    model = linearise(now, measure(coefficients, fixed.basis, now.ux, now.uy), fixed.basis)
    last, variance, _ = mixed_windows(now, model, fixed.pattern.gain, SCALES)
    before, after = (torch.stack((e.t, e.b / e.t, e.ux, e.uy)) for e in (now, last))
    steps, errors = window_displacements(model, after - before, after[2:], fixed.pattern.gain)
    found = torch.stack(low_pass.unbiased(*after[2:]))
    shift = blur_shift(after[0], after[1], low_pass.variance + fixed.pattern.blur**2 + PIXEL_VARIANCE)
    log_sigma, log_noise = 0.5 * (variance + 1e-8).log(), 0.5 * (model.noise + 1e-10).log()
    return torch.cat([found + shift, after[:2], log_sigma[None], log_noise[None], shift, steps, errors])


def window_displacements(
    model: Linearised, change: Tensor, u: Tensor, gain: NoiseGain
) -> tuple[Tensor, Tensor]:
    """Displacements that the windows of :data:`WINDOWS` find alone, each minus ``u``, and their errors.

    A window's displacement is the weighted mean of what its pixels ask for (second order in the window's width);
    twice a narrow window less a wider one is of fourth order. T and D are held.

    Parameters
    ----------
    model : the model linearised at the estimate before.
    change : what was added since, (4, y, x).
    u : displacement after that, (2, y, x) in px.
    gain : noise of a window.

    Returns
    -------
    Differences (2 len(WINDOWS), y, x) in px and the logs (len(WINDOWS), y, x) of the standard deviations that noise
    gives the windows' displacements.
    """
    narrow, wide = (
        _asked(free_transmission(model, sigma), change, u) for sigma in (FREE_NARROW_PX, FREE_WIDE_PX)
    )
    steps, errors = [], []
    for sigma in WINDOWS:
        kernel = gaussian(sigma, truncate=3.0)
        maps = narrow if sigma < _WIDE_FROM_PX else wide
        xx, xy, yy, x, y = filter_xy(maps, kernel, kernel, "zero")
        noise = model.noise * gain(sigma)[2:].mean() * energy(kernel) ** 2 + 1e-12
        # what is missing from u, under the prior that it is STEP_PRIOR_PX
        x, y = x - xx * u[0] - xy * u[1], y - xy * u[0] - yy * u[1]
        xx, yy = xx + noise / STEP_PRIOR_PX**2, yy + noise / STEP_PRIOR_PX**2
        determinant = xx * yy - xy * xy
        steps += [(yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant]
        errors.append(0.5 * (noise * (xx + yy) / (2 * determinant)).log())
    return torch.stack(steps), torch.stack(errors)


def _asked(model: Linearised, change: Tensor, u: Tensor) -> Tensor:
    """Information about u of every pixel (xx, xy, yy) and its product with the u that the pixel asks for, (5, y, x)."""
    xx, xy, yy = (model.gram[PLACE[pair]] for pair in ((2, 2), (2, 3), (3, 3)))
    x, y = (model.residual - apply(model.gram, change))[2:]
    return torch.stack((xx, xy, yy, x + xx * u[0] + xy * u[1], y + xy * u[0] + yy * u[1]))


def blur_shift(transmission: Tensor, darkfield: Tensor, variance: float) -> Tensor:
    """What must be added to the displacement (2, y, x) for the blur of ``variance`` px^2 (see
    :mod:`speckleflow.retrieval.blur`), D's part limited by :data:`MAX_LOG_GRADIENT`.
    """
    of_t, of_d = (
        torch.stack(torch.gradient(field.clamp_min(0.01).log())[::-1]) for field in (transmission, darkfield)
    )
    return variance * (
        of_t + of_d * (MAX_LOG_GRADIENT / of_d.square().sum(0).sqrt().clamp_min(MAX_LOG_GRADIENT))
    )


def refine(fixed: list[ReferenceTerms], sample: Tensor, u: Tensor) -> RefinementData:
    """What the data say about a batch that begins at ``u`` (B, 2, y, x). ``fixed`` has one entry, or one for each
    of the batch.
    """
    with torch.no_grad(), thread_pool(u.device), torch.autocast(u.device.type, enabled=False):
        beams = fixed * len(sample) if len(fixed) == 1 else fixed
        return RefinementData.from_maps(
            [refine_sample(*each) for each in zip(beams, sample.float(), u.float(), strict=True)]
        )
