"""A cheaper ESPINNet: the same idea (pyramid, warping, cost volume), with what is known in closed form left
to algebra.

What differs from the published structure, and why:

- Frames enter through sums over the diffuser positions only (correlations and moments of the stacks with
  their local mean removed, divided by their energy). So any N fits, the order of the frames does not matter,
  and transmission and dark field, which only scale the modulation, drop out. The local mean is one over
  positions and BACKGROUND x BACKGROUND pixels: the mean over the positions alone would take half of the
  information away at N = 2.
- The sample is pulled back to the reference grid (eq. 1), where the result is wanted; what depends on the
  reference alone is computed once a scan.
- Besides the cost volume the estimator sees the Gauss-Newton step of two windows with its expected error: it
  learns which of them to trust where, instead of learning sub-pixel registration from scratch.
- For a periodic pattern (a grating) the second scale has two initial guesses, the result of the coarsest scale and
  zero: a fine period is aliased at the coarsest.
- One estimator serves all scales, its output is added to the displacement, and the last scale is the half
  one, enlarged by learned convex weights of the 3 x 3 neighbours.
- Gauss-Newton steps at full resolution follow (:mod:`.refinement`), which give T and D too; a last small network
  (:mod:`.fusion`) combines both.
- It predicts the standard deviation of its displacement.
- No normalisation layers: a pixel's result depends on its surroundings only, so tiles agree with the whole
  image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speckleflow.retrieval.espinnet.fusion import FusionHead, RefinedFields
from speckleflow.retrieval.espinnet.layers import cost_volume
from speckleflow.retrieval.espinnet.refinement import (
    Pattern,
    ReferenceTerms,
    characterise,
    precompute_reference,
    refine,
)
from speckleflow.retrieval.filters import box, filter_xy, halve
from speckleflow.retrieval.periodicity import is_periodic
from speckleflow.retrieval.sampling import pixel_grid, sample_at
from speckleflow.retrieval.spectrum import spectrum

SCALES = (8, 4, 2)  #: sides of the pixels of the pyramid, in detector pixels
MULTIPLE = SCALES[0]
REACH = 3
BACKGROUND = 7  #: side of the local mean, in pixels of the scale
WINDOWS = (3, 7)  #: of the Gauss-Newton steps, in pixels of the scale
HIDDEN = 16
WIDTHS = (64, 48, 48, 32)
DILATIONS = (1, 1, 2, 1)
#: window (pixels of the second scale) in which two displacements are compared, and twice the log-likelihood ratio that
#: the larger one must have over the smaller
ALIAS_WINDOW, ALIAS_EVIDENCE = 11, 30.0
#: farthest pixel that a result depends on, beside the displacement itself: at each scale the cost volume,
#: the larger window, gradient, local mean and convolutions, in pixels of that scale; the enlargements; the comparison
HALO = sum((REACH + WINDOWS[-1] // 2 + 1 + BACKGROUND // 2 + sum(DILATIONS) + 1 + 2) * s for s in SCALES)
HALO += (ALIAS_WINDOW // 2 + BACKGROUND // 2) * SCALES[1]
TINY = 1e-6


class ReferenceLevel(NamedTuple):
    """Terms of the reference at one scale; (B or 1, channels, y, x)."""

    frames: Tensor  #: modulation r, its local mean removed (N channels)
    gradient_x: Tensor
    gradient_y: Tensor
    mean: Tensor  #: local mean
    energy: Tensor  #: mean over N of r^2, over 3 x 3 pixels
    moments: Tensor  #: means over N of r r, r gx, r gy, gx gx, gx gy, gy gy


class Scale(NamedTuple):
    """Result of one scale, in DETECTOR pixels: displacement (B, 2, y, x), log of its standard deviation (B,
    1, y, x).
    """

    displacement: Tensor
    log_sigma: Tensor


@dataclass(frozen=True)
class Reference:
    """Terms of reference stacks, computed once a scan."""

    levels: list[ReferenceLevel]
    terms: list[ReferenceTerms]
    periodic: list[bool]  #: which patterns are periodic


class FastEspinnet(nn.Module):
    """Displacement and its expected error from N >= 1 positions.

    ``forward`` takes what :meth:`reference` made of reference stacks (1 or B, N, y, x) and samples (B, N, y,
    x), y and x multiples of 8, all divided by the mean of the reference stack. It returns one :class:`Scale`
    for each of ``SCALES`` (coarsest first) and one at full resolution, and the refined fields (None
    without); all on the REFERENCE grid.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = (2 * REACH + 1) ** 2 + 4 * len(WINDOWS) + 5 + HIDDEN + 1
        channels = [inputs, *WIDTHS]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=d, dilation=d)
            for a, b, d in zip(channels[:-1], channels[1:], DILATIONS, strict=True)
        )
        # weights of [no step, one step per window], residual step, log sigma, hidden state
        self.parts = (1 + len(WINDOWS), 2, 1, HIDDEN)
        self.last = nn.Conv2d(WIDTHS[-1], sum(self.parts), 3, padding=1)
        self.enlarge = nn.Conv2d(WIDTHS[-1], 9 * 4, 3, padding=1)
        self.fusion = FusionHead(HIDDEN)
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            for layer in (self.last, self.enlarge):
                layer.weight.mul_(0.1)
                assert layer.bias is not None
                layer.bias.zero_()
            assert self.last.bias is not None
            assert self.enlarge.bias is not None
            self.last.bias[len(WINDOWS)] = 1.0  # trust the large window to begin with
            self.last.bias[self.parts[0] + 2] = -2.0
            self.enlarge.bias.copy_(bilinear_weights().clamp_min(0.01).log().flatten())

    @torch.no_grad()
    def reference(
        self,
        stack: Tensor,
        pattern: Pattern | None = None,
        refined: bool = True,
        blur_px: Sequence[float] | None = None,
    ) -> Reference:
        """The reference's side: scales coarsest first, and the refinement's normal equations.

        ``pattern`` is that of the whole image where ``stack`` is a tile; else ``blur_px`` may tell the detector's
        blur in each stack.
        """
        levels = [_reference_level(frames) for frames in _scales(stack)]
        if not refined:
            return Reference(levels, [], [is_periodic(spectrum(each)) for each in stack])
        blurs = [None] * len(stack) if blur_px is None else blur_px
        patterns = [pattern or characterise(*each) for each in zip(stack, blurs, strict=True)]
        terms = [precompute_reference(*each) for each in zip(stack, patterns, strict=True)]
        return Reference(levels, terms, [each.periodic for each in patterns])

    @staticmethod
    def _initial_state(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Initial displacement, log sigma and hidden state."""
        u = torch.zeros_like(frames[:, :1])
        return u.repeat(1, 2, 1, 1), torch.ones_like(u), u.repeat(1, HIDDEN, 1, 1)

    def _scale(
        self, side: int, level: ReferenceLevel, frames: Tensor, u: Tensor, log_sigma: Tensor, hidden: Tensor
    ) -> tuple[Scale, Tensor, Tensor]:
        """One scale: the corrected displacement (detector px), the hidden state, and the last features."""
        with torch.no_grad():
            known, steps = _evidence(level, frames, u / side)
        about = torch.full_like(log_sigma, math.log2(side) - 2), log_sigma
        last = torch.cat([*known, *about, hidden], 1)
        for convolution in self.convolutions:
            last = F.leaky_relu(convolution(last), 0.1, inplace=True)
        weights, rest, log_sigma, hidden = self.last(last).split(self.parts, 1)
        weights = weights.softmax(1)[:, 1:]
        step = rest + sum(weights[:, k : k + 1] * steps[k] for k in range(len(WINDOWS)))
        return Scale(u + side * step, log_sigma), hidden, last

    def forward(
        self, reference: Reference, sample: Tensor, refined: bool = True, guess: Tensor | None = None
    ) -> tuple[list[Scale], RefinedFields | None]:
        """Scales, coarsest first, and the refined fields.

        ``guess`` (B, 3, y, x): of a periodic pattern, displacement in px from which the second scale begins, and how
        far from it the result may be (0: where it is unknown, the pyramid goes on without it).
        """
        scales: list[Scale] = []
        hidden = last = sample.new_zeros(0)
        for side, level, frames in zip(SCALES, reference.levels, _scales(sample), strict=True):
            if scales:
                # every scale learns to correct what it is given, not to prepare the next one's input
                known = *(upsample2x(t.detach()) for t in scales[-1]), upsample2x(hidden)
                scale, hidden, last = self._scale(side, level, frames, *known)
                if side == SCALES[1] and any(reference.periodic):
                    zero, *begun = self._initial_state(frames)
                    start = zero if guess is None else F.avg_pool2d(guess[:, :2], side)
                    fresh, fresh_hidden, _ = self._scale(side, level, frames, start, *begun)
                    if guess is None:
                        pair = scale.displacement / side, fresh.displacement / side
                        keep = _unaliased(level, frames, *pair)
                    else:
                        keep = -F.max_pool2d(-guess[:, 2:], side) <= 0
                    keep |= ~torch.tensor(reference.periodic, device=keep.device).view(-1, 1, 1, 1)
                    scale = Scale(*(torch.where(keep, *pair) for pair in zip(scale, fresh, strict=True)))
                    hidden = torch.where(keep, hidden, fresh_hidden)
            else:
                scale, hidden, last = self._scale(side, level, frames, *self._initial_state(frames))
            scales.append(scale)
        mix = self.enlarge(last).contiguous()  # planes, whatever the convolutions' order
        u, log_sigma = (convex_upsample(t, mix) for t in scales[-1])
        if guess is not None:
            far = (u - guess[:, :2]).norm(dim=1, keepdim=True) > guess[:, 2:]
            u = torch.where(far & (guess[:, 2:] > 0), guess[:, :2], u)
        scales.append(Scale(u, log_sigma))
        if not refined:
            return scales, None
        prior, expected = u.detach(), log_sigma.detach()
        data = refine(reference.terms, sample, prior)
        return scales, self.fusion(data, prior, expected, hidden, sample.shape[1])


def upsample2x(image: Tensor) -> Tensor:
    """Bilinear enlargement by 2, pixel areas kept in register."""
    return F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)


def bilinear_weights() -> Tensor:
    """Weights (9, 2, 2) of the 3 x 3 neighbours with which the four sub-pixels are interpolated
    bilinearly.
    """
    line = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])  # sub-pixel, neighbour
    return torch.einsum("ai,bj->ijab", line, line).reshape(9, 2, 2)


def convex_upsample(image: Tensor, mix: Tensor) -> Tensor:
    """Enlarge (B, C, y, x) by 2; each sub-pixel is a mean of 3 x 3 neighbours weighted by
    softmax(``mix``).
    """
    b, c, height, width = image.shape
    weights = mix.view(b, 9, 4, height, width).softmax(1)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    sub_pixels = sum(
        weights[:, None, 3 * j + i] * padded[:, :, None, j : j + height, i : i + width]
        for j in range(3)
        for i in range(3)
    )
    assert isinstance(sub_pixels, Tensor)
    return F.pixel_shuffle(sub_pixels.reshape(b, c * 4, height, width), 2)


def _scales(stack: Tensor) -> list[Tensor]:
    """Means over the pixels of each of ``SCALES`` of (B, N, y, x)."""
    halves = [halve(stack)]
    while len(halves) < len(SCALES):
        halves.append(halve(halves[-1]))
    return halves[::-1]


def _reference_level(frames: Tensor) -> ReferenceLevel:
    mean = _box(frames.mean(1, True), BACKGROUND)
    r = frames - mean
    gx, gy = _gradient(r)
    pairs = ((r, r), (r, gx), (r, gy), (gx, gx), (gx, gy), (gy, gy))
    moments = torch.stack([(a * b).mean(1) for a, b in pairs], 1)
    return ReferenceLevel(r, gx, gy, mean, _box(moments[:, :1], 3), moments)


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y; one-sided at the border."""
    p = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2


def _box(image: Tensor, side: int) -> Tensor:
    """Mean over side x side pixels, over those inside the image at its border."""
    if torch.compiler.is_compiling():
        return F.avg_pool2d(image, side, 1, side // 2, count_include_pad=False)
    return filter_xy(image, box(side), box(side), "zero") / _inside(*image.shape[-2:], side, image.device)


@lru_cache(maxsize=64)
def _inside(height: int, width: int, side: int, device: torch.device) -> Tensor:
    """Share (y, x) of the side x side pixels around each that are inside the image."""
    with torch.inference_mode(False):
        return filter_xy(torch.ones(height, width, device=device), box(side), box(side), "zero")


def _pulled(frames: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Modulation of the sample pulled back by ``u`` (px of the scale), its local mean, and where it is inside."""
    height, width = frames.shape[-2:]
    place = pixel_grid(u) + u
    edge = place.new_tensor([width - 1, height - 1]).view(1, 2, 1, 1)
    inside = ((place >= -0.5) & (place <= edge + 0.5)).all(1, True).to(frames.dtype)
    pulled = sample_at(frames, place)
    mean = _box(pulled.mean(1, True), BACKGROUND)
    return (pulled - mean) * inside, mean, inside


@torch.no_grad()
def _unaliased(level: ReferenceLevel, frames: Tensor, u: Tensor, fresh: Tensor) -> Tensor:
    """Where the displacement ``u`` that began at the coarsest scale explains more than ``fresh``, which began here
    with none (B, 1, y, x).

    A grating whose period is less than two pixels of the coarsest scale is seen there as one of another period
    that moves the other way; and a shift by a period explains as much as none, so that of two which explain the
    same the smaller one is taken.
    """
    left = []
    for shift in (u, fresh):
        p, _, inside = _pulled(frames, shift)
        maps = [(p * level.frames).mean(1), (p * p).mean(1), level.moments[:, 0] * inside[:, 0]]
        pr, pp, rr = _box(torch.stack(torch.broadcast_tensors(*maps), 1), ALIAS_WINDOW).split(1, 1)
        left.append((1 - pr.clamp_min(0).square() / (pp * rr + TINY**2)).clamp(1e-6, 1.0))
    samples = frames.shape[1] * ALIAS_WINDOW**2
    smaller = u.square().sum(1, True) <= fresh.square().sum(1, True)
    return samples * (left[1] / left[0]).log() > torch.where(smaller, -ALIAS_EVIDENCE, ALIAS_EVIDENCE)


def _evidence(level: ReferenceLevel, frames: Tensor, u: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Input of the estimator at one scale, and the Gauss-Newton steps (B, 2, y, x) of ``WINDOWS``; px of
    the scale.
    """
    height, width = frames.shape[-2:]
    p, mean, inside = _pulled(frames, u)
    pp = (p * p).mean(1, True)
    energy = _box(pp, 3)

    correlation = cost_volume(level.frames, p, REACH)
    norm = (level.energy + TINY).rsqrt()
    other = F.pad((energy + TINY).rsqrt(), (REACH, REACH, REACH, REACH))
    shifts = range(2 * REACH + 1)
    others = torch.cat([other[..., j : j + height, i : i + width] for j in shifts for i in shifts], 1)
    known = [correlation * norm * others]

    products = torch.stack([(p * a).mean(1) for a in (level.frames, level.gradient_x, level.gradient_y)], 1)
    sums = torch.cat([level.moments.expand(len(p), -1, -1, -1), products, pp], 1)
    steps = []
    for side in WINDOWS:
        step, quality = _gauss_newton(_box(sums, side), p.shape[1] * side**2)
        steps.append(step)
        known += [step, quality]
    ratio = (mean.clamp_min(TINY) / level.mean.clamp_min(TINY)).log()
    contrast = 0.5 * (level.energy + TINY).log() - level.mean.clamp_min(TINY).log()
    amplitude = 0.5 * ((energy + TINY) / (level.energy + TINY)).log()
    count = torch.full_like(inside, math.log(p.shape[1] / 5))
    known += [ratio, contrast.expand_as(ratio), amplitude, count]
    return known, steps


def _gauss_newton(sums: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """One step from window means of (rr, rgx, rgy, gxgx, gxgy, gygy, pr, pgx, pgy, pp).

    Linear least squares of p = a r - a du . g for amplitude a and step du, the amplitude eliminated. Returns
    the step (B, 2, y, x), limited to 1 px, and (B, 2, y, x): the log of its expected error and the
    unexplained share of p.
    """
    rr, rx, ry, xx, xy, yy, pr, px, py, pp = sums.unbind(1)
    safe = rr + TINY
    ratio = pr / safe
    hxx, hxy, hyy = xx - rx * rx / safe, xy - rx * ry / safe, yy - ry * ry / safe
    bx, by = px - ratio * rx, py - ratio * ry
    damping = 1e-3 * (xx + yy) + TINY
    hxx, hyy = hxx + damping, hyy + damping
    determinant = hxx * hyy - hxy * hxy
    qx, qy = (hyy * bx - hxy * by) / determinant, (hxx * by - hxy * bx) / determinant
    # the amplitude that goes with the step; kept away from zero and from a change of sign
    amplitude = (ratio - (qx * rx + qy * ry) / safe).clamp_min(0.05 * (pp / safe + TINY).sqrt() + 1e-4)
    step = -torch.stack([qx, qy], 1) / amplitude[:, None]
    length = (step * step).sum(1, True).add(1e-12).sqrt()
    step = step * (length.clamp_max(1.0) / length)
    residual = (pp - ratio * pr - qx * bx - qy * by).clamp_min(0) + 1e-3 * TINY
    spread = residual / samples * (hxx + hyy) / (2 * determinant) / (amplitude * amplitude)
    unexplained = residual / (pp + TINY)
    return step, torch.stack([0.5 * (spread + 1e-8).log(), unexplained], 1)
