"""Flats before and after a scan in a beam that drifts: the transmission is right at every projection."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.raw_scan import RawScan

from speckleflow.config import ScanConfig
from speckleflow.correction import Correction, load_correction, prepare_correction, save_correction
from speckleflow.errors import InputError
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.base import InputProblems
from speckleflow.io.scan import Scan, open_scan
from speckleflow.scan.spec import ScanSpec

COUNT, ROWS, COLUMNS, DARK = 20, 7, 40, 100
#: flats before the first projection, after the twelfth, and after the last; the beam does not drift evenly
PLACES = (0, 12, 20)


def beam(time: float) -> np.ndarray:
    """Counts over the dark at a time in projections: another slope before and after the flats in between."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    part = np.interp(time, PLACES, (0.0, 0.8, 0.3))
    return 20000 * (1 + 0.4 * np.sin(0.3 * x + y) * (1 - part) + 0.3 * np.cos(0.21 * x - y) * part)


def transmission() -> np.ndarray:
    angle = np.deg2rad(np.arange(COUNT) * 9.0)[:, None, None]
    rod = 6.0**2 - (np.arange(COLUMNS) - 18.3 - 5 * np.cos(angle)) ** 2
    return np.repeat(np.exp(-0.1 * np.sqrt(np.clip(rod, 0, None))), ROWS, 1)


def counts(light: np.ndarray) -> np.ndarray:
    return np.rint(DARK + light).astype(np.uint16)


def projections() -> np.ndarray:
    """The beam at the middle of each projection, behind the sample."""
    return counts(transmission() * [beam(k + 0.5) for k in range(COUNT)])


def nxtomo(folder: Path, repeats: int = 3) -> None:
    """Darks, and flats at all three times, in one stack."""
    frames, keys = [np.full((2, ROWS, COLUMNS), DARK, np.uint16)], [2, 2]
    shown = projections()
    for place, after in zip(PLACES, (*PLACES[1:], None), strict=True):
        frames += [counts(np.stack([beam(place)] * repeats)), shown[place:after]]
        keys += [1] * repeats + [0] * len(frames[-1])
    with h5py.File(folder / "raw.h5", "w") as file:
        file["entry/definition"] = "NXtomo"
        file["entry/instrument/detector/data"] = np.concatenate(frames)
        file["entry/instrument/detector/image_key"] = keys
        angles = np.zeros(len(keys))
        angles[np.array(keys) == 0] = np.arange(COUNT) * 9.0
        file["entry/sample/rotation_angle"] = angles
        file["entry/sample/rotation_angle"].attrs["units"] = "deg"


def data_exchange(folder: Path) -> None:
    """Flats at both ends, which the file does not tell apart."""
    with h5py.File(folder / "raw.h5", "w") as file:
        file["exchange/data"] = projections()
        file["exchange/data_white"] = counts(np.stack([beam(0)] * 3 + [beam(COUNT)] * 3))
        file["exchange/data_dark"] = np.full((2, ROWS, COLUMNS), DARK, np.uint16)
        file["exchange/theta"] = np.arange(COUNT) * 9.0


def spec(folder: Path, **correct: object) -> ScanSpec:
    config = ScanConfig.model_validate(
        {
            "files": {"sample": "raw.h5", "reference": None},
            "geometry": {"pixel_size_um": 1.0},
            "retrieval": {"method": "absorption"},
            "correct": {"flux": "none", "bad_pixel_sigma": 1e9, **correct},
        }
    )
    return ScanSpec("a", config, folder)


def corrected(scan: Scan, correction: Correction) -> np.ndarray:
    return correction.correct_frames(scan.read_sample(), scan.raw_indices)[:, 0]


def test_the_flats_of_a_drifting_beam_are_interpolated(tmp_path):
    nxtomo(tmp_path)
    scan = open_scan(spec(tmp_path))
    correction = prepare_correction(scan)
    # rounding to whole counts leaves 7e-5
    np.testing.assert_allclose(corrected(scan, correction), transmission(), atol=2e-4)
    # a run in blocks, and one without some projections, take the flats of the same times
    part = correction.correct_frames(scan.read_sample(slice(11, 14)), scan.raw_indices[11:14])[:, 0]
    np.testing.assert_allclose(part, transmission()[11:14], atol=2e-4)
    fewer = open_scan(spec(tmp_path, exclude_projections="0,3-5,13"))
    kept = np.setdiff1d(np.arange(COUNT), [0, 3, 4, 5, 13])
    np.testing.assert_allclose(corrected(fewer, prepare_correction(fewer)), transmission()[kept], atol=2e-4)


def test_their_mean_is_wrong_and_can_be_asked_for(tmp_path):
    nxtomo(tmp_path)
    scan = open_scan(spec(tmp_path, flats="mean"))
    correction = prepare_correction(scan)
    assert correction.flats is None
    assert np.abs(corrected(scan, correction) - transmission()).max() > 0.2  # measured 0.4


def test_flats_before_and_after_where_the_file_does_not_say(tmp_path):
    data_exchange(tmp_path)
    assert prepare_correction(open_scan(spec(tmp_path))).flats is None
    scan = open_scan(spec(tmp_path, flats="before_and_after"))
    correction = prepare_correction(scan)
    seen = corrected(scan, correction)
    times = np.arange(COUNT) + 0.5
    ends = [(1 - t / COUNT) * beam(0) + t / COUNT * beam(COUNT) for t in times]
    truth = transmission() * [beam(t) for t in times] / ends
    np.testing.assert_allclose(seen, truth, atol=2e-4)


