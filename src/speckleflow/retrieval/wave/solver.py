"""The iterations of preconditioned Wirtinger flow.

Predicted intensity of shot n: IOTF * I_n, I_n = |P_2( t_n P_1 exp(psi) )|^2 with psi = -A / 2 + i phi, P_1 and P_2 the
propagations to the diffuser t_n and to the detector. Where a dark field D is given it is IOTF * (D I_n + (1 - D) I_0),
I_0 that of the sample without a diffuser. The loss is half the sum of squares of mask (prediction - measurement),
averaged over the shots. The gradient of the phase is divided by the square of its frequency (eq. 11); the momentum is
Nesterov's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speckleflow.retrieval.wave.optics import filtered, intensity, propagated

#: iterations between two looks at the change of exp(psi)
CHECK_EVERY = 10
#: a step is halved, and the momentum begins anew, where the loss grew by this factor over the least so far
GROWN = 1.5
#: steps of the power iteration for the largest curvature: 3 % short of it at most on the scenes of the tests
POWER_STEPS = 12
#: exp(-A / 2) beyond this is no wave any more: psi is kept within it
LARGEST_LOG = 12.0


@dataclass(frozen=True)
class Optics:
    """Everything that is known of a scan, on the solver's grid (samples y, x).

    Attributes
    ----------
    diffuser : (N, y, x) complex; the diffuser's transmission function t_n.
    before, after : transfer functions of P_1 and P_2; ``before`` None: the sample stands at the diffuser.
    iotf : (y, x // 2 + 1) intensity transfer function.
    mask : (y, x) camera mask.
    """

    diffuser: Tensor
    before: Tensor | None
    after: Tensor
    iotf: Tensor
    mask: Tensor

    @property
    def uniform(self) -> Tensor:
        """The diffuser (1, y, x) that leaves the beam alone: what scattered light has of I_0."""
        return self.diffuser.abs().square().mean().sqrt().expand(1, *self.mask.shape).to(self.diffuser.dtype)

    def step(self, preconditioner: Tensor) -> float:
        """Step of the iterations: 1 / max |t|^4, or 1 / (largest curvature of the loss at psi = 0) where that is less.

        The first alone is no safe bound: where light bends far within a speckle the slow phase overshoots.
        """
        return min(1 / float(self.diffuser.abs().max()) ** 4, 1 / self._curvature(preconditioner))

    def _curvature(self, preconditioner: Tensor) -> float:
        """Largest eigenvalue of the preconditioned curvature of the loss at psi = 0, by power iteration."""
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(2, *self.mask.shape, generator=generator).to(self.mask.device)
        at_diffuser = torch.ones_like(v[:1], dtype=torch.complex64)
        if self.before is not None:
            at_diffuser = propagated(at_diffuser, self.before)
        wave = propagated(at_diffuser * self.diffuser, self.after)
        size = torch.ones(())
        for _ in range(POWER_STEPS):
            v = v / torch.linalg.vector_norm(v)
            moved = torch.complex(v[0], v[1])[None]
            moved = moved if self.before is None else propagated(moved, self.before)
            moved = propagated(moved * self.diffuser, self.after)
            change = self.mask * filtered(2 * (wave.conj() * moved).real, self.iotf)
            back = propagated(wave * filtered(self.mask * change, self.iotf), self.after.conj())
            back = (back * self.diffuser.conj()).mean(0)
            if self.before is not None:
                back = propagated(back, self.before.conj())
            v = 2 * torch.stack((back.real, filtered(back.imag, preconditioner)))
            size = torch.linalg.vector_norm(v)
        return float(size)


@dataclass(frozen=True)
class Rules:
    """When to stop, and what is held small; see :class:`.settings.PwfSettings`."""

    tolerance: float
    iterations: int
    preconditioner: Tensor
    damp_attenuation: Tensor
    damp_phase: Tensor


@dataclass(frozen=True)
class Solution:
    """psi = (log amplitude, phase), each (B, y, x); iterations taken and last loss, each (B,); the loss's course."""

    log_amplitude: Tensor
    phase: Tensor
    iterations: Tensor
    loss: Tensor
    course: list[Tensor]


def loss_and_gradient(
    optics: Optics, measured: Tensor, log_amplitude: Tensor, phase: Tensor, darkfield: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (B,), and its derivatives by log amplitude and phase (B, y, x).

    Parameters
    ----------
    optics : of the scan.
    measured : (B, N, y, x) frames.
    log_amplitude, phase : (B, y, x) psi.
    darkfield : (B, y, x) where the light lands; None: nothing scatters.
    """
    shots = measured.shape[1]
    sample = torch.polar(log_amplitude.exp(), phase)[:, None]
    at_diffuser = sample if optics.before is None else propagated(sample, optics.before)
    diffuser = optics.diffuser if darkfield is None else torch.cat((optics.diffuser, optics.uniform))
    wave = propagated(at_diffuser * diffuser, optics.after)
    light = intensity(wave)
    if darkfield is not None:
        straight = darkfield[:, None]
        light = straight * light[:, :shots] + (1 - straight) * light[:, shots:]
    misfit = optics.mask * (filtered(light, optics.iotf) - measured)
    loss = misfit.double().square().sum((-3, -2, -1)) / (2 * shots)
    blame = filtered(optics.mask * misfit, optics.iotf)
    if darkfield is not None:
        blame = torch.cat((straight * blame, (1 - straight) * blame.sum(1, keepdim=True)), 1)
    back = propagated(wave * blame, optics.after.conj())
    back = (back * diffuser.conj()).sum(1, keepdim=True) / shots
    if optics.before is not None:
        back = propagated(back, optics.before.conj())
    gradient = 2 * (sample.conj() * back)[:, 0]
    return loss, gradient.real, gradient.imag


def solve(
    optics: Optics,
    measured: Tensor,
    rules: Rules,
    start: tuple[Tensor, Tensor] | None = None,
    darkfield: Tensor | None = None,
) -> Solution:
    """Fit psi to measured frames (B, N, y, x), each projection until its own exp(psi) no longer changes.

    ``start``: (log amplitude, phase) (B, y, x) to begin from; None: 0. ``darkfield``: see :func:`loss_and_gradient`.

    A projection that has come to rest is frozen, so that a batch gives what its projections give one by one.
    """
    batch, shape = len(measured), measured.shape[-2:]
    nought = measured.new_zeros(batch, *shape)
    now = torch.stack(start if start is not None else (nought, nought))
    out = _State.begin(now, optics.step(rules.preconditioner))
    active = torch.arange(batch, device=measured.device)
    course: list[Tensor] = []
    iterations = torch.zeros(batch, dtype=torch.int64)
    final, last_loss = now.clone(), nought.new_zeros(batch, dtype=torch.float64)
    inside = optics.mask > 0.99
    before = _field(now, inside)
    for iteration in range(1, rules.iterations + 1):
        some = None if darkfield is None else darkfield[active]
        out, loss = _iterate(optics, measured[active], rules, out, some)
        iterations[active.cpu()] = iteration
        last_loss[active] = loss
        course.append(last_loss.cpu().clone())
        final[:, active] = out.now
        if iteration % CHECK_EVERY == 0:
            field = _field(out.now, inside)
            moving = _change(field, before) > rules.tolerance
            if not moving.any():
                break
            before, active, out = field[moving], active[moving], out.only(moving)
    return Solution(final[0], final[1], iterations, last_loss, course)


@dataclass(frozen=True)
class _State:
    """psi now and before (2, B, y, x), the momentum's t, the step's factor and the least loss, each (B,)."""

    now: Tensor
    ahead: Tensor
    momentum: Tensor
    step: Tensor
    least: Tensor

    @classmethod
    def begin(cls, psi: Tensor, step: float) -> _State:
        one = psi.new_ones(psi.shape[1])
        return cls(psi, psi, one, step * one, torch.full_like(one, math.inf, dtype=torch.float64))

    def only(self, rows: Tensor) -> _State:
        return _State(
            self.now[:, rows], self.ahead[:, rows], self.momentum[rows], self.step[rows], self.least[rows]
        )


def _iterate(
    optics: Optics, measured: Tensor, rules: Rules, state: _State, darkfield: Tensor | None
) -> tuple[_State, Tensor]:
    loss, *gradient = loss_and_gradient(optics, measured, state.ahead[0], state.ahead[1], darkfield)
    grown = ~(loss <= GROWN * state.least)
    if grown.any():
        # back to the last psi, with half the step
        back = grown[:, None, None]
        ahead = torch.where(back, state.now, state.ahead)
        state = replace(
            state,
            ahead=ahead,
            step=torch.where(grown, state.step / 2, state.step),
            momentum=torch.where(grown, torch.ones_like(state.momentum), state.momentum),
            least=torch.where(grown, torch.full_like(state.least, math.inf), state.least),
        )
        loss, *gradient = loss_and_gradient(optics, measured, ahead[0], ahead[1], darkfield)
    step = state.step[:, None, None]
    down = [
        step * gradient[0] + filtered(state.ahead[0], rules.damp_attenuation),
        step * filtered(gradient[1], rules.preconditioner) + filtered(state.ahead[1], rules.damp_phase),
    ]
    psi = state.ahead - torch.stack(down)
    psi[0].clamp_(-LARGEST_LOG, LARGEST_LOG)
    momentum = (1 + torch.sqrt(1 + 4 * state.momentum**2)) / 2
    carry = ((state.momentum - 1) / momentum)[:, None, None]
    ahead = psi + carry * (psi - state.now)
    return _State(psi, ahead, momentum, state.step, torch.minimum(state.least, loss)), loss


def _field(psi: Tensor, inside: Tensor) -> Tensor:
    """exp(psi) (B, pixels) inside the mask, in double precision: sums of float32 do not resolve the tolerance."""
    return torch.polar(psi[0].double().exp(), psi[1].double())[:, inside]


def _change(field: Tensor, before: Tensor) -> Tensor:
    """-log10 of the normalised correlation of two fields, (B,)."""
    product = (field.conj() * before).sum(-1).abs()
    norm = torch.linalg.vector_norm(field, dim=-1) * torch.linalg.vector_norm(before, dim=-1)
    return -torch.log10((product / norm).clamp_min(1e-300))
