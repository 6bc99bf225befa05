"""Pixels that were not measured in one frame are filled in that frame; margins without air are named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.raw_scan import RawScan

from speckleflow.correction import Correction, prepare_correction
from speckleflow.errors import InputError
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.repeats import FrameMean, unmeasured
from speckleflow.io.scan import open_scan
from speckleflow.stages.phase import rejected_pixels

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
    mean = FrameMean.from_frames(flats).mean
    assert np.argwhere(np.isnan(mean[0])).tolist() == [[3, 4]]
    counts = flats.astype(np.uint16)
    assert unmeasured(counts[:2]) is None
    counts[1, 5, 6] = 65535
    assert np.argwhere(np.isnan(FrameMean.from_frames(counts).mean[0])).tolist() == [[3, 4], [5, 6]][1:]


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


def test_a_saturation_below_the_largest_count_masks_or_refuses(raw_scan: RawScan):
    """A 12-bit detector in 16-bit files: 2 % of a frame clipped at 4095 are filled, more are refused."""
    for stacks in (raw_scan.frames, raw_scan.flats, raw_scan.darks):
        for name, frames in stacks.items():
            stacks[name] = (frames // 6).astype(np.uint16)
    clean = {name: frames.copy() for name, frames in raw_scan.frames.items()}
    raw_scan.frames["sample_02"][1, 3:6, 10:16] = 4095  # 18 of 960 pixels
    with pytest.raises(InputError, match=r"1\.9 % of the pixels at 4095; .*correct\.saturation_level: 4095"):
        inspect_scan(raw_scan.write().spec())
    spec = raw_scan.spec(correct={"saturation_level": 4095})
    inspect_scan(spec)
    scan = open_scan(spec)
    correction = prepare_correction(scan)
    assert correction.saturation == 4095
    frames = correction.correct_frames(scan.read_sample())
    raw_scan.frames.update(clean)
    truth = prepare_correction(open_scan(raw_scan.write().spec())).correct_frames(
        open_scan(raw_scan.spec()).read_sample()
    )
    away = np.abs(frames[1, 1] - truth[1, 1])[3:6, 10:16]
    assert (
        away.max() < 0.4
    )  # measured 0.23, of a smooth surface across a speckle; the clipped value is 0.64 off
    few = raw_scan.spec(correct={"saturation_level": 4095, "fill_fraction": 0.018})
    raw_scan.frames["sample_02"][1, 3:6, 10:16] = 4095
    raw_scan.write()
    with pytest.raises(InputError, match=r"1\.9 % of the pixels at 4095 or more"):
        inspect_scan(few)


def test_filled_pixels_are_where_the_rays_land():
    bad = np.zeros(SIZE, bool)
    bad[4, 5] = True
    correction = Correction(None, None, bad, (0, 0, 0, 0), False, saturation=60000.0)
    raw = np.full((2, 3, *SIZE), 3000, np.uint16)
    raw[1, 2, 10, 20] = 60001
    at_rest = correction.filled(raw)
    assert [np.argwhere(image).tolist() for image in at_rest] == [[[4, 5]], [[4, 5], [10, 20]]]
    ux, uy = np.full((2, *SIZE), 2.2, np.float32), np.full((2, *SIZE), -3.4, np.float32)
    moved = correction.filled(raw, ux, uy)  # the ray of (13, 18) lands at (9.6, 20.2)
    assert [np.argwhere(image).tolist() for image in moved] == [[[4, 5], [7, 3]], [[4, 5], [7, 3], [13, 18]]]


def test_the_inside_of_a_hole_has_no_weight():
    flags = np.zeros((1, *SIZE), np.uint8)
    flags[0, 3, 4] = 1
    flags[0, 8:12, 10:14] = 8
    flags[0, 0, 20] = 8
    rejected = rejected_pixels(flags)
    assert np.argwhere(rejected[0]).tolist() == [[3, 4], [9, 11], [9, 12], [10, 11], [10, 12]]
