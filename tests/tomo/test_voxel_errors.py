"""The stated noise of a voxel against the scatter of the same volume reconstructed from new noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d, uniform_filter

from speckleflow.errors import InputError
from speckleflow.tomo.backends.registry import make_backend
from speckleflow.tomo.slab import SlabReconstruction
from speckleflow.tomo.voxel_errors import BLOCK, local_std, noise_sinograms, predictor

COLUMNS, ROWS, REPEATS = 96, 2, 40
X = np.arange(COLUMNS) - (COLUMNS - 1) / 2


def sinograms(angles_deg):
    """Line integrals (angle, row, x) of two discs with edges of a pixel, the second row without one of them."""
    angles = np.deg2rad(angles_deg)
    out = np.zeros((len(angles), ROWS, COLUMNS), np.float32)
    for cx, cy, radius, value, rows in ((16, -9, 14, 1.0, slice(0, 2)), (-14, 16, 17, 0.6, slice(0, 1))):
        centre = (cx * np.cos(angles) + cy * np.sin(angles))[:, None]
        chords = [
            2 * np.sqrt(np.clip(radius**2 - (X - centre + s) ** 2, 0, None))
            for s in np.linspace(-0.4, 0.4, 5)
        ]
        out[:, rows] += value * np.mean(chords, 0)[:, None]
    return out


def noise(generator, count):
    """Noise that neighbours along x share, twice as strong in the middle third."""
    white = gaussian_filter1d(generator.standard_normal((count, ROWS, COLUMNS)), 0.8, axis=2)
    return (0.5 * white / white.std() * (1 + (np.abs(X) < COLUMNS / 6))).astype(np.float32)


@pytest.mark.parametrize(
    "angles_deg",
    [
        np.arange(150) * 180 / 150,
        # in another order, unevenly, and a full turn
        np.random.default_rng(3).permutation(np.linspace(0, 360, 300, endpoint=False)),
        np.sort(np.random.default_rng(4).uniform(0, 180, 150)),
    ],
    ids=["half", "full", "uneven"],
)
def test_stated_noise_is_the_scatter_of_repeats(angles_deg):
    generator = np.random.default_rng(5)
    clean = sinograms(angles_deg)
    backend = make_backend("fourier", angles_deg, COLUMNS, (COLUMNS - 1) / 2, "shepp", threads=1)
    slices, stated = [], []
    for repeat in range(REPEATS):
        measured = clean + noise(generator, len(angles_deg))
        slices.append(backend(np.ascontiguousarray(measured.transpose(1, 0, 2))))
        if repeat < 10:
            drawn = noise_sinograms(measured, angles_deg)
            stated.append(local_std(backend(np.ascontiguousarray(drawn.transpose(1, 0, 2)))))
    true = np.sqrt(uniform_filter(np.var(slices, 0, ddof=1), (0, 8, 8)))
    inside = X[:, None] ** 2 + X**2 < (0.45 * COLUMNS) ** 2
    ratio = (np.mean(stated, 0) / true)[:, inside]
    assert 0.95 < np.median(ratio) < 1.05  # measured: 0.99 to 1.02
    assert np.percentile(ratio, 5) > 0.88
    assert np.percentile(ratio, 95) < 1.2
    # of the values of a new volume, 68 % lie within one standard deviation of their mean
    off = np.abs(np.array(slices[10:]) - np.mean(slices, 0)) < np.mean(stated, 0)
    assert off[..., inside].mean() == pytest.approx(0.683, abs=0.05)
    # half of the angles noisier than the sample's middle is seen as such, not averaged over the slice
    assert true[0, COLUMNS // 2, COLUMNS // 2] > 1.15 * true[0, COLUMNS // 2, 8]


def test_a_sample_that_turns_smoothly_leaves_nothing():
    """Blobs of 6 px whose projections change slowly from angle to angle, and rings: 0 to a thousandth."""
    angles_deg = np.arange(300) * 0.6
    centre = 20 * np.cos(np.deg2rad(angles_deg))[:, None, None]
    rings = np.random.default_rng(1).standard_normal(COLUMNS)
    blob = np.exp(-0.5 * ((X - centre) / 6) ** 2) + rings
    assert np.abs(noise_sinograms(blob, angles_deg)).max() < 1e-5


def test_a_neighbour_is_predicted_by_polynomials():
    angles = np.array([0.0, 1.0, 2.5, 3.0, 5.0, 5.5])
    for place in range(len(angles)):
        near, weights = predictor(angles, place)
        assert place not in near
        for power in range(4):
            assert weights @ angles[near] ** power == pytest.approx(angles[place] ** power, abs=1e-9)
    # an angle that was taken twice predicts itself; three projections are enough
    near, weights = predictor(np.array([0.0, 1.0, 1.0, 2.0, 3.0]), 1)
    assert dict(zip(near, weights.round(9), strict=True)) == {0: 0, 2: 1, 3: 0, 4: 0}
    assert predictor(np.array([0.0, 1.0, 2.0]), 1)[1] == pytest.approx([0.5, 0.5])
    with pytest.raises(InputError, match="at least 3 projections, found 2"):
        noise_sinograms(np.zeros((2, 4, 4)), [0, 1])
    with pytest.raises(InputError, match="angles: expected shape"):
        noise_sinograms(np.zeros((4, 4, 4)), [0, 1])


def test_blocks_at_the_border_are_means_of_what_is_there():
    noise = np.full((1, 20, 27), 2.0, np.float32)
    noise[0, :, :BLOCK] = 6.0
    std = local_std(noise)
    assert std[0, 0, 20] == 2.0
    # a third of the neighbourhood of the second block of columns; of the first a half
    assert std[0, 5, 12] == pytest.approx(np.sqrt((36 + 4 + 4) / 3))
    assert std[0, 5, 3] == pytest.approx(np.sqrt((36 + 4) / 2))
    assert np.ptp(std[0, :BLOCK, BLOCK : 2 * BLOCK]) == 0


def test_a_slab_states_its_noise_in_the_unit_of_its_slices():
    angles_deg = np.arange(60) * 3.0
    generator = np.random.default_rng(7)
    phase = -0.01 * noise(generator, 60)
    make = {"pixel_size_m": 1e-6, "energy_kev": 20.0}
    slab = SlabReconstruction(angles_deg, 45.0, **make, voxel_std=True)("delta", phase)
    assert slab.std is not None
    rms = np.sqrt(np.mean(np.square(slab.slices), (1, 2)))
    assert np.sqrt(np.mean(np.square(slab.std), (1, 2))) == pytest.approx(rms, rel=0.15)
    assert SlabReconstruction(angles_deg, 45.0, **make)("delta", phase).std is None
