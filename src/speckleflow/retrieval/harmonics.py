"""Displacement of a periodic pattern from the phase of its harmonics: the initial guess of the methods.

A periodic pattern looks the same after a shift by its period, so that no comparison of images tells which of the many
displacements is the true one. Continuity does: the phases of two harmonics change smoothly from pixel to pixel, they
are unwrapped, and their level is that which is nearest to 0 at the border of the image (Takeda et al., J. Opt. Soc. Am.
72, 156, 1982; in two dimensions for X-rays: Wen et al., Opt. Lett. 35, 1932, 2010). Where a harmonic is lost or its
phase jumps, the period stays uncertain and the pixels are flagged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.base import FLAG_PERIOD
from speckleflow.retrieval.periodicity import PERIODIC, periodicity
from speckleflow.retrieval.sampling import pixel_grid, pull, sample_at
from speckleflow.retrieval.spectrum import Spectrum

#: Width of the filter around a harmonic over the distance to its strongest neighbours, or to frequency 0. Wider ones
#: follow steeper displacements (validation: gratings of 6 to 12 px, displacements up to a period, slopes up to 1.5).
_BANDWIDTH = 0.35
#: longest and shortest wavelength of a harmonic in px: beyond lies the shape of the beam, below is no sampling
_LONGEST, _SHORTEST = 40.0, 2.1
#: angle (degrees) that two harmonics are apart at least
_APART = 25.0
#: frequencies of the beam's own shape over that of a harmonic, and the power of a neighbour that disturbs it
_BEAM, _NEIGHBOUR = 0.2, 0.02
#: power of the weakest harmonic that is used over that of the strongest, and the width of a peak over its frequency
_WEAKEST, _PEAK = 0.1, 0.2
#: Largest variation (standard deviation / mean) of a harmonic's amplitude over the reference. Of a grating it is the
#: beam's, below 0.25; random patterns have 0.52, as speckle does.
_UNEVEN = 0.4
#: A harmonic is lost where its amplitude falls below this share of its median, or below that of the reference's.
_LOST, _GONE = 0.2, 0.005
#: Share of the pixels beside jumps from which on continuity is broken: then the guess is not used, only compared with.
_BROKEN = 0.1
#: share of the image at its border whose displacement is taken to be less than half a period
_RIM = 0.05
#: fixed-point steps from the detector to the reference grid: a guess is good enough to a fraction of a pixel
_CARRIES = 4
#: difference of a displacement from the guess, over the period, from which the period is uncertain
_UNCERTAIN = 0.3


@dataclass(frozen=True)
class Harmonics:
    """Two harmonics of a periodic reference.

    ``waves`` (2, 2): their wave vectors (x, y) in rad/px; ``widths`` of the filters around them in rad/px;
    ``reference``: for each (N, y, x), complex, the reference demodulated by it, on every ``step``-th pixel.
    """

    waves: Tensor
    widths: tuple[float, float]
    reference: tuple[Tensor, Tensor]
    step: int

    @property
    def period_px(self) -> float:
        """The shortest displacement after which the pattern looks the same, along the harmonics."""
        return 2 * math.pi / float(self.waves.norm(dim=1).max())


@dataclass(frozen=True)
class Guess:
    """Displacement (B, 2, y, x) in px on the reference grid, where the harmonics tell the period, (B, y, x), and the
    period.
    """

    displacement: Tensor
    certain: Tensor
    period_px: float

    @property
    def broken(self) -> Tensor:
        """(B,) bool: projections with so many jumps that nothing is to begin with this guess."""
        return (~self.certain).float().mean((1, 2)) > _BROKEN

    @property
    def maps(self) -> Tensor:
        """The displacement, and how far from it in px the true one may be, 0 where it is unknown (B, 3, y, x)."""
        used = self.certain & ~self.broken[:, None, None]
        return torch.cat((self.displacement, _UNCERTAIN * self.period_px * used[:, None]), 1)

    def flags(self, ux: Tensor, uy: Tensor) -> Tensor:
        """uint8 (B, y, x), FLAG_PERIOD where the harmonics do not confirm the period of a displacement."""
        gx, gy = self.displacement.unbind(1)
        far = torch.hypot(ux - gx, uy - gy) > _UNCERTAIN * self.period_px
        return (~self.certain | far).to(torch.uint8) * FLAG_PERIOD


def find_harmonics(reference: Tensor, pattern: Spectrum) -> Harmonics | None:
    """The two longest strong harmonics of a reference stack (N, y, x), or None where its pattern is not periodic.

    ``pattern`` is the stack's spectrum (:func:`.spectrum.spectrum`).
    """
    found = periodicity(pattern)
    if not PERIODIC < found < math.inf:
        return None
    waves = _longest(pattern)
    if waves is None:
        return None
    step = max(1, int(2 * math.pi / max(math.hypot(*wave) for wave in waves) / 3))
    widths = [_BANDWIDTH * _room(pattern, wave) for wave in waves]
    parts = [_demodulated(reference, *each)[..., ::step, ::step] for each in zip(waves, widths, strict=True)]
    for part in parts:
        size = part.abs().square().sum(0).sqrt()
        if float(size.std()) > _UNEVEN * float(size.mean()):
            return None
    return Harmonics(torch.tensor(waves), (widths[0], widths[1]), (parts[0], parts[1]), step)


def guess_displacement(harmonics: Harmonics, sample: Tensor) -> Guess:
    """The displacement of a batch of sample stacks (B, N, y, x) in the unit of the reference."""
    maps = zip(*(_guess(harmonics, one) for one in sample), strict=True)
    displacement, certain = (torch.stack(each) for each in maps)
    return Guess(displacement, certain, harmonics.period_px)


def _guess(harmonics: Harmonics, sample: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement (2, y, x) of one sample stack (N, y, x), and where it is certain."""
    from skimage.restoration import unwrap_phase  # imported for periodic patterns alone

    step, shape = harmonics.step, sample.shape[-2:]
    phases, certain = [], None
    parts = zip(harmonics.waves.tolist(), harmonics.widths, harmonics.reference, strict=True)
    for wave, width, reference in parts:
        product = (_demodulated(sample, wave, width)[..., ::step, ::step] * reference.conj()).sum(0)
        share = product.abs() / reference.abs().square().sum(0).clamp_min(1e-20)
        lost = share <= (_LOST * share.median()).clamp_min(_GONE)
        if bool(lost[_rim(*lost.shape)].all()):  # nothing to begin from
            return sample.new_zeros(2, *shape), torch.zeros(shape, dtype=torch.bool, device=sample.device)
        wrapped = np.ma.array(product.angle().double().cpu().numpy(), mask=lost.cpu().numpy())
        phase = np.ma.filled(unwrap_phase(wrapped), np.nan)
        level = float(np.nanmedian(phase[_rim(*phase.shape).numpy()]))
        phase -= 2 * math.pi * round(level / (2 * math.pi))
        phases.append(torch.from_numpy(phase).to(sample.device, torch.float32))
        steady = ~lost & ~_jumps(phases[-1])
        certain = steady if certain is None else certain & steady
    assert certain is not None
    # s(y) = r(y - u): the phase of a harmonic k falls by k u
    u = torch.linalg.solve(harmonics.waves.to(sample.device), -torch.stack(phases).flatten(1))
    u = _filled(u.view(2, *phases[0].shape), ~certain)
    maps = _enlarged(torch.cat((u, certain[None].to(u.dtype)))[None], step, shape)
    # from where the ray lands to where it left the sample
    carried = maps
    for _ in range(_CARRIES):
        carried = pull(maps, carried[:, :2])
    return carried[0, :2], carried[0, 2] > 0.99


