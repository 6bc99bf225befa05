"""Corrected frames against the truth that the raw frames were made of."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.raw_scan import DARK, RawScan, write_data_exchange

from speckleflow.correction import (
    Correction,
    bad_pixels,
    load_correction,
    prepare_correction,
    save_correction,
)
from speckleflow.errors import InputError
from speckleflow.io.base import InputProblems
from speckleflow.io.repeats import FrameMean
from speckleflow.io.scan import open_scan


def corrected(scan: RawScan, **sections: dict) -> tuple[Correction, np.ndarray]:
    opened = open_scan(scan.spec(**sections))
    correction = prepare_correction(opened)
    return correction, correction.correct_frames(opened.read_sample())


def transmission(correction: Correction, frames: np.ndarray) -> np.ndarray:
    assert correction.reference is not None
    return frames / correction.reference


def test_dark_flat_and_flux(raw_scan: RawScan):
    """Sample over reference is the transmission, whatever the beam's shape and the flux of each frame."""
    correction, frames = corrected(raw_scan.write())
    assert (frames.dtype, frames.shape) == (np.float32, (4, 3, 24, 40))
    expected = raw_scan.transmission[:, None]
    # 0.5 counts of read noise in 16000 and its rounding; 10 in 100,000
    np.testing.assert_allclose(
        transmission(correction, frames), np.broadcast_to(expected, frames.shape), atol=3e-4
    )
    assert correction.reference is not None
    # units of the empty beam, up to the factor that evens out the mean light of the references, where so few
    # as here differ by some per cent
    ratio = correction.reference / raw_scan.reference
    np.testing.assert_allclose(
        ratio, np.broadcast_to(ratio.mean((1, 2))[:, None, None], ratio.shape), atol=4e-4
    )
    np.testing.assert_allclose(ratio.mean((1, 2)), 1, atol=0.04)
    assert not correction.bad.any()


def test_flux_left_alone(raw_scan: RawScan):
    correction, frames = corrected(raw_scan.write(), correct={"flux": "none"})
    expected = raw_scan.flux[:, :, None, None] * raw_scan.transmission[:, None]
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=3e-4)
    np.testing.assert_allclose(correction.reference, raw_scan.reference, atol=3e-4)


def test_reference_flux_is_evened_out(raw_scan: RawScan):
    """Each reference was recorded at another flux; the mean light of each tells which."""
    for n, factor in enumerate((0.9, 1.0, 1.2)):
        light = raw_scan.frames[f"reference_{n + 1:02d}"] - DARK
        raw_scan.frames[f"reference_{n + 1:02d}"] = (DARK + factor * light).round().astype(np.uint16)
    correction, frames = corrected(raw_scan.write())
    assert correction.reference is not None
    means = correction.reference.mean((1, 2))
    np.testing.assert_allclose(means, means.mean(), rtol=1e-6)
    expected = np.broadcast_to(raw_scan.transmission[:, None], frames.shape)
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=3e-4)


def test_without_flats_the_reference_carries_the_beam(raw_scan: RawScan):
    raw_scan.flats = dict.fromkeys(raw_scan.flats)
    correction, frames = corrected(raw_scan.write())
    assert correction.gain is None
    expected = np.broadcast_to(raw_scan.transmission[:, None], frames.shape)
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=3e-4)
    assert correction.reference is not None
    np.testing.assert_allclose(correction.reference[0], raw_scan.beam * raw_scan.reference[0], rtol=0.05)


def test_frames_whose_dark_was_subtracted(raw_scan: RawScan):
    for stacks in (raw_scan.frames, raw_scan.flats):
        for name, stack in stacks.items():
            stacks[name] = np.asarray(stack, np.float32) - np.float32(DARK)
    raw_scan.darks = dict.fromkeys(raw_scan.darks)
    correction, frames = corrected(raw_scan.write(), files={"dark": "subtracted"})
    assert correction.dark is None
    expected = np.broadcast_to(raw_scan.transmission[:, None], frames.shape)
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=3e-4)


def test_missing_darks_are_never_taken_as_zero(raw_scan: RawScan):
    raw_scan.darks = dict.fromkeys(raw_scan.darks)
    with pytest.raises(InputError, match="expected dark frames"):
        corrected(raw_scan.write())