def test_what_was_used_is_written_and_inspected(tmp_path):
    nxtomo(tmp_path)
    scan = open_scan(spec(tmp_path))
    correction = prepare_correction(scan)
    save_correction(correction, tmp_path / "corrected.h5")
    loaded = load_correction(tmp_path / "corrected.h5")
    np.testing.assert_array_equal(corrected(scan, loaded), corrected(scan, correction))
    words = "interpolated between 3 groups, after 0, 12, 20 projections"
    with h5py.File(tmp_path / "corrected.h5") as file:
        assert file.attrs["flats"] == words
    manifest = inspect_scan(spec(tmp_path, flats="interpolate"))
    assert manifest.flats == f"in the sample files, 9 each, {words}"


def test_another_exposure_of_the_flats(tmp_path):
    nxtomo(tmp_path)
    scan = open_scan(spec(tmp_path, flat_scale=2.0))
    np.testing.assert_allclose(corrected(scan, prepare_correction(scan)), transmission() / 2, atol=2e-4)


def test_frames_without_their_numbers_are_refused(tmp_path):
    nxtomo(tmp_path)
    scan = open_scan(spec(tmp_path))
    with pytest.raises(TypeError, match="numbers of the projections"):
        prepare_correction(scan).correct_frames(scan.read_sample())


def test_a_part_of_the_frames_keeps_the_times(tmp_path):
    nxtomo(tmp_path)
    config = spec(tmp_path).config
    files = config.files.model_copy(update={"frames": "4-17"})
    scan = open_scan(ScanSpec("a", config.model_copy(update={"files": files}), tmp_path))
    np.testing.assert_allclose(corrected(scan, prepare_correction(scan)), transmission()[4:18], atol=2e-4)


def test_a_speckle_scan_of_flats_at_one_time_has_one_gain(raw_scan: RawScan):
    assert prepare_correction(open_scan(raw_scan.write().spec())).flats is None


def moving(folder: Path, turns: float) -> np.ndarray:
    """NXtomo whose beam is a stripe pattern that moves evenly by ``turns`` periods; the true transmission."""
    y, x = np.mgrid[:ROWS, :COLUMNS]

    def at(time: float) -> np.ndarray:
        return 20000 * (1 + 0.3 * np.sin(0.9 * x + 2 * y + 2 * np.pi * turns * time / COUNT))

    rng = np.random.default_rng(4)
    sample = transmission() * [at(k + 0.5) for k in range(COUNT)]
    ends = [np.repeat(at(time)[None], 4, 0) for time in (0, COUNT)]
    with h5py.File(folder / "raw.h5", "w") as file:
        file["entry/definition"] = "NXtomo"
        light = np.concatenate([np.zeros((2, ROWS, COLUMNS)), ends[0], sample, ends[1]])
        file["entry/instrument/detector/data"] = (DARK + rng.poisson(light)).astype(np.uint16)
        file["entry/instrument/detector/image_key"] = [2] * 2 + [1] * 4 + [0] * COUNT + [1] * 4
        angles = np.r_[np.zeros(6), np.arange(COUNT) * 9.0, np.full(4, 180.0)]
        file["entry/sample/rotation_angle"] = angles
        file["entry/sample/rotation_angle"].attrs["units"] = "deg"
    return transmission()


@pytest.mark.parametrize("turns", [0.0, 0.06, 0.3, 0.8])
def test_a_beam_that_moved_too_far_is_named(tmp_path, caplog, turns):
    """The interpolated flat is better than the mean for any movement, and right only for a small one."""
    truth = moving(tmp_path, turns)
    errors = {}
    for flats in ("auto", "mean"):
        scan = open_scan(spec(tmp_path, flats=flats))
        errors[flats] = float(np.sqrt(np.mean((corrected(scan, prepare_correction(scan)) / truth - 1) ** 2)))
    if turns:
        assert errors["auto"] < errors["mean"]  # measured 0.009, 0.067, 0.289 and 0.025, 0.125, 0.319
    assert errors["auto"] < {0.0: 0.01, 0.06: 0.011}.get(turns, 1)  # 0.0086 is the noise of the counts
    warned = [record.getMessage() for record in caplog.records if "correlates by" in record.getMessage()]
    assert bool(warned) == (turns > 0.2)


@pytest.mark.parametrize("turns", [0.06, 0.3])
def test_two_beams_with_times_are_refused_unless_they_are_to_be_interpolated(tmp_path, turns):
    moving(tmp_path, turns)
    assert inspect_scan(spec(tmp_path, flats="interpolate")).flats.endswith("after 0, 20 projections")
    if turns < 0.2:
        assert inspect_scan(spec(tmp_path))
        return
    with pytest.raises(InputProblems) as caught:
        inspect_scan(spec(tmp_path))
    said = str(caught.value)
    assert said.startswith(
        "raw.h5: expected flats of one beam, found those after projection 0 and after 20, whose pattern differs by "
    )
    assert "correct.flats: interpolate puts each projection between" in said


def test_flats_without_times_are_not_interpolated(tmp_path):
    data_exchange(tmp_path)
    with pytest.raises(
        InputError, match=r"raw\.h5: expected the times of the flats in the file, .*, found none"
    ):
        inspect_scan(spec(tmp_path, flats="interpolate"))


def test_a_dark_flat_of_a_group_of_few_is_refused(tmp_path):
    """Three a group: the mean of its group would hold it, though nine flats are there in all."""
    nxtomo(tmp_path)
    with h5py.File(tmp_path / "raw.h5", "r+") as file:
        file["entry/instrument/detector/data"][3] = DARK
    with pytest.raises(
        InputProblems, match=r"expected an image in the flat frames, found only 100 in frame 1"
    ):
        inspect_scan(spec(tmp_path))
    assert (
        inspect_scan(spec(tmp_path, flats="mean")).warnings[0].startswith("raw.h5: flat frame 1 of 9 has 100")
    )