def _longest(pattern: Spectrum) -> list[tuple[float, float]] | None:
    """Wave vectors (x, y) in rad/px of the two longest strong harmonics that are not along one line."""
    length = torch.hypot(pattern.wx, pattern.wy)
    allowed = (length > 2 * math.pi / _LONGEST) & (length < 2 * math.pi / _SHORTEST)
    power = pattern.power * (allowed & ((pattern.wy > 0) | ((pattern.wy == 0) & (pattern.wx > 0))))
    weak = power < _WEAKEST * power.max()
    waves: list[tuple[float, float]] = []
    for _ in range(2):
        peaks = (~weak & (power > 0)).nonzero()
        if not len(peaks):
            return None
        # the longest wave has the widest range without ambiguity; its peak is a few samples wide
        first = peaks[length[peaks[:, 0], peaks[:, 1]].argmin()]
        wx, wy = pattern.wx[0, first[1]], pattern.wy[first[0], 0]
        near = torch.hypot(pattern.wx - wx, pattern.wy - wy) < _PEAK * torch.hypot(wx, wy)
        row, column = divmod(int((power * near).argmax()), power.shape[1])
        waves.append((float(pattern.wx[0, column]), float(pattern.wy[row, 0])))
        along = (pattern.wx * waves[0][0] + pattern.wy * waves[0][1]).abs()
        along = along / (length * math.hypot(*waves[0])).clamp_min(1e-9)
        power = power * (along < math.cos(math.radians(_APART)))
    return waves