def test_each_acquisition_has_its_own_flat_and_dark(raw_scan: RawScan):
    """Beam and dark level changed between the files; each is divided by what was recorded with it."""
    for n, factor in enumerate((0.8, 1.0, 1.3)):
        for role, exposure, offset in (("sample", 1.0, 0), ("reference", 1.4, 50)):
            name, level = f"{role}_{n + 1:02d}", factor * exposure
            for stacks, by in ((raw_scan.frames, level), (raw_scan.flats, level), (raw_scan.darks, 1)):
                light = (stacks[name] - DARK) * by + DARK + 20 * n + offset
                stacks[name] = light.round().astype(np.uint16)
    correction, frames = corrected(raw_scan.write(), correct={"flux": "none"})
    assert correction.dark is not None
    np.testing.assert_allclose(correction.dark.mean((1, 2)), DARK + 20 * np.arange(3), atol=0.1)
    np.testing.assert_allclose(correction.reference, raw_scan.reference, atol=4e-4)
    expected = raw_scan.flux[:, :, None, None] * raw_scan.transmission[:, None]
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=4e-4)


def _spoil_pixels(scan: RawScan) -> np.ndarray:
    """Hot (12, 20) beside dead (12, 21), dead in a corner, a flickering one in the margin."""
    bad = np.zeros(scan.size, bool)
    flicker = np.random.default_rng(1).integers(0, 4000, 6)
    for stacks in (scan.frames, scan.flats, scan.darks):
        for name, stack in stacks.items():
            stack[:, 12, 20] = 50000
            stack[:, 12, 21] = stack[:, 0, 0] = DARK
            if stacks is scan.darks:
                stack[:, 5, 2] = flicker
            stacks[name] = stack
    bad[[12, 12, 0, 5], [20, 21, 0, 2]] = True
    return bad


def test_bad_pixels_are_found_and_filled(raw_scan: RawScan):
    bad = _spoil_pixels(raw_scan)
    correction, frames = corrected(raw_scan.write())
    np.testing.assert_array_equal(correction.bad, bad)
    found = transmission(correction, frames)
    expected = np.broadcast_to(raw_scan.transmission[:, None], found.shape)
    np.testing.assert_allclose(found[..., ~bad], expected[..., ~bad], atol=3e-4)
    # sample and reference are filled from the same neighbours by the same weights
    np.testing.assert_allclose(found[..., bad], expected[..., bad], atol=0.02)
    assert correction.reference is not None
    spread = raw_scan.reference.std()
    away = correction.reference[:, bad] / correction.reference.mean() - raw_scan.reference[:, bad] / 0.8
    assert np.abs(away).max() < 2 * spread


def test_bad_pixels_are_found_without_flats(tmp_path: Path):
    """Where only references show the beam: a speckle moves from frame to frame, a bad pixel stays."""
    scan = RawScan(tmp_path, positions=5)
    bad = _spoil_pixels(scan)
    scan.flats = dict.fromkeys(scan.flats)
    correction, _ = corrected(scan.write())
    np.testing.assert_array_equal(correction.bad, bad)


def test_a_few_good_pixels_at_most_are_called_bad():
    """Gaussian noise alone, a million pixels: nothing lies 8 robust standard deviations away."""
    rng = np.random.default_rng(2)
    dark = FrameMean.from_frames(
        100 + 2 * rng.standard_normal((10, 1000, 1000), dtype=np.float32), spread=True
    )
    beam = (5000 + 70 * rng.standard_normal((1, 1000, 1000))).astype(np.float32)
    assert not bad_pixels([dark], [beam], 8.0, (1000, 1000)).any()


def test_mask_of_the_user(raw_scan: RawScan):
    mask = np.zeros(raw_scan.size, np.uint8)
    mask[3, 7] = 255
    np.save(raw_scan.root / "mask.npy", mask)
    bad = _spoil_pixels(raw_scan)
    bad[3, 7] = True  # besides those of dark and flat
    correction, _ = corrected(raw_scan.write(), correct={"mask": "mask.npy"})
    np.testing.assert_array_equal(correction.bad, bad)
    np.save(raw_scan.root / "mask.npy", np.arange(mask.size).reshape(mask.shape) % 3 > 0)
    with pytest.raises(InputError, match="expected mostly good pixels, found 67 % bad ones"):
        corrected(raw_scan, correct={"mask": "mask.npy"})


@pytest.mark.parametrize(("side", "air"), [("left", (0, 4, 0, 0)), ("right", (4, 0, 0, 0))])
def test_the_side_that_the_sample_enters_is_no_air(raw_scan: RawScan, side: str, air: tuple[int, ...]):
    shade = np.ones(raw_scan.size)
    shade[:, :6] = 0.6
    raw_scan.transmission = raw_scan.transmission * (shade if side == "left" else shade[:, ::-1])
    for n in range(raw_scan.positions):
        light = (
            raw_scan.flux[:, n, None, None] * raw_scan.beam * raw_scan.reference[n] * raw_scan.transmission
        )
        raw_scan.frames[f"sample_{n + 1:02d}"] = (DARK + light).round().astype(np.uint16)
    correction, frames = corrected(raw_scan.write())
    assert correction.air == air
    expected = np.broadcast_to(raw_scan.transmission[:, None], frames.shape)
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=5e-4)


