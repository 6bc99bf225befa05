"""The camera: statistics of its counts, bad pixels, saturation, repeatability."""

import numpy as np
import pytest
import torch

from speckleflow.config.models import SimulatedDetector
from speckleflow.simulate.detector import SATURATION, Detector, seeded

PLAIN = SimulatedDetector(
    photons=4000, gain=2.0, read_noise_counts=1.5, dark_counts=100, hot_pixels=0, dead_pixels=0
)


def good(detector):
    keep = np.ones(detector.shape, bool)
    for places in (detector.hot, detector.dead):
        keep[places[:, 0], places[:, 1]] = False
    return keep


def test_counts_have_the_mean_and_the_noise_of_photons():
    detector = Detector(PLAIN, 64, 80, seeded(1, 0))
    frames = detector.expose(torch.full((64, 80), 0.6), seeded(1, 1), flux=1.1, frames=60).astype(np.float64)
    dark = detector.expose(None, seeded(1, 2), frames=60).astype(np.float64)
    assert dark.mean() == pytest.approx(100, abs=0.1)
    assert dark.std(0).mean() == pytest.approx(np.hypot(1.5, 1 / 12**0.5), rel=0.02)
    signal = (frames.mean(0) - dark.mean(0)) * 2.0
    expected = 4000 * 0.6 * 1.1 * detector.beam.numpy()
    assert signal.mean() == pytest.approx(expected.mean(), rel=1e-3)
    response = signal / expected  # 1 % from pixel to pixel, beside the noise of 60 frames
    assert response.std() == pytest.approx(np.hypot(0.01, 1 / np.sqrt(60 * 2640)), rel=0.1)
    variance = frames.var(0, ddof=1) - 1.5**2 - 1 / 12
    assert (variance * 4).mean() == pytest.approx(
        expected.mean(), rel=0.03
    )  # Poisson: variance = mean, in photons


def test_the_beam_has_a_shape_that_a_flat_takes_out():
    detector = Detector(PLAIN, 64, 80, seeded(1, 0))
    assert float(detector.beam.mean()) == pytest.approx(1)
    assert float(detector.beam.min() / detector.beam.max()) < 0.8
    image = 1 + 0.3 * torch.sin(torch.arange(80.0) / 4).expand(64, 80)
    frames, flats, darks = (
        detector.expose(i, seeded(1, k), frames=100).mean(0)
        for k, i in enumerate((image, torch.ones(64, 80), None))
    )
    assert np.abs((frames - darks) / (flats - darks) - image.numpy()).max() < 0.015


def test_bad_pixels():
    detector = Detector(SimulatedDetector(hot_pixels=9, dead_pixels=7), 48, 64, seeded(2, 0))
    dark = detector.expose(None, seeded(2, 1))[0]
    flat = detector.expose(torch.ones(48, 64), seeded(2, 2))[0]
    hot, dead = (tuple(places.T.numpy()) for places in (detector.hot, detector.dead))
    assert len(set(zip(*hot, strict=True)) | set(zip(*dead, strict=True))) == 16
    assert (dark[hot] > 5000).all()
    assert (flat[dead] == 0).all()
    assert (dark[dead] == 0).all()
    assert dark[good(detector)].max() < 150
    assert flat[good(detector)].min() > 5000


def test_saturation_and_type():
    detector = Detector(PLAIN, 32, 32, seeded(1, 0))
    frame = detector.expose(torch.full((32, 32), 100.0), seeded(1, 1))
    assert frame.dtype == np.uint16
    assert (frame == SATURATION).all()


def test_random_streams_are_repeatable_and_independent():
    detector = Detector(PLAIN, 32, 32, seeded(1, 0))
    one, same, other = (
        detector.expose(torch.ones(32, 32), seeded(*key)) for key in ((5, 1, 2), (5, 1, 2), (5, 2, 1))
    )
    assert (one == same).all()
    noise = [
        frame.astype(float).ravel()
        - detector.expose(torch.ones(32, 32), seeded(9), frames=200).mean(0).ravel()
        for frame in (one, other)
    ]
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.1
    assert seeded(-3, 1).initial_seed() != seeded(3, 1).initial_seed()


def test_the_beam_is_brightest_below_and_left_of_the_middle():
    """A Gaussian about row 37.8 and column 33.575 of 64 x 80; 16 % less half a frame away along y or x."""
    beam = Detector(PLAIN, 64, 80, seeded(1, 0)).beam.numpy()
    assert np.unravel_index(beam.argmax(), beam.shape) == (38, 34)
    y, x = np.mgrid[:64, :80]
    away = ((y - 37.8) / 31.5) ** 2 + ((x - 33.575) / 39.5) ** 2
    shape = np.sqrt(0.7) ** away
    np.testing.assert_allclose(beam, shape / shape.mean(), rtol=1e-5)