def _room(pattern: Spectrum, wave: tuple[float, float]) -> float:
    """Distance in rad/px from a harmonic to its nearest strong neighbour, or to frequency 0."""
    length = math.hypot(*wave)
    distance = torch.hypot(pattern.wx - wave[0], pattern.wy - wave[1])
    own = pattern.power[distance < _PEAK * length].max()
    beam = torch.hypot(pattern.wx, pattern.wy) < _PEAK * length
    others = distance[(pattern.power > _NEIGHBOUR * own) & (distance > _PEAK * length) & ~beam]
    return min(length, float(others.min()) if len(others) else length)


def _demodulated(stack: Tensor, wave: tuple[float, float], sigma: float) -> Tensor:
    """The stack (N, y, x), complex, filtered around a harmonic with a Gaussian of width ``sigma`` (rad/px)."""
    height, width = stack.shape[-2:]
    reach = min(math.ceil(6 / sigma), height - 1, width - 1)
    padded = F.pad(stack[None], (reach,) * 4, mode="reflect")[0]
    wy, wx = (2 * math.pi * torch.fft.fftfreq(n, device=stack.device) for n in padded.shape[-2:])
    band = torch.exp(-((wx - wave[0]) ** 2 + (wy[:, None] - wave[1]) ** 2) / (2 * sigma**2))
    band *= 1 - torch.exp(-(wx**2 + wy[:, None] ** 2) / (2 * (_BEAM * math.hypot(*wave)) ** 2))
    filtered = torch.fft.ifft2(torch.fft.fft2(padded) * band)
    return filtered[:, reach : reach + height, reach : reach + width]


def _rim(height: int, width: int) -> Tensor:
    """Mask (y, x) of the border of an image."""
    rim = torch.ones(height, width, dtype=torch.bool)
    edge = max(1, round(_RIM * min(height, width)))
    rim[edge:-edge, edge:-edge] = False
    return rim


def _jumps(phase: Tensor) -> Tensor:
    """Pixels (y, x) beside which an unwrapped phase jumps by more than half a turn."""
    jump = torch.zeros_like(phase, dtype=torch.bool)
    for dim in (0, 1):
        far = phase.diff(dim=dim).abs() > math.pi
        for start in (0, 1):
            jump.narrow(dim, start, far.shape[dim]).logical_or_(far)
    grown = F.max_pool2d(jump[None, None].float(), 3, 1, 1)
    return grown[0, 0] > 0


def _filled(u: Tensor, lost: Tensor) -> Tensor:
    """Displacement (2, y, x) whose ``lost`` pixels are means of their neighbours."""
    value, weight = torch.nan_to_num(u) * ~lost, (~lost).to(u.dtype)[None]
    filled, known = value.clone(), weight.clone()
    side = 3
    while bool((known == 0).any()) and side < 2 * max(u.shape[-2:]):
        sums = F.avg_pool2d(torch.cat((value, weight))[None], side, 1, side // 2)[0]
        empty = (known == 0) & (sums[2:] > 0)
        filled = torch.where(empty, sums[:2] / sums[2:].clamp_min(1e-9), filled)
        known = torch.where(empty, torch.ones_like(known), known)
        side = 2 * side + 1
    return filled


def _enlarged(maps: Tensor, step: int, shape: torch.Size) -> Tensor:
    """Maps (1, C, y, x) that stand on every ``step``-th pixel, interpolated linearly to all of ``shape``."""
    return sample_at(maps, pixel_grid(maps.new_empty(shape)) / step)
