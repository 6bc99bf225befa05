"""Which pixels are bad, at the limits that the settings name; and where the sample enters the margins."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.config.models import Correct
from speckleflow.correction import Correction, air_margins, bad_pixels
from speckleflow.correction.air import sides_without_sample
from speckleflow.correction.filling import Filling
from speckleflow.errors import InputError
from speckleflow.io.repeats import FrameMean

SIZE = (20, 31)
LIGHT = 1000.0


RIPPLE = np.random.default_rng(0).uniform(-1, 1, SIZE).astype(np.float32)  # no two pixels alike


def flat_field(positions: int = 1) -> np.ndarray:
    return np.repeat((LIGHT + 2 * RIPPLE)[None], positions, 0)


def dark(level: np.ndarray | float = 100.0, spread: np.ndarray | None = None) -> FrameMean:
    return FrameMean((level + 0.1 * RIPPLE)[None].astype(np.float32), spread, 8)


def spread_of(positions: int = 1) -> np.ndarray:
    return np.repeat((5 + 0.1 * RIPPLE)[None], positions, 0)


def where(bad: np.ndarray) -> list[list[int]]:
    return np.argwhere(bad).tolist()


def test_a_pixel_without_beam_at_one_position_is_bad():
    """At 1 of 20 positions: its mean response falls by 5 % only, but its gain there would be 0."""
    beam = flat_field(20)
    beam[7, 10, 10] = 0
    beam[3, 4, 30] = -1
    assert where(bad_pixels([dark()], [beam], 8.0, SIZE)) == [[4, 30], [10, 10]]


def test_a_response_of_a_tenth_below_or_above():
    beam = flat_field()
    beam[0, 3, 5], beam[0, 3, 20], beam[0, 12, 5], beam[0, 12, 20] = 910, 890, 1090, 1110
    assert where(bad_pixels([], [beam], 8.0, SIZE)) == [[3, 20], [12, 20]]


def test_a_dark_level_of_a_hundredth_of_the_light():
    level = np.full(SIZE, 100.0)
    level[3, 5], level[3, 20], level[12, 5] = 109, 111, 89
    assert where(bad_pixels([dark(level)], [flat_field()], 8.0, SIZE)) == [[3, 20], [12, 5]]
    # the light is that of the darkest beam: 1 % of 500
    level[12, 20] = 106
    assert where(bad_pixels([dark(level)], [flat_field(), flat_field() / 2], 8.0, SIZE)) == [
        [3, 5], [3, 20], [12, 5], [12, 20],
    ]  # fmt: skip


def test_spread_of_the_dark():
    """Noise 5 counts; 14 is 9 above it and does no harm in the noise of the light, 16 does."""
    spread = spread_of()
    spread[0, 2, 3], spread[0, 2, 9] = 14, 16
    assert where(bad_pixels([dark(spread=spread)], [flat_field()], 8.0, SIZE)) == [[2, 9]]
    assert where(bad_pixels([dark(spread=np.repeat(spread, 3, 0))], [flat_field()], 8.0, SIZE)) == [[2, 9]]
    # over positions the root mean square counts: 16 in one of three is 10.4
    once = spread_of(3)
    once[1, 2, 9] = 16
    assert not bad_pixels([dark(spread=once)], [flat_field()], 8.0, SIZE).any()


@pytest.mark.parametrize("what", ["dark", "beam"])
def test_limit_is_in_robust_standard_deviations(what):
    """Noise of 40 counts: 8 of its standard deviations are 320, 5 are 200; 260 lies between."""
    rng = np.random.default_rng(4)
    noise = rng.permutation(np.linspace(-60, 60, SIZE[0] * SIZE[1])).reshape(SIZE)  # MAD 30: 44 counts
    noise[7, 9] = 300.0
    if what == "dark":
        darks, beams = [dark(1000 + noise)], [flat_field()]
    else:
        darks, beams = [], [(LIGHT + noise)[None].astype(np.float32)]
    assert where(bad_pixels(darks, beams, 5.0, SIZE)) == [[7, 9]]
    assert not bad_pixels(darks, beams, 8.0, SIZE).any()


def test_filling_is_a_weighted_quadratic_through_twelve_neighbours():
    """numpy's least squares: weights exp(-(d / d_1)^2 / 2) of the 12 within 2 pixels, d_1 the nearest distance."""
    rng = np.random.default_rng(1)
    image = (5 + 0.1 * rng.normal(size=(3, 15, 17))).astype(np.float32)
    bad = np.zeros((15, 17), bool)
    bad[6, 9] = True
    around = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 0 < y * y + x * x <= 4]
    assert len(around) == 12
    y, x = np.array(around, float).T
    root = np.sqrt(np.exp(-(y**2 + x**2) / 2))
    terms = np.stack([np.ones(12), x, y, x * x, x * y, y * y], 1)
    wanted = [
        np.linalg.lstsq(terms * root[:, None], root * [frame[6 + j, 9 + i] for j, i in around], rcond=None)[
            0
        ][0]
        for frame in image
    ]
    spoiled = image.copy()
    spoiled[:, 6, 9] = np.nan
    Filling(bad).fill(spoiled)
    np.testing.assert_allclose(spoiled[:, 6, 9], wanted, rtol=2e-6)


