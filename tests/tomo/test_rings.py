"""Stripes go, the sample stays."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, image, sinogram

from speckleflow.errors import InputError
from speckleflow.tomo.geometry import field_of_view
from speckleflow.tomo.rings import remove_rings
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
