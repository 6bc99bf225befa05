"""Units and conversions: one meaning for every number (energy, displacement, phase, volumes)."""

from __future__ import annotations

import math

HC_EV_M = 1.23984198e-6  #: Planck constant times speed of light, eV m (CODATA 2018)


def wavelength_m(energy_kev: float) -> float:
    """Wavelength in m of photons of ``energy_kev``."""
    return HC_EV_M / (energy_kev * 1e3)


def phase_gradient_per_px(energy_kev: float, pixel_size_m: float, distance_m: float) -> float:
    """Phase difference in rad between neighbouring pixels for a displacement of 1 px: 2 pi p^2 / (lambda d)."""
    return 2 * math.pi * pixel_size_m**2 / (wavelength_m(energy_kev) * distance_m)


def delta_per_reconstructed_phase(energy_kev: float, pixel_size_m: float) -> float:
    """Factor from FBP(-phi) (rad per pixel) to the refractive-index decrement delta: lambda / (2 pi p)."""
    return wavelength_m(energy_kev) / (2 * math.pi * pixel_size_m)
