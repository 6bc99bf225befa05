"""Phase and curl-free part of a displacement, for losses and tables."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def least_squares_phase(u: Tensor) -> Tensor:
    """Phase (B, y, x) in px^2 whose gradient is the displacement (B, 2, y, x) in px, x first, by least squares.

    The image is mirrored at its borders; the mean of the phase is 0. What has curl drops out.
    """
    height, width = u.shape[-2:]
    spectrum, _, _ = _spectrum(u)
    return torch.fft.irfft2(spectrum, s=(2 * height, 2 * width))[..., :height, :width]


def without_any_curl(u: Tensor) -> Tensor:
    """Gradient (B, 2, y, x) of :func:`least_squares_phase`."""
    height, width = u.shape[-2:]
    spectrum, ky, kx = _spectrum(u)
    parts = [torch.fft.irfft2(1j * k * spectrum, s=(2 * height, 2 * width)) for k in (kx, ky)]
    return torch.stack(parts, 1)[..., :height, :width]


def _spectrum(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spectrum of the phase on the mirrored image of twice the size, and its frequencies (y, 1) and (1, x)."""
    height, width = u.shape[-2:]
    ux, uy = u.float().unbind(1)
    ux, uy = torch.cat([ux, -ux.flip(-1)], -1), torch.cat([uy, uy.flip(-1)], -1)
    ux, uy = torch.cat([ux, ux.flip(-2)], -2), torch.cat([uy, -uy.flip(-2)], -2)
    ky = 2 * math.pi * torch.fft.fftfreq(2 * height, device=u.device)[:, None]
    kx = 2 * math.pi * torch.fft.rfftfreq(2 * width, device=u.device)[None, :]
    square = kx**2 + ky**2
    square[0, 0] = math.inf
    return -1j * (kx * torch.fft.rfft2(ux) + ky * torch.fft.rfft2(uy)) / square, ky, kx
