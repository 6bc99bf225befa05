"""What a method may know of the measurement, with its units."""

from __future__ import annotations

from dataclasses import fields
from math import inf

import pytest

from speckleflow.errors import InputError
from speckleflow.scan.acquisition import CONFIG_KEYS, Acquisition
from speckleflow.scan.geometry import ScanGeometry

GEOMETRY = ScanGeometry(0.65, 10.0, 0.02, 1.25, -0.003)


def test_lengths_are_in_m_and_the_wavelength_is_hc_over_the_energy():
    found = Acquisition.of_geometry(GEOMETRY, angles_deg=(0, 90), detector_blur_px=0.7)
    assert (found.pixel_x_m, found.pixel_y_m) == pytest.approx((0.65e-6, 0.65e-6))
    assert found.wavelength_m == pytest.approx(1.2398e-10, rel=1e-5)
    assert found.diffuser_distance_m == -0.003
    assert (found.detector_blur_x_px, found.detector_blur_y_px) == (0.7, 0.7)
    assert found.angles_deg == (0.0, 90.0)


def test_a_divergent_beam():
    """Source 80 mm before the sample, detector 20 mm behind it: magnification 100 / 80."""
    found = Acquisition.of_geometry(GEOMETRY)
    assert found.source_distance_m == pytest.approx(0.08)
    assert found.effective_distance_m == pytest.approx(0.016)  # 1 / (1/0.08 + 1/0.02)
    assert Acquisition(distance_m=0.02).source_distance_m == inf
    assert Acquisition(distance_m=0.02).effective_distance_m == 0.02


def test_only_what_is_asked_for_and_a_sentence_where_it_is_not_known():
    found = Acquisition.of_geometry(GEOMETRY).only(("distance_m", "diffuser_distance_m"))
    assert found == Acquisition(distance_m=0.02, diffuser_distance_m=-0.003)
    found.require(("distance_m",), "pwf")
    with pytest.raises(InputError, match=r"method 'pwf': expected geometry.energy_kev, found none; set it"):
        found.require(("distance_m", "energy_kev"), "pwf")


def test_every_entry_says_which_keys_give_it():
    from speckleflow.config.load import keys

    assert [f.name for f in fields(Acquisition)] == list(CONFIG_KEYS)
    assert {key for names in CONFIG_KEYS.values() for key in names} <= set(keys())
