"""Spectrum of a reference's pattern: what is read off it once a scan (:mod:`.lowpass`, :mod:`.periodicity`)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

#: frames and side (px) of the centre that are looked at
_FRAMES, _SIDE = 8, 256


def hann(height: int, width: int, device: torch.device) -> Tensor:
    """Window (y, x) that the spectrum is taken in."""
    along_y, along_x = (torch.hann_window(length, device=device) for length in (height, width))
    return along_y[:, None] * along_x


class Spectrum(NamedTuple):
    """Mean power (y, x) of several frames, its frequencies in rad per pixel; the power of white noise that was taken
    off, and the number of frames.
    """

    power: Tensor
    wy: Tensor
    wx: Tensor
    noise: float
    frames: int


def spectrum(reference: Tensor) -> Spectrum:
    """Spectrum of the pattern of a stack (N, y, x), in the centre of its first frames.

    White noise is taken off, so that the power is below zero where there is nothing else: it is what the spectrum
    holds in its corners, beyond 0.8 of both Nyquist frequencies (power of noise is exponentially distributed, its
    median is ln 2 of its mean).
    """
    _, height, width = reference.shape
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    part = reference[:_FRAMES, top : top + _SIDE, left : left + _SIDE]
    height, width = part.shape[-2:]
    part = part - part.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(part * hann(height, width, part.device)).abs().square().mean(0)
    wy = 2 * math.pi * torch.fft.fftfreq(height, device=part.device)[:, None]
    wx = 2 * math.pi * torch.fft.fftfreq(width, device=part.device)[None]
    corner = power[(wy.abs() > 0.8 * math.pi) & (wx.abs() > 0.8 * math.pi)]
    noise = float(corner.median()) / math.log(2)
    return Spectrum(power - noise, wy, wx, noise, len(part))