def test_a_sample_on_both_sides_is_said(raw_scan: RawScan, caplog: pytest.LogCaptureFixture):
    for n in range(raw_scan.positions):
        frames = raw_scan.frames[f"sample_{n + 1:02d}"]
        frames[0, :, :6] = DARK + 0.5 * (frames[0, :, :6] - DARK)
        frames[1, :, -6:] = DARK + 0.5 * (frames[1, :, -6:] - DARK)
    with caplog.at_level(logging.WARNING):
        corrected(raw_scan.write())
    assert "the sample enters both air margins (4 and 4 px)" in caplog.text


@pytest.mark.parametrize("air_px", [[0, 0, 3, 0], [0, 0, 3, 2], [0, 0, 0, 2], [5, 0, 0, 0], [0, 4, 0, 0]])
def test_margins_of_the_user(raw_scan: RawScan, air_px: list[int]):
    """A holder takes light wherever the margins are not; another border, or one row more, would show it."""
    left, right, top, bottom = air_px
    rows, columns = raw_scan.size
    y, x = np.mgrid[:rows, :columns]
    air = (x < left) | (x >= columns - right) | (y < top) | (y >= rows - bottom)
    raw_scan.transmission = np.where(air, 1.0, 0.6 * raw_scan.transmission)
    for n in range(raw_scan.positions):
        light = (
            raw_scan.flux[:, n, None, None] * raw_scan.beam * raw_scan.reference[n] * raw_scan.transmission
        )
        raw_scan.frames[f"sample_{n + 1:02d}"] = (DARK + light).round().astype(np.uint16)
    correction, frames = corrected(raw_scan.write(), correct={"air_px": air_px})
    assert correction.air == tuple(air_px)
    expected = np.broadcast_to(raw_scan.transmission[:, None], frames.shape)
    # 40 pixels of read noise and rounding in the mean of a margin; measured 4e-4
    np.testing.assert_allclose(transmission(correction, frames), expected, atol=6e-4)


def test_dark_margins_are_an_error(raw_scan: RawScan):
    raw_scan.frames["sample_02"][2, :, :4] = raw_scan.frames["sample_02"][2, :, -4:] = 90
    with pytest.raises(InputError, match=r"air margins .*expected light in every frame, found 1 dark of"):
        corrected(raw_scan.write())


def test_absorption_scan(tmp_path: Path):
    """No diffuser: the corrected frames are the transmission."""
    scan = RawScan(tmp_path)
    light = scan.flux[:, 0, None, None] * scan.beam * scan.transmission
    write_data_exchange(
        tmp_path / "a.h5",
        (DARK + light).round().astype(np.uint16),
        flats=scan.flats["sample_01"],
        darks=scan.darks["sample_01"],
        angles_deg=scan.angles_deg,
        pixel_size_um=1.3,
    )
    files = {"sample": "a.h5", "reference": None}
    correction, frames = corrected(scan, files=files, retrieval={"method": "absorption"})
    assert correction.reference is None
    np.testing.assert_allclose(frames[:, 0], scan.transmission, atol=3e-4)


def test_saved_and_loaded_it_corrects_alike(raw_scan: RawScan, tmp_path: Path):
    _spoil_pixels(raw_scan)
    opened = open_scan(raw_scan.write().spec())
    correction = prepare_correction(opened)
    for name in ("one.h5", "two.h5"):
        save_correction(correction, tmp_path / name)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    loaded = load_correction(tmp_path / "one.h5")
    raw = opened.read_sample()
    np.testing.assert_array_equal(loaded.correct_frames(raw), correction.correct_frames(raw))
    assert loaded.air == correction.air


@pytest.mark.parametrize("case", ["flux none", "no flats", "no darks", "no reference"])
def test_every_part_is_saved(raw_scan: RawScan, tmp_path: Path, case: str):
    opened = open_scan(raw_scan.write().spec())
    whole = replace(prepare_correction(opened), air=(1, 2, 3, 4))
    part = replace(
        whole,
        flux=case != "flux none",
        gain=None if case == "no flats" else whole.gain,
        dark=None if case == "no darks" else whole.dark,
        reference=None if case == "no reference" else whole.reference,
    )
    save_correction(part, tmp_path / "c.h5")
    loaded = load_correction(tmp_path / "c.h5")
    assert (loaded.air, loaded.flux) == ((1, 2, 3, 4), case != "flux none")
    for name in ("dark", "gain", "reference", "bad"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(part, name))
    with h5py.File(tmp_path / "c.h5") as file:
        units = {name: item.attrs["units"] for name, item in file.items() if isinstance(item, h5py.Dataset)}
    wanted = {
        "dark": "counts",
        "gain": "1/counts",
        "bad_pixels": "",
        "reference": "counts" * (case == "no flats"),
    }
    gone = {"no flats": "gain", "no darks": "dark", "no reference": "reference"}.get(case)
    assert units == {name: unit for name, unit in wanted.items() if name != gone}


