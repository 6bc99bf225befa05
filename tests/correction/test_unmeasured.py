"""Pixels that were not measured in one frame are filled in that frame; margins without air are named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.raw_scan import RawScan

from speckleflow.correction import Correction, prepare_correction
from speckleflow.errors import InputError
from speckleflow.inspect import inspect_scan
from speckleflow.io.scan import FrameMean, open_scan, unmeasured

SIZE = (20, 30)


def smooth(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(SIZE)
    image = ndimage.gaussian_filter(noise, 2.0)
    return (3000 + 300 * image / image.std()).astype(np.float32)


@pytest.mark.parametrize("kind", ["NaN", "infinite", "saturated"])
def test_a_pixel_lost_in_one_frame_is_filled_there_alone(kind: str):
    frames = np.stack([smooth(1), smooth(2)])[:, None]
    truth = frames.copy()
    value = {"NaN": np.nan, "infinite": np.inf, "saturated": 65535}[kind]
    if kind == "saturated":
        frames = frames.astype(np.uint16)
        truth = frames.astype(np.float32)
    frames[0, 0, 7, 11:13] = value
    correction = Correction.from_means(None, None, np.zeros(SIZE, bool))
    corrected = correction.correct_frames(frames)
    np.testing.assert_array_equal(corrected[1], truth[1])
    away = corrected[0] - truth[0]
    assert np.count_nonzero(away) <= 2
    assert np.abs(away).max() < 60  # a fifth of the image's standard deviation, measured 16


def test_a_pixel_lost_in_one_of_the_repeats_is_not_measured():
    flats = np.stack([smooth(1)] * 6)
    flats[2, 3, 4] = np.nan
    mean = FrameMean.of(flats).mean
    assert np.argwhere(np.isnan(mean[0])).tolist() == [[3, 4]]
    counts = flats.astype(np.uint16)
    assert unmeasured(counts[:2]) is None
    counts[1, 5, 6] = 65535
    assert np.argwhere(np.isnan(FrameMean.of(counts).mean[0])).tolist() == [[3, 4], [5, 6]][1:]


def test_lost_pixels_of_flats_and_references_are_bad(raw_scan: RawScan):
    raw_scan.flats["sample_02"][1, 4, 9] = 65535
    raw_scan.frames["reference_03"][..., 6, 8] = 65535
    correction = prepare_correction(open_scan(raw_scan.write().spec()))
    assert correction.bad[4, 9]
    assert correction.bad[6, 8]
    assert np.isfinite(correction.reference).all()


def test_a_scan_without_air_in_its_margins_is_refused(tmp_path):
    """A cylinder wider than the view; with flux: none, and the ratio of the exposures, it is corrected."""
    scan = RawScan(tmp_path, projections=12, size=(16, 60))
    x = np.arange(60) - 29.5
    line = np.exp(-0.02 * np.sqrt(60.0**2 - x**2))
    for name, frames in scan.frames.items():
        if name.startswith("sample"):
            scan.frames[name] = ((frames - 100.0) * line + 100).astype(np.uint16)
    scan.write()
    with pytest.raises(
        InputError, match=r"margins 6[0-9]% darker than the beam without sample, whose light falls"
    ):
        inspect_scan(scan.spec())
    settled = {"correct": {"flux": "none", "flat_scale": 2.0}}
    corrected = prepare_correction(open_scan(scan.spec(**settled)))
    plain = prepare_correction(open_scan(scan.spec(correct={"flux": "none"})))
    np.testing.assert_allclose(plain.gain / corrected.gain, 2.0, rtol=1e-5)
