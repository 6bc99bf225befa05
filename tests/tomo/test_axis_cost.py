"""The costs of the axis search against their definitions, evaluated sum by sum."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from speckleflow.tomo import axis as axis_module
from speckleflow.tomo.axis import AxisResult
from speckleflow.tomo.axis_cost import EDGE_PX, WEDGE_MARGIN, MirrorCost
from speckleflow.tomo.opposite import half_turns

COLUMNS = 40


def taper(axis: float, radius: float) -> np.ndarray:
    """1 further than 4 pixels inside the radius, falling as (1 - cos) / 2 to 0 at it."""
    inside = np.clip((radius - np.abs(np.arange(COLUMNS) - axis)) / 4, 0, 1)
    return np.sin(np.pi * inside / 2) ** 2


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, COLUMNS)).astype(np.float32)


@pytest.mark.parametrize("axis", [17.0, 22.5])
def test_full_turn_sums_squared_differences(axis):
    """C(c) = sum of window(s) (back(s) - front(2 c - s))^2 where 2 c is a whole number; the window stays."""
    front, back, reach = rows(1), rows(2), 2.0
    cost = MirrorCost.opposite(front, back, axis, reach, np.full(COLUMNS, 0.25))
    radius = min(axis, COLUMNS - 1 - axis) + 0.5
    window = taper(axis, max(radius - 4 - 2 * reach, radius / 2))
    seen = front * taper(axis, radius)
    for c in axis + np.array([-2.0, -0.5, 0.0, 1.0]):
        mirrored = np.zeros_like(seen)
        for s in range(COLUMNS):
            if 0 <= round(2 * c) - s < COLUMNS:
                mirrored[:, s] = seen[:, round(2 * c) - s]
        assert cost.cost(c)[0] == pytest.approx(np.sum(window * (back - mirrored) ** 2), rel=1e-5)
    assert cost.terms == pytest.approx(6 * window.sum() * 0.25)


@pytest.mark.parametrize("axis", [17.0, 22.5])
def test_half_turn_sums_the_power_outside_the_wedge(axis):
    """The scan followed by its mirror image about c, transformed in angle and column: |n| > R omega + margin."""
    half = rows(3)
    cost = MirrorCost.wedge(half, axis, np.ones(COLUMNS))
    radius = min(axis, COLUMNS - 1 - axis) + 0.5
    length = scipy.fft.next_fast_len(2 * COLUMNS, real=True)
    seen = np.zeros((6, length))
    seen[:, :COLUMNS] = half * taper(axis, radius)
    harmonic = np.abs(np.fft.fftfreq(12, 1 / 12))[:, None]
    omega = 2 * np.pi * np.arange(length // 2 + 1) / length
    outside = harmonic > radius * omega + 2
    outside[:, 0] = False
    for c in axis + np.array([-1.0, 0.0, 0.5]):
        mirrored = np.roll(seen[:, ::-1], round(2 * c) + 1, axis=1)  # place s holds what was at 2 c - s
        spectrum = np.fft.fft2(np.concatenate([seen, mirrored]))[:, : length // 2 + 1]
        wanted = np.sum(np.abs(spectrum[outside]) ** 2)
        assert cost.cost(c)[0] == pytest.approx(wanted, rel=1e-6)
    assert cost.terms == pytest.approx(outside.sum() * COLUMNS / length)
    assert (WEDGE_MARGIN, EDGE_PX) == (2, 4.0)


def one_wave(power: float, depth: float, omega: float, place: float, terms: float) -> MirrorCost:
    """C(c) = power - depth cos(2 omega (c - place))."""
    cross = np.array([-depth / 2 * np.exp(2j * omega * place)])
    return MirrorCost(np.array([omega]), cross, power, terms)


def test_a_cosine_has_known_slopes_minimum_and_deviation():
    omega, place = 0.3, 5.37
    cost = one_wave(10.0, 6.0, omega, place, terms=50.0)
    c = np.array([3.0, 5.37, 7.1])
    np.testing.assert_allclose(cost.cost(c), 10 - 6 * np.cos(0.6 * (c - place)))
    first, second = cost.slopes(6.0)
    assert first == pytest.approx(6 * 0.6 * np.sin(0.6 * 0.63))
    assert second == pytest.approx(6 * 0.36 * np.cos(0.6 * 0.63))
    assert cost.minimum(3.0, 8.0) == pytest.approx(place, abs=1e-6)
    assert cost.minimum(6.0, 8.0) == pytest.approx(6.0, abs=0.25)  # stays where it was asked to look
    # the mean square left is 4 / 50; the cost rises by it at d with 6 (0.6 d)^2 / 2 = 4 / 50
    assert cost.deviation(place) == pytest.approx(np.sqrt(4 / 50 * 2 / (6 * 0.36)))
    # noise of a sum of 50 squares of mean 4 / 50: 4 sqrt(2 / 50)
    tried = np.linspace(place - np.pi / 0.6, place + np.pi / 0.6, 400, endpoint=False)  # one period: mean 10
    assert cost.significance(place, tried) == pytest.approx(6 / (4 * np.sqrt(2 / 50)), rel=1e-6)
    assert cost.deviation(place + np.pi / 0.6) == np.inf
    assert one_wave(10.0, 6.0, omega, place, terms=0.0).deviation(place) == np.inf
    assert one_wave(10.0, 6.0, omega, place, terms=0.0).significance(place, tried) == 0


def test_costs_of_rows_add_up():
    parts = [one_wave(10.0, 6.0, 0.3, 5.0, 50.0), one_wave(3.0, 1.0, 0.3, 7.0, 20.0)]
    whole = MirrorCost.sum(parts)
    np.testing.assert_allclose(whole.cost([4.0, 6.5]), parts[0].cost([4.0, 6.5]) + parts[1].cost([4.0, 6.5]))
    assert (whole.power, whole.terms) == (13.0, 70.0)


def test_noise_is_weighed_by_knapp_and_carter():
    """Cosines of known power on noise of known power N: what is kept of the power is S / (S + N / 2)."""
    sample = np.zeros(COLUMNS)
    sample[1:9] = [9.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.01]
    noise = 0.5
    signs = np.random.default_rng(4).choice([-1.0, 1.0], (3, 7, COLUMNS))
    spectrum = signs * np.sqrt(sample + noise)
    data = scipy.fft.idct(spectrum, axis=-1, norm="ortho").astype(np.float32)
    filtered, kept = axis_module.without_noise(data)
    np.testing.assert_allclose(kept, sample / (sample + noise / 2), atol=1e-5)
    np.testing.assert_allclose(
        scipy.fft.dct(filtered, axis=-1, norm="ortho"), spectrum * np.sqrt(kept), atol=2e-3
    )


def result(**changes) -> AxisResult:
    values = {
        "axis_px": 80.0, "uncertainty_px": 0.1, "significance": 20.0, "start_px": 80.5,
        "tried_px": np.arange(76.0, 84.1, 0.25), "costs": np.ones(33), "span_deg": 180, "rows_px": np.array([80.0]),
    }  # fmt: skip
    return AxisResult(**(values | changes))


def test_what_makes_an_axis_trusted():
    """Within a quarter of the range of its start, 6 standard deviations deep, known to half a pixel."""
    assert result().trusted
    assert result(start_px=78.0).trusted
    assert not result(start_px=77.9).trusted
    assert not result(start_px=82.1).trusted
    assert result(significance=6.0).trusted
    assert not result(significance=5.9).trusted
    assert result(uncertainty_px=0.5).trusted
    assert not result(uncertainty_px=0.51).trusted


@pytest.mark.parametrize("seed", [1, 2, 5, 6, 8])
def test_a_long_overlap_outweighs_a_better_correlation_over_a_short_one(seed):
    """Random walks: over 10 of 100 columns two of them correlate by chance better than the true overlap's 0.8."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=100))
    data = np.zeros((1, 180, 100), np.float32)
    data[0, 0] = walk
    place = 92 - np.arange(100)  # mirrored about column 46
    seen = (place >= 0) & (place < 100)
    data[0, -1, seen] = walk[place[seen]]
    other = np.cumsum(rng.normal(size=100))
    data[0, -1] += 0.8 * walk.std() / other.std() * other
    start = axis_module._start(data, half_turns(np.arange(180.0)), 4.5, 94.5)
    assert start == pytest.approx(46.0, abs=0.5)