def test_the_block_a_frame_comes_in_does_not_matter(raw_scan: RawScan):
    """To the last bit: a restarted run may cut its blocks elsewhere."""
    _spoil_pixels(raw_scan)
    opened = open_scan(raw_scan.write().spec())
    correction = prepare_correction(opened)
    whole = correction.correct_frames(opened.read_sample())
    for start, stop in ((0, 1), (1, 4), (2, 3)):
        part = correction.correct_frames(opened.read_sample(slice(start, stop)))
        np.testing.assert_array_equal(part, whole[start:stop])


def test_stacks_by_hand(raw_scan: RawScan):
    reference = np.stack([raw_scan.frames[f"reference_{n:02d}"][0] for n in (1, 2, 3)])
    sample = np.stack([raw_scan.frames[f"sample_{n:02d}"][1] for n in (1, 2, 3)])
    correction = Correction.from_stacks(
        reference, flat=raw_scan.flats["sample_01"], dark=raw_scan.darks["sample_01"]
    )
    np.testing.assert_allclose(correction.reference, raw_scan.reference, atol=4e-4)
    expected = raw_scan.flux[1, :, None, None] * raw_scan.transmission[1]
    np.testing.assert_allclose(
        transmission(correction, correction.correct_frames(sample)), expected, atol=5e-4
    )
    plain = Correction.from_stacks(reference)
    np.testing.assert_array_equal(plain.correct_frames(sample), sample.astype(np.float32))
    with pytest.raises(InputError, match=r"flat frames: expected 24 x 40 pixels as in the reference"):
        Correction.from_stacks(reference, flat=np.ones((1, 24, 39)))
    with pytest.raises(InputError, match=r"expected mostly good pixels, found 100 % bad ones"):
        Correction.from_stacks(reference, flat=raw_scan.darks["sample_01"], dark=raw_scan.flats["sample_01"])
    with pytest.raises(InputError, match=r"expected shape \(..., 3, 24, 40\), found \(2, 24, 40\)"):
        plain.correct_frames(sample[:2])


def test_problems_of_the_scan_come_first(raw_scan: RawScan):
    with pytest.raises(InputProblems):
        corrected(raw_scan)


def test_tooth(shared_data):
    """Real absorption data: air at 1, teeth well below, nothing negative."""
    root = shared_data("tooth.h5").parent
    scan = RawScan(root)
    sections = {
        "files": {"sample": "tooth.h5", "reference": None},
        "geometry": {"pixel_size_um": 1.0},
        "retrieval": {"method": "absorption"},
    }
    correction, frames = corrected(scan, **sections)
    assert frames.shape == (181, 1, 2, 640)
    assert correction.bad.mean() < 0.02
    margin = np.r_[0:26, -26:0]
    assert np.median(frames[..., margin]) == pytest.approx(1, abs=2e-3)
    assert 0.15 < np.median(frames[..., 250:400]) < 0.4
    assert frames.min() > 0.1


def test_four_rods(shared_data):
    """Real speckle data: a rod covers the left margin, so the right one alone tells the flux."""
    root = shared_data("four-rods")
    sections = {
        "files": {
            "sample": "sample_{position:02d}.tif",
            "reference": "reference_{position:02d}.tif",
            "flat": "flat.tif",
            "dark": "subtracted",
        },
        "geometry": {"energy_kev": 25, "pixel_size_um": 6.5, "distance_m": 0.7},
    }
    correction, frames = corrected(RawScan(root), **sections)
    assert correction.air == (0, 89, 0, 0)
    assert correction.bad.mean() < 1e-3
    found = transmission(correction, frames)[0].mean(0).mean(0)
    assert found[1580:1600].mean() == pytest.approx(1, abs=0.02)  # free air in the middle, not used for it
    assert 0.85 < found[700:900].mean() < 0.9  # the smooth rod


def test_the_flux_that_was_divided_out_is_told(raw_scan: RawScan):
    scan = open_scan(raw_scan.write().spec())
    correction = prepare_correction(scan)
    raw = scan.read_sample()
    frames, flux = correction.correct_with_flux(raw)
    np.testing.assert_array_equal(frames, correction.correct_frames(raw))
    assert flux is not None
    # relative to the paired reference, whose own level is brought to that of the other positions
    np.testing.assert_allclose(flux / flux.mean(0), raw_scan.flux / raw_scan.flux.mean(0), rtol=5e-3)
    still = replace(correction, flux=False)
    assert still.correct_with_flux(raw)[1] is None
