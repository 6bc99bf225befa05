"""Conversions against the exact constants of the SI and textbook numbers."""

from __future__ import annotations

import math

import pytest

from speckleflow.physics import (
    HC_EV_M,
    delta_per_reconstructed_phase,
    phase_gradient_per_px,
    wavelength_m,
)

PLANCK_J_S, LIGHT_M_PER_S, CHARGE_C = 6.62607015e-34, 299792458.0, 1.602176634e-19  # exact in the SI of 2019


def test_wavelength():
    assert pytest.approx(PLANCK_J_S * LIGHT_M_PER_S / CHARGE_C, rel=1e-8) == HC_EV_M
    assert wavelength_m(12.3984198) == pytest.approx(1e-10, rel=1e-8)  # the ångström
    assert wavelength_m(8.04778) == pytest.approx(1.540593e-10, rel=1e-6)  # Cu K alpha 1


def test_phase_of_one_pixel_of_displacement():
    """A prism of apex angle t, of index 1 - delta, bends by delta t: both sides are known without the formula.

    At 10 keV, 2 um pixels and 0.5 m: 1 px is 4 urad; k = 5.0677e10 1/m; over 2 um that is 0.40542 rad.
    """
    assert phase_gradient_per_px(10.0, 2e-6, 0.5) == pytest.approx(0.4054184, rel=1e-6)
    # pixel squared, energy and inverse distance
    assert phase_gradient_per_px(20.0, 6e-6, 1.5) == pytest.approx(0.4054184 * 2 * 9 / 3, rel=1e-6)


def test_delta_of_one_radian_a_pixel():
    """A wave of 10 keV loses 2 pi over 1.2398e-10 m / delta: 1 rad in 2 um is delta = 9.8663e-6."""
    assert delta_per_reconstructed_phase(10.0, 2e-6) == pytest.approx(9.86635e-6, rel=1e-6)
    assert delta_per_reconstructed_phase(30.0, 4e-6) == pytest.approx(9.86635e-6 / 6, rel=1e-6)


def test_they_undo_each_other():
    """A slab of constant delta: u from its refraction, phase per pixel, and delta again."""
    energy_kev, pixel_m, delta = 17.0, 1.7e-6, 4e-7
    phase_per_px = 2 * math.pi * delta * pixel_m / wavelength_m(energy_kev)
    assert phase_per_px * delta_per_reconstructed_phase(energy_kev, pixel_m) == pytest.approx(delta)
