"""Material constants against published values."""

import math

import pytest
import xraylib

from speckleflow.errors import ConfigError
from speckleflow.physics import wavelength_m
from speckleflow.simulate.materials import MATERIALS, material


def test_pmma_at_25_kev():
    # xraylib for C5H8O2 at 1.18 g/cm3; the data set of the four rods quotes the same delta
    assert material("PMMA").delta(25.0) == pytest.approx(4.228e-7, rel=1e-3)


def test_water_and_aluminium_attenuation():
    # NIST XCOM, mass attenuation at 20 keV: water 0.8096 cm2/g, aluminium 3.441 cm2/g
    assert material("water").mu(20.0) == pytest.approx(0.8096 * 100, rel=0.01)
    assert material("aluminium").mu(20.0) == pytest.approx(3.441 * 2.70 * 100, rel=0.01)


@pytest.mark.parametrize("name", MATERIALS)
def test_beta_is_attenuation(name):
    kind = material(name)
    beta = kind.beta(20.0)
    assert beta == pytest.approx(kind.mu(20.0) * wavelength_m(20.0) / (4 * math.pi))
    assert beta == pytest.approx(
        xraylib.Refractive_Index_Im(kind.formula, 20.0, kind.density_g_cm3), rel=1e-3
    )


def test_unknown_material_names_the_known():
    with pytest.raises(ConfigError, match=r"expected one of .*PMMA.*found 'plexiglass'"):
        material("plexiglass")
