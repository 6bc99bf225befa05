"""The point spread of simulated detectors: spots of light at any place, and photons counted in pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from speckleflow.config import ScanConfig
from speckleflow.correction import Correction, load_correction, save_correction
from speckleflow.correction.detector_blur import DetectorBlur, measure_detector_blur
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.stages.projection import acquisition_of, with_measured_blur

SIZE, FINE, COUNT = (160, 224), 4, 6


def flats(blur_x, blur_y, *, photons=400.0, readout=0.0, drift=0.0, seed=1):
    """Frames whose photons fall anywhere on a grid four times as fine, each a spot of 100 counts."""
    generator = np.random.default_rng(seed)
    rows, columns = (side * FINE for side in SIZE)
    beam = np.exp(-0.5 * ((np.arange(columns) - columns / 3) / columns) ** 2) * np.ones((rows, 1))
    frames = []
    for k in range(COUNT):
        light = beam * (1 + drift * k * np.linspace(-1, 1, columns)) * (1 + 0.02 * k)
        spots = generator.poisson(photons / FINE**2 * light).astype(np.float32)
        if blur_x or blur_y:
            spots = gaussian_filter(spots, (blur_y * FINE, blur_x * FINE))
        frame = spots.reshape(SIZE[0], FINE, SIZE[1], FINE).sum((1, 3))
        frames.append(100 * frame + readout * generator.standard_normal(SIZE))
    return np.array(frames).round().astype(np.uint16 if readout == 0 else np.int32)


@pytest.mark.parametrize(("blur_x", "blur_y"), [(0.5, 0.8), (1.2, 0.7), (0.35, 0.0)])
def test_the_width_of_a_spot_is_found_along_each_axis(blur_x, blur_y):
    blur = measure_detector_blur(flats(blur_x, blur_y))
    assert blur is not None
    # measured: within 0.02
    assert blur.x_px == pytest.approx(blur_x, abs=0.05)
    assert blur.y_px == pytest.approx(blur_y, abs=0.05)
    assert blur.known
    assert abs(blur.x_px - blur_x) < 4 * blur.x_error_px + 0.005


def test_readout_noise_and_a_drifting_beam_change_nothing():
    """Readout with the variance of the photons: 20 % less of the width if it were taken for photons'."""
    blur = measure_detector_blur(flats(0.8, 0.8, readout=700.0, drift=0.002))
    assert blur is not None
    assert (blur.x_px, blur.y_px) == (pytest.approx(0.8, abs=0.05), pytest.approx(0.8, abs=0.05))


def test_a_detector_that_counts_photons_has_none():
    generator = np.random.default_rng(3)
    blur = measure_detector_blur(generator.poisson(300, (5, 128, 160)).astype(np.uint16))
    assert blur is not None
    assert (blur.x_px, blur.y_px) == (0, 0)
    assert "photons are counted" in blur.words()
    assert not blur.known


def test_what_cannot_be_measured_is_not():
    assert measure_detector_blur(np.ones((1, 64, 64), np.uint16)) is None
    assert measure_detector_blur(np.ones((4, 20, 64), np.uint16)) is None
    assert measure_detector_blur(np.ones((4, 64, 64), np.uint16)) is None
    small = measure_detector_blur(flats(0.8, 0.8, readout=2000.0)[:2, :40, :40])
    assert small is None or not small.known


def test_what_is_measured_is_kept_and_reaches_the_method(tmp_path):
    """Through corrected.h5 to the settings of the method, where those state none, and to the acquisition."""
    size = (48, 64)
    blur = DetectorBlur(0.9, 0.6, 0.02, 0.01)
    correction = Correction(None, None, np.zeros(size, bool), (0, 0, 0, 0), False, blur=blur)
    save_correction(correction, tmp_path / "corrected.h5")
    assert load_correction(tmp_path / "corrected.h5").blur == blur
    geometry = ScanGeometry(1.3, 20.0, 0.2)
    config = ScanConfig.model_validate({"files": {"sample": "a.h5", "reference": "b.h5"}})
    known = with_measured_blur(config, blur)
    assert known.retrieval.settings.detector_blur_px == pytest.approx(np.sqrt((0.81 + 0.36) / 2))
    found = acquisition_of(known, geometry, None, blur)
    assert (found.detector_blur_x_px, found.detector_blur_y_px) == (0.9, 0.6)
    # what the user states counts, and what is uncertain or not seen does not
    stated = ScanConfig.model_validate(
        {"files": {"sample": "a.h5", "reference": "b.h5"}, "retrieval": {"auto": {"detector_blur_px": 0.0}}}
    )
    assert with_measured_blur(stated, blur) is stated
    assert acquisition_of(stated, geometry, None, blur).detector_blur_x_px == 0.0
    for unsure in (replace(blur, x_error_px=0.2), DetectorBlur(0.0, 0.1, 0.0, 0.01), None):
        assert with_measured_blur(config, unsure) is config
        assert acquisition_of(config, geometry, None, unsure).detector_blur_x_px is None
