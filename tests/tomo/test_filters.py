"""The ramp and the windows against their formulas, not against each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from speckleflow.errors import ConfigError
from speckleflow.tomo.filters import DEFAULT, FILTERS, ramp, window

#: value at 0, 1/4, 1/2, 3/4 and 1 of the Nyquist frequency, from the definitions
WINDOWS = {
    "ramlak": (1, 1, 1, 1, 1),
    "shepp": (1, np.sin(np.pi / 8) * 8 / np.pi, np.sin(np.pi / 4) * 4 / np.pi, 0.784213304, 2 / np.pi),
    "hann": (1, np.cos(np.pi / 8) ** 2, 0.5, np.sin(np.pi / 8) ** 2, 0),
    "parzen": (1, 0.71875, 0.25, 0.03125, 0),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("length", [8, 64])
def test_windows(name, length):
    values = window(name, length)
    assert values.shape == (length // 2 + 1,)
    np.testing.assert_allclose(values[:: length // 8], WINDOWS[name], atol=1e-9)
    assert (np.diff(values) <= 0).all()


def test_parzen_is_scipys():
    """A cubic B-spline: 63 points of scipy's symmetric window, of which ours are the right half."""
    np.testing.assert_allclose(window("parzen", 64)[:-1], scipy.signal.windows.parzen(63)[31:], atol=0.05)
    spline = scipy.interpolate.BSpline.basis_element(np.array([-1, -0.5, 0, 0.5, 1]), extrapolate=False)
    u = np.linspace(0, 1, 33)[:-1]
    np.testing.assert_allclose(window("parzen", 64)[:-1], spline(u) / spline(0), atol=1e-12)


@pytest.mark.parametrize("length", [64, 100, 1024])
def test_ramp_is_the_modulus_of_the_frequency(length):
    """Cutting the kernel at length / 2 leaves out 2 sum over odd n of 1 / (pi n)^2, about 2 / (pi^2 length)."""
    values = ramp(length)
    assert values.shape == (length // 2 + 1,)
    rest = 2 * sum(1 / (np.pi * n) ** 2 for n in range(length // 2 + 1 - (length // 2) % 2, 10**6, 2))
    if (length // 2) % 2 == 0:
        assert values[0] == pytest.approx(rest, rel=1e-3)
    assert values[0] == pytest.approx(2 / (np.pi**2 * length), rel=0.1)
    np.testing.assert_allclose(values, np.fft.rfftfreq(length), atol=1.1 * values[0])


def test_names():
    assert FILTERS == ("ramlak", "shepp", "hann", "parzen")
    assert DEFAULT == "shepp"
    with pytest.raises(ConfigError, match="ramlak, shepp, hann, parzen, found 'cosine'"):
        window("cosine", 8)
