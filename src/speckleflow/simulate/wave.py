"""Scalar wave optics: Fresnel propagation with its sampling checks.

Convention (physics.md): the wave goes as exp(+ikz); matter of index 1 - delta + i beta multiplies it by
exp(i phi - mu t / 2) with phi = -(2 pi / lambda) delta t, which is negative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speckleflow.errors import ConfigError


def transmission_function(phase: Tensor, attenuation: Tensor) -> Tensor:
    """Complex amplitude exp(i phi - A / 2) of a phase in rad and an attenuation A = integral of mu dz."""
    return torch.polar(torch.exp(-attenuation / 2), phase)


def propagate(wave: Tensor, fresnel_number: float) -> Tensor:
    """Fresnel propagation of a periodic complex wave (..., y, x), by its transfer function.

    Parameters
    ----------
    wave : complex amplitude in the first plane.
    fresnel_number : s^2 / (lambda d) of one sample of width s over the distance d.

    Raises
    ------
    ConfigError
        The transfer function exp(-i pi lambda d f^2) is under-sampled: its phase turns by more than pi
        between neighbouring frequencies at the band's edge, that is, samples < lambda d / s^2 along an axis.
    """
    height, width = wave.shape[-2:]
    if min(height, width) * fresnel_number < 1:
        raise ConfigError(
            f"Fresnel propagation: expected at least lambda d / s^2 = {1 / fresnel_number:.0f} samples a "
            f"side, found {min(height, width)}; use a larger field, a larger pixel or a shorter distance"
        )
    fy = torch.fft.fftfreq(height, dtype=torch.float64, device=wave.device)[:, None]
    fx = torch.fft.fftfreq(width, dtype=torch.float64, device=wave.device)[None, :]
    transfer = torch.exp(-1j * math.pi / fresnel_number * (fy**2 + fx**2)).to(wave.dtype)
    return torch.fft.ifft2(torch.fft.fft2(wave) * transfer)


def intensity(wave: Tensor) -> Tensor:
    """|wave|^2."""
    return wave.real**2 + wave.imag**2
