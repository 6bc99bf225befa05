"""Stripes go, the sample stays."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from benchmarks.ring_scans import striped
from benchmarks.rings import error_of
from tests.tomo.ellipses import Ellipse, image, sinogram

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.geometry import field_of_view
from speckleflow.tomo.rings import Stripes, filter_rings, remove_rings
from speckleflow.tomo.single import reconstruct_sinogram

ANGLES = np.arange(180.0)
SOLIDS = [
    Ellipse(0.02, 5, -3, 55, 48, 20),
    Ellipse(0.02, 22, 12, 20, 8, 35),
    Ellipse(-0.015, -20, 25, 12, 12),
]


def test_rings_go_and_the_sample_stays():
    rng = np.random.default_rng(8)
    columns, axis = 160, 79.5
    clean = sinogram(SOLIDS, ANGLES, columns, axis) + 0.004 * rng.normal(size=(180, columns))
    striped = clean.copy()
    bad = rng.choice(np.arange(15, 145), 12, replace=False)
    striped[:, bad] += 0.15 * rng.normal(size=12)
    before = striped.copy()
    truth, inside = image(SOLIDS, columns, supersample=3), field_of_view(columns, axis)

    def error(data):
        return np.sqrt(
            np.mean((reconstruct_sinogram(data, ANGLES, axis, filter="hann") - truth)[inside] ** 2)
        )

    plain = error(clean)
    added = error(striped) - plain
    assert added > plain
    assert error(remove_rings(striped, 9)) - plain < 0.35 * added
    assert error(remove_rings(clean, 9)) < 1.15 * plain  # with nothing to remove, little is lost
    np.testing.assert_array_equal(striped, before)
    both = remove_rings(np.stack([striped, clean]), 9)
    np.testing.assert_array_equal(both[1], remove_rings(clean, 9))


def test_a_stripe_on_equal_columns_goes_without_a_trace():
    """Columns that hold the same values in any order and differ by an offset: what is left is the offsets' median."""
    rng = np.random.default_rng(9)
    values = rng.permutation(100.0 * np.arange(30.0) ** 2)  # steep along the angle: no smoothing there
    clean = np.stack([rng.permutation(values) for _ in range(12)], axis=1)
    offset = np.zeros(12)
    offset[[0, 5, 6]] = [7.0, -3.0, 4.0]
    cleaned = remove_rings(clean + offset, 5)
    assert cleaned.dtype == np.float32
    np.testing.assert_array_equal(cleaned, clean)
    # a median over 3 keeps what is two columns wide: -3 and 4 become 0 and 0, and mirrored at the border 7 stays
    left = remove_rings(clean + offset, 3) - clean
    np.testing.assert_array_equal(left, np.broadcast_to([7.0, *[0.0] * 11], left.shape))
    np.testing.assert_array_equal(remove_rings(clean + offset, 1), clean + offset)
    steps = np.arange(12.0) ** 2
    assert remove_rings(clean * 0 + steps, 3)[7].tolist() == [0, *steps[1:-1], 121]


def test_rows_are_cleaned_one_by_one():
    data = np.random.default_rng(3).normal(size=(3, 20, 15)).astype(np.float32)
    together = remove_rings(data, 5)
    for row in range(3):
        np.testing.assert_array_equal(together[row], remove_rings(data[row], 5))


def test_tooth_rings(shared_data):
    """Real data: in the air about the tooth, neighbouring radii differ by half as much or less."""
    with h5py.File(shared_data("tooth.h5")) as file:
        dark, white = file["exchange/data_dark"][:].mean(0), file["exchange/data_white"][:].mean(0)
        transmission = ((file["exchange/data"][:] - dark) / (white - dark))[:, 0]
        angles = file["exchange/theta"][:]
    data = -np.log(np.clip(transmission, 1e-3, None))
    y, x = np.indices((640, 640)) - 319.5
    ring = np.hypot(x, y).astype(int)
    air = (ring > 185) & (ring < 280)

    def roughness(sinogram):
        found = reconstruct_sinogram(sinogram, angles, 295.84, filter="hann")
        mean = np.bincount(ring[air], found[air])[186:280] / np.bincount(ring[air])[186:280]
        return np.std(np.diff(mean))

    assert roughness(remove_rings(data, 15)) < 0.5 * roughness(data)


