"""Wave-optical refinement: phase and attenuation of a tracking method, fitted to all frames by the wave equation.

Weighted least squares by Gauss-Newton; each step's linear system is solved by a few conjugate gradients. Their
preconditioner is the inverse of the curvature's mean spectrum, which is measured on the data by random probes, so that
no length or strength is assumed. Few iterations keep what the frames cannot tell as tracking left it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speckleflow.retrieval.wave.model import FAINTEST, Linear, WaveModel

#: random probes of the curvature, and rings of the spectrum it is averaged over
PROBES, RINGS = 3, 24


@dataclass(frozen=True)
class Refined:
    """Phase in rad and attenuation (y, x), and the misfit (mean square of residual / noise) before and after."""

    phase: Tensor
    attenuation: Tensor
    before: float
    after: float


def refine(
    model: WaveModel,
    sample: Tensor,
    phase: Tensor,
    attenuation: Tensor,
    steps: int,
    iterations: int,
    smooth: tuple[float, float],
) -> Refined:
    """Refine one projection.

    Parameters
    ----------
    model : optics of the scan.
    sample : (N, y, x) corrected frames.
    phase, attenuation : (y, x) the tracking method's, in rad and as -ln T.
    steps : Gauss-Newton steps.
    iterations : conjugate gradients in each.
    smooth : weights of the curvature of phase and attenuation, as shares of the data's own curvature at Nyquist.
    """
    geometry = model.geometry
    frames = geometry.pad(sample / model.level)
    weight = model.seen / (frames.clamp_min(FAINTEST) + model.reference)
    state = geometry.finer(torch.stack((phase, attenuation)).to(torch.float32))
    linear = model.linear(state[0], state[1])
    residual = frames - linear.prediction
    scale = _noise(weight, residual, model)
    misfit = first = _misfit(weight, residual)
    rule = None
    for _ in range(steps):
        if rule is None:
            rule = _Rule.measure(linear, weight, smooth)
        change = _conjugate_gradients(linear, weight, residual, rule, iterations)
        for _half in range(3):
            trial = state + change
            beyond = model.linear(trial[0], trial[1])
            left = frames - beyond.prediction
            if (now := _misfit(weight, left)) < misfit:
                break
            change = change / 2
        else:
            break
        state, linear, residual, misfit = trial, beyond, left, now
    fields = geometry.pixels(state)
    return Refined(fields[0], fields[1], first / scale, misfit / scale)


def _misfit(weight: Tensor, residual: Tensor) -> float:
    return float((weight * residual.square()).double().sum())


def _noise(weight: Tensor, residual: Tensor, model: WaveModel) -> float:
    """Weighted sum of squares that noise alone would leave, from second differences of the residual."""
    second = residual[..., 1:-1, 1:-1] * 4 - residual[..., 2:, 1:-1] - residual[..., :-2, 1:-1]
    second = second - residual[..., 1:-1, 2:] - residual[..., 1:-1, :-2]
    return float((weight[..., 1:-1, 1:-1] * second.square()).double().sum()) / 20


@dataclass(frozen=True)
class _Rule:
    """Preconditioner and smoothing (2, y, x) on the grid of rfft2."""

    inverse: Tensor
    smooth: Tensor

    @classmethod
    def measure(cls, linear: Linear, weight: Tensor, smooth: tuple[float, float]) -> _Rule:
        shape = (linear.behind.shape[-2], linear.behind.shape[-1])
        device = linear.behind.device
        fy = torch.fft.fftfreq(shape[0], device=device)[:, None]
        fx = torch.fft.rfftfreq(shape[1], device=device)[None, :]
        radius = torch.hypot(fy, fx)
        # rings that are equally wide in the logarithm of the frequency
        lowest = 1 / max(shape)
        place = (torch.log(radius.clamp_min(lowest) / lowest) / torch.log(radius.max() / lowest) * (RINGS - 1)).clamp(
            0, RINGS - 1
        )
        ring = place.round().long()
        generator = torch.Generator().manual_seed(0)
        spectrum = torch.zeros(2, RINGS, device=device)
        power = torch.zeros(2, RINGS, device=device)
        for _ in range(PROBES):
            for part in range(2):
                probe = torch.zeros(2, *shape, device=device)
                probe[part] = torch.randn(shape, generator=generator).to(device)
                answer = linear.back(weight * linear.forth(probe))[part]
                f, g = torch.fft.rfft2(probe[part]), torch.fft.rfft2(answer)
                spectrum[part].index_add_(0, ring.flatten(), (f.conj() * g).real.flatten())
                power[part].index_add_(0, ring.flatten(), f.abs().square().flatten())
        mean = (spectrum / power.clamp_min(1e-30)).clamp_min(0)
        curvature = mean[:, ring].clamp_min(1e-6 * mean.amax(1)[:, None, None])
        nyquist = mean.amax(1)[:, None, None]
        weights = torch.tensor(smooth, device=device)[:, None, None] * nyquist
        smoothing = weights * (radius / radius.max()) ** 4
        return cls(1 / (curvature + smoothing), smoothing)

    def solve(self, gradient: Tensor) -> Tensor:
        return _times(gradient, self.inverse)


def _times(fields: Tensor, transfer: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(fields) * transfer, s=(fields.shape[-2], fields.shape[-1]))


def _conjugate_gradients(
    linear: Linear, weight: Tensor, residual: Tensor, rule: _Rule, iterations: int
) -> Tensor:
    """Change (2, samples) that lowers the weighted squares of residual - forth(change)."""
    right = linear.back(weight * residual)
    change = torch.zeros_like(right)
    direction = step = rule.solve(right)
    product = float((right * step).double().sum())
    for _ in range(iterations):
        image = linear.back(weight * linear.forth(direction)) + _times(direction, rule.smooth)
        length = product / float((direction * image).double().sum())
        change = change + length * direction
        right = right - length * image
        step = rule.solve(right)
        before, product = product, float((right * step).double().sum())
        direction = step + (product / before) * direction
    return change