def test_filling_stays_within_the_neighbours():
    """A peak that the surface would lift above its neighbours, and one below 0."""
    y, x = np.mgrid[:15, :17]
    peak = np.exp(-((y - 6) ** 2 + (x - 9) ** 2) / 3.0).astype(np.float32)
    bad = (y == 6) & (x == 9)
    for sign in (1, -1):
        image = sign * peak
        Filling(bad).fill(image)
        assert image[6, 9] == pytest.approx(sign * np.exp(-1 / 3))


def test_large_holes_are_filled_from_their_rim():
    bad = np.zeros((60, 60), bool)
    bad[10:45, 12:50] = True
    image = np.where(bad, -1e6, 3.0).astype(np.float32)
    Filling(bad).fill(image)
    np.testing.assert_allclose(image, 3.0, rtol=1e-5)


AIR = (4, 6, 1, 2)


@pytest.mark.parametrize(
    ("left", "right", "air", "both"),
    [
        ([1.0, 1.0, 1.0], [1.0, 1.019, 0.985], (4, 6, 0, 0), False),  # 2 % either way is the beam's own
        ([1.0, 0.97, 1.0], [1.0, 1.0, 1.0], (0, 6, 0, 0), False),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 0.97], (4, 0, 0, 0), False),
        ([0.97, 1.0, 1.0], [1.0, 1.0, 0.97], (4, 6, 0, 0), True),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], (4, 6, 0, 0), False),  # the flux alone
    ],
)
def test_the_darker_side_holds_the_sample(left, right, air, both):
    assert sides_without_sample(np.stack([left, right], 1), AIR) == (air, both)


def settings(**changes) -> Correct:
    return Correct.model_validate(changes)


def test_widths_of_the_margins():
    assert air_margins(settings(air_px="auto"), (500, 1000)) == (40, 40, 0, 0)
    assert air_margins(settings(air_px="auto"), (500, 60)) == (4, 4, 0, 0)
    assert air_margins(settings(air_px=[1, 2, 3, 4]), (20, 30)) == (1, 2, 3, 4)
    assert air_margins(settings(air_px=[0, 0, 0, 0], flux="none"), (20, 30)) == (0, 0, 0, 0)
    assert air_margins(settings(air_px=[20, 9, 10, 9]), (20, 30)) == (20, 9, 10, 9)
    for air in ([0, 0, 0, 0], [20, 10, 0, 0], [0, 0, 10, 10]):
        with pytest.raises(
            InputError, match=r"correct.air_px: expected margins inside 30 columns and 20 rows"
        ):
            air_margins(settings(air_px=air), (20, 30))


def test_light_of_a_margin_is_the_mean_of_its_good_pixels():
    rng = np.random.default_rng(8)
    frames = rng.random((2, 3, *SIZE), dtype=np.float32)
    reference = rng.random((3, *SIZE), dtype=np.float32)
    bad = np.zeros(SIZE, bool)
    bad[0, 5] = bad[19, 3] = True
    correction = Correction(None, None, bad, AIR, True, reference)
    for margins, part in (
        ((4, 0, 0, 0), np.s_[..., :, :4]),
        ((0, 6, 0, 0), np.s_[..., :, -6:]),
        ((0, 0, 1, 0), np.s_[..., :1, :]),
        ((0, 0, 0, 2), np.s_[..., -2:, :]),
    ):
        light, beam = correction.light(frames, margins)
        good = ~bad[part]
        np.testing.assert_allclose(light, (frames[part] * good).sum((-2, -1)) / good.sum(), rtol=1e-5)
        np.testing.assert_allclose(beam, (reference[part] * good).sum((-2, -1)) / good.sum(), rtol=1e-5)