@pytest.mark.parametrize("window", [0, 161, -3])
def test_impossible_windows_are_refused(window):
    with pytest.raises(InputError, match=f"1 to 160 px, found {window} px"):
        remove_rings(np.zeros((180, 160)), window)


def ring_errors(kind: str, contrast: str, names: tuple[str, ...]) -> dict[str, float]:
    error = error_of()[1]
    data = striped(kind, contrast, 3)
    return {name: error(filter_rings(data[None], name)[0][0]) for name in names}


#: kind -> NRMSE of auto in % as measured, and of the best of fft and sorting
MEASURED = {"static": (16.8, 18.1), "dead": (14.2, 40.0), "wide": (17.5, 19.5), "dense": (18.2, 18.0)}


@pytest.mark.parametrize("kind", MEASURED)
def test_every_kind_of_stripe_is_treated_by_its_own_filter(kind):
    found = ring_errors(kind, "absorption", ("auto", "fft", "sorting"))
    assert found["auto"] < 1.25 * MEASURED[kind][0]
    assert found["auto"] < 1.02 * min(found["fft"], found["sorting"])


@pytest.mark.parametrize("contrast", ["absorption", "phase"])
def test_a_sinogram_without_stripes_is_left_as_it_is(contrast):
    data = striped("none", contrast, 3)[None]
    cleaned, found = filter_rings(data, "auto")
    np.testing.assert_array_equal(cleaned, data)
    assert found == Stripes()


def test_the_kinds_are_told_apart():
    clean, spike = striped("none", seed=5), np.zeros(256, np.float32)
    rng = np.random.default_rng(1)
    assert filter_rings((clean + 20 * spike)[None], "auto")[1] == Stripes()
    spike[[60, 61, 130]] = 20.0
    steady = filter_rings((clean + spike)[None], "auto")[1]
    assert (steady.dead, steady.single, steady.dense_rows) == (0, 3, 0)
    late = clean + np.where(np.arange(360) > 170, 1, 0)[:, None] * spike
    assert filter_rings(late[None], "auto")[1].single == 3
    dead = clean.copy()
    dead[:, 90] = 7.0
    dead[:, 170] += 30 * rng.normal(size=360)
    assert filter_rings(dead[None], "auto")[1].dead == 2
    dense = clean + 8 * rng.normal(size=256).astype(np.float32)
    assert filter_rings(np.stack([dense, clean]), "auto")[1].dense_rows == 1


def test_too_few_angles_are_left_alone():
    data = np.random.default_rng(1).normal(size=(2, 30, 90)).astype(np.float32)
    np.testing.assert_array_equal(filter_rings(data, "auto")[0], data)


@pytest.mark.parametrize("name", ["combined", "wavelet", "fft"])
def test_filters_of_algotom_keep_the_level(name):
    """Stripes go to a third or less in their columns; the mean of all line integrals stays within 2 %."""
    clean = striped("none", seed=7)
    stripes = np.zeros(256, np.float32)
    stripes[[70, 120, 171]] = 15.0
    cleaned = filter_rings((clean + stripes)[None], name)[0][0]
    assert cleaned.dtype == np.float32
    left = (cleaned - clean).mean(0)[[70, 120, 171]]
    assert np.abs(left).max() < 5.0
    assert abs(cleaned.mean() / clean.mean() - 1) < 0.02


def test_an_unknown_filter_is_refused():
    with pytest.raises(ConfigError, match=r"none, auto, sorting.*'median'"):
        filter_rings(np.zeros((1, 60, 60), np.float32), "median")
