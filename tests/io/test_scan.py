"""One scan, stored in every way we know, read back the same."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from tests.raw_scan import RawScan, write_data_exchange

from speckleflow.errors import InputError
from speckleflow.io.base import InputProblems
from speckleflow.io.repeats import FrameMean
from speckleflow.io.scan import Scan, open_scan, raw_files, scan_shape
from speckleflow.scan.spec import ScanSpec

GEOMETRY = {"energy_kev": 20.0, "pixel_size_um": 1.3, "distance_m": 0.2}
NAMES = ("sample", "reference")


def sample_of(scan: RawScan) -> np.ndarray:
    """(projection, N, y, x)"""
    return np.stack([scan.frames[f"sample_{n + 1:02d}"] for n in range(scan.positions)], 1)


def reference_of(scan: RawScan) -> np.ndarray:
    """(N, y, x), the mean of two frames each"""
    return np.stack([scan.frames[f"reference_{n + 1:02d}"].mean(0) for n in range(scan.positions)])


def check(scan: RawScan, opened: Scan, *, angles: bool = True, flats: int | None = None) -> None:
    sample, reference = sample_of(scan), reference_of(scan)
    shape = (opened.n_projections, opened.n_positions, opened.rows, opened.columns)
    assert shape == sample.shape == scan_shape(ScanSpec(opened.name, opened.config, opened.root))
    np.testing.assert_array_equal(opened.read_sample(), sample)
    np.testing.assert_array_equal(opened.read_sample(slice(0, 1), slice(3, 9)), sample[:1, :, 3:9])
    np.testing.assert_allclose(opened.read_reference(), reference, rtol=1e-6)
    np.testing.assert_allclose(opened.angles_deg, scan.angles_deg if angles else 0)
    assert opened.geometry.pixel_size_um == pytest.approx(1.3)
    flat = opened.read_flat("sample")
    if flats is None:
        assert flat is None
    else:
        assert flat is not None
        assert flat.mean.shape == (flats, *scan.size)
        np.testing.assert_allclose(flat.mean[0], scan.flats["sample_01"].mean(0), atol=0.5)
    for path in raw_files(ScanSpec(opened.name, opened.config, opened.root)):
        assert path.exists()


def test_one_file_per_position(raw_scan: RawScan):
    raw_scan.write()
    opened = open_scan(raw_scan.spec())
    check(raw_scan, opened, flats=3)
    assert opened.geometry.effective_distance_m == pytest.approx(0.2)
    assert len(raw_files(ScanSpec("a", opened.config, raw_scan.root))) == 6


def test_one_dataset_of_four_axes(raw_scan: RawScan):
    write_data_exchange(
        raw_scan.root / "a.h5", sample_of(raw_scan), flats=raw_scan.flats["sample_01"],
        darks=raw_scan.darks["sample_01"], angles_deg=raw_scan.angles_deg, **GEOMETRY,
    )  # fmt: skip
    write_data_exchange(raw_scan.root / "r.h5", reference_of(raw_scan)[None])
    spec = raw_scan.spec(files={"sample": "{scan}.h5", "reference": "r.h5"})
    check(raw_scan, open_scan(spec), flats=1)


def test_tiff_pairs_of_a_single_view(tmp_path: Path):
    """As the four rods: one image per position, a separate flat, the dark subtracted."""
    scan = RawScan(tmp_path, projections=1)
    for n in range(scan.positions):
        tifffile.imwrite(tmp_path / f"s{n + 1}.tif", scan.frames[f"sample_{n + 1:02d}"][0])
        tifffile.imwrite(tmp_path / f"r{n + 1}.tif", scan.frames[f"reference_{n + 1:02d}"])
    tifffile.imwrite(tmp_path / "flat.tif", scan.flats["sample_01"])
    files = {"sample": "s{position}.tif", "reference": "r{position}.tif", "flat": "flat.tif"}
    spec = scan.spec(files={**files, "dark": "subtracted"}, geometry=GEOMETRY)
    opened = open_scan(spec)
    check(scan, opened, angles=False, flats=1)
    assert opened.read_dark() is None


def test_stacks_whose_frames_are_positions(tmp_path: Path):
    """Images have no angles: the frames of a single file are diffuser positions of one view."""
    scan = RawScan(tmp_path, projections=1)
    np.save(tmp_path / "s.npy", sample_of(scan)[0])
    np.save(tmp_path / "r.npy", reference_of(scan))
    files = {"sample": "s.npy", "reference": "r.npy", "dark": "subtracted"}
    check(scan, open_scan(scan.spec(files=files, geometry=GEOMETRY)), angles=False)


def test_stacks_whose_frames_are_projections(tmp_path: Path):
    """The scan table gives angles: the frames are projections of one position, the references repeats."""
    scan = RawScan(tmp_path, positions=1)
    tifffile.imwrite(tmp_path / "s.tif", scan.frames["sample_01"], photometric="minisblack")
    tifffile.imwrite(tmp_path / "r.tif", scan.frames["reference_01"])
    files = {"sample": "s.tif", "reference": "r.tif", "dark": "subtracted"}
    spec = scan.spec(files=files, geometry={**GEOMETRY, "angles": "range"})
    check(scan, open_scan(spec))


def test_a_folder_of_projections_per_position(raw_scan: RawScan):
    for n in range(1, 4):
        (raw_scan.root / f"DF_{n}").mkdir()
        for i, frame in enumerate(raw_scan.frames[f"sample_{n:02d}"]):
            tifffile.imwrite(raw_scan.root / f"DF_{n}/img_{i + 8}.tif", frame)
        tifffile.imwrite(raw_scan.root / f"FF_{n}.tif", raw_scan.frames[f"reference_{n:02d}"])
    files = {"sample": "DF_{position}", "reference": "FF_{position}.tif", "dark": "subtracted"}
    geometry = {**GEOMETRY, "angles": "range"}
    check(raw_scan, open_scan(raw_scan.spec(files=files, geometry=geometry)))
    files["sample"] = "DF_{position}/img_*.tif"
    opened = open_scan(raw_scan.spec(files=files, geometry=geometry))
    check(raw_scan, opened)
    assert len(raw_files(ScanSpec("a", opened.config, raw_scan.root))) == 3 * 4 + 3


def test_alternating_reference_and_sample_scans(raw_scan: RawScan):
    """Scan numbers 100 reference, 101 sample, 102 reference ...; the samples are listed."""
    raw_scan.write()
    for n in range(3):
        raw_scan.path(f"sample_{n + 1:02d}").rename(raw_scan.root / f"scan_{101 + 2 * n:04d}.h5")
        raw_scan.path(f"reference_{n + 1:02d}").rename(raw_scan.root / f"scan_{100 + 2 * n:04d}.h5")
    files = {"sample": "scan_{position:04d}.h5", "reference": "scan_{position-1:04d}.h5"}
    spec = raw_scan.spec(files={**files, "positions": "101,103,105"})
    check(raw_scan, open_scan(spec), flats=3)


def test_the_diffuser_as_flats_of_each_sample_file(raw_scan: RawScan):
    """'reference = its flats': such flats show the diffuser, so nothing may be divided by them."""
    for n in range(1, 4):
        raw_scan.flats[f"sample_{n:02d}"] = raw_scan.frames[f"reference_{n:02d}"]
    raw_scan.write()
    files = {"reference": "raw/{scan}/sample_{position:02d}.h5", "reference_dataset": "flats"}
    check(raw_scan, open_scan(raw_scan.spec(files=files)))


def test_flats_and_darks_in_files_of_their_own(raw_scan: RawScan):
    flats, darks = raw_scan.flats["sample_01"], raw_scan.darks["sample_01"]
    raw_scan.flats, raw_scan.darks = dict.fromkeys(raw_scan.flats), dict.fromkeys(raw_scan.darks)
    raw_scan.write()
    raw_scan.flats["sample_01"] = flats
    write_data_exchange(raw_scan.root / "flat.h5", flats)  # as frames
    with h5py.File(raw_scan.root / "dark.h5", "w") as file:  # as darks, nothing else in the file
        file["exchange/data_dark"] = darks
    spec = raw_scan.spec(files={"flat": "flat.h5", "dark": "dark.h5"})
    opened = open_scan(spec)
    check(raw_scan, opened, flats=1)
    dark = opened.read_dark("reference")
    assert dark is not None
    np.testing.assert_allclose(dark.mean[0], darks.mean(0), atol=0.5)
    assert len(raw_files(spec)) == 8


def test_references_without_darks_take_the_samples(raw_scan: RawScan):
    for n in range(1, 4):
        raw_scan.darks[f"reference_{n:02d}"] = None
    raw_scan.darks["sample_02"] = raw_scan.darks["sample_02"] + 7
    opened = open_scan(raw_scan.write().spec())
    dark = opened.read_dark("reference")
    assert dark is not None
    np.testing.assert_allclose(dark.mean.mean((1, 2)), [100, 107, 100], atol=0.1)


def test_absorption_scan(tmp_path: Path):
    scan = RawScan(tmp_path, positions=1)
    scan.metadata = {"pixel_size_um": 1.3}
    files = {"sample": "raw/a/sample_01.h5", "reference": None}
    opened = open_scan(scan.write().spec(files=files, retrieval={"method": "absorption"}))
    assert (opened.n_projections, opened.n_positions, opened.has_reference) == (4, 1, False)
    assert opened.geometry.energy_kev is None
    assert opened.geometry.effective_distance_m is None
    np.testing.assert_array_equal(opened.read_sample(slice(1, 3)), sample_of(scan)[1:3])


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ({"angles": "range", "angle_stop_deg": 180.0}, [0, 45, 90, 135]),
        ({"angles": "range", "angle_stop_deg": 180.0, "angle_inclusive": True}, [0, 60, 120, 180]),
        ({"angles": "range", "angle_start_deg": 90.0, "angle_stop_deg": -90.0}, [90, 45, 0, -45]),
        (
            {"angles": "range", "angle_start_deg": -30.0, "angle_stop_deg": 60.0, "angle_inclusive": True},
            [-30, 0, 30, 60],
        ),
        (
            {"angles": "range", "angle_start_deg": 10.0, "angle_stop_deg": 90.0, "rotation": "clockwise"},
            [-10, -30, -50, -70],
        ),
        ({"rotation": "clockwise"}, [0, -45, -90, -135]),
        ({"angles_unit": "rad"}, np.degrees([0, 45, 90, 135])),
        ({"angles_unit": "arcmin"}, np.array([0, 45, 90, 135]) / 60),
        ({"angles_unit": "arcsec"}, np.array([0, 45, 90, 135]) / 3600),
        ({"angles_unit": "rad", "rotation": "clockwise"}, -np.degrees([0, 45, 90, 135])),
    ],
)
def test_angles(raw_scan: RawScan, geometry: dict, expected: list[float]):
    """Degrees, counter-clockwise seen from above, whatever the file and the scan table say them in."""
    opened = open_scan(raw_scan.write().spec(geometry=geometry))
    np.testing.assert_allclose(opened.angles_deg, expected)


@pytest.mark.parametrize(
    ("written", "setting", "factor"),
    [
        ("rad", "file", 180 / np.pi),
        ("rad", "deg", 1.0),
        ("deg", "rad", 180 / np.pi),
        (None, "file", 1.0),
        (None, "rad", 180 / np.pi),
        ("gon", "deg", 1.0),
        ("arcmin", "file", 1 / 60),
        ("mrad", "file", 0.18 / np.pi),
        ("mdeg", "file", 1e-3),
    ],
)
def test_the_configured_unit_of_angles_is_over_the_files(
    raw_scan: RawScan, written: str | None, setting: str, factor: float
):
    raw_scan.write()
    with h5py.File(raw_scan.path("sample_01"), "r+") as file:
        del file["exchange/theta"].attrs["units"]
        if written is not None:
            file["exchange/theta"].attrs["units"] = written
    opened = open_scan(raw_scan.spec(geometry={"angles_unit": setting}))
    np.testing.assert_allclose(opened.angles_deg, factor * raw_scan.angles_deg)


def test_angles_of_the_flats_and_darks_too_are_not_cut_to_length(raw_scan: RawScan):
    """4 projections, and 6 flats and 6 darks: which of the 16 angles are theirs is not known."""
    raw_scan.angles["sample_01"] = np.arange(16.0)
    with pytest.raises(
        InputError, match=r"4 angles.* found 16; are they those of the flats and darks too"
    ) as told:
        open_scan(raw_scan.write().spec())
    assert "files.frames" not in str(told.value)


def test_a_single_projection_needs_no_angle(tmp_path: Path):
    scan = RawScan(tmp_path, projections=1)
    scan.angles = dict.fromkeys(scan.angles)
    np.testing.assert_array_equal(open_scan(scan.write().spec()).angles_deg, [0.0])
    inclusive = {"angles": "range", "angle_start_deg": 30.0, "angle_inclusive": True}
    opened = open_scan(scan.spec(geometry=inclusive))
    np.testing.assert_array_equal(opened.angles_deg, [30.0])


def test_an_unknown_unit_of_angles(raw_scan: RawScan):
    raw_scan.write()
    with h5py.File(raw_scan.path("sample_01"), "r+") as file:
        file["exchange/theta"].attrs["units"] = "gon"
    with pytest.raises(InputError, match=r"expected angles in degrees, .* found unit 'gon'"):
        open_scan(raw_scan.spec())


def test_magnification_divides_the_distance(raw_scan: RawScan):
    spec = raw_scan.write().spec(geometry={"magnification": 4.0})
    geometry = open_scan(spec).geometry
    assert (geometry.distance_m, geometry.effective_distance_m) == pytest.approx((0.2, 0.05))


def test_the_sheet_is_over_the_file(raw_scan: RawScan):
    geometry = open_scan(raw_scan.write().spec(geometry={"energy_kev": 30})).geometry
    assert (geometry.energy_kev, geometry.distance_m) == (30, 0.2)


def test_listed_positions(raw_scan: RawScan):
    raw_scan.write()
    opened = open_scan(raw_scan.spec(files={"positions": "3,1"}))
    np.testing.assert_array_equal(opened.read_sample(), sample_of(raw_scan)[:, [2, 0]])
    with pytest.raises(
        InputProblems, match=r"expected 4 sample files, as files\.positions lists, found 3, none"
    ):
        open_scan(raw_scan.spec(files={"positions": "1-4"}))


def test_a_range_beyond_the_scan(raw_scan: RawScan):
    for positions in (3, 1):
        scan = RawScan(raw_scan.root, positions=positions).write()
        with pytest.raises(InputError, match=r"expected a range within 0:4, found 2:9"):
            open_scan(scan.spec()).read_sample(slice(2, 9))


def test_means_leave_out_a_cosmic_ray():
    frames = np.full((6, 2, 3), 100, np.uint16)
    frames[4, 1, 1] = 60000
    mean = FrameMean.from_frames(frames)
    np.testing.assert_array_equal(mean.mean, np.full((1, 2, 3), 100, np.float32))
    rng = np.random.default_rng(0)
    noisy = FrameMean.from_frames(1000 + 10 * rng.standard_normal((20, 50, 50)), spread=True)
    assert noisy.mean.mean() == pytest.approx(1000, abs=0.2)
    # the mean of the inner 18 of 20 is hardly noisier than that of all
    assert noisy.mean.std() == pytest.approx(10 / np.sqrt(20), rel=0.05)
    assert noisy.spread is not None
    assert noisy.spread.mean() == pytest.approx(10, rel=0.05)
    assert FrameMean.from_frames(frames[:2], spread=True).spread is None


def test_two_extremes_of_five_frames_are_left_out_and_none_of_four():
    """Counts 1, 2, 3, 4, 100: the mean of the inner three is 3, the spread that of all five about it."""
    frames = np.array([1.0, 2, 3, 4, 100])[:, None, None] * np.ones((1, 2, 3))
    five, four = FrameMean.from_frames(frames, spread=True), FrameMean.from_frames(frames[1:], spread=True)
    np.testing.assert_allclose(five.mean, np.full((1, 2, 3), 3.0))
    assert five.spread is not None
    np.testing.assert_allclose(five.spread, np.full((1, 2, 3), np.sqrt((4 + 1 + 0 + 1 + 97**2) / 5)))
    np.testing.assert_allclose(four.mean, np.full((1, 2, 3), 27.25))
    assert (five.count, four.count, four.spread) == (5, 4, None)
    assert FrameMean.from_frames(frames).spread is None
    mixed = FrameMean.stack([five, four])
    assert (mixed.mean.shape, mixed.count, mixed.spread) == ((2, 2, 3), 4, None)
    np.testing.assert_allclose(mixed.mean[:, 0, 0], [3.0, 27.25])
    both = FrameMean.stack([five, five])
    assert both.spread is not None
    assert (both.mean.shape, both.spread.shape, both.count) == ((2, 2, 3), (2, 2, 3), 5)


def test_frames_of_several_positions_are_averaged_position_by_position():
    frames = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    np.testing.assert_allclose(FrameMean.from_frames(frames).mean, frames[0] + 30)


def test_the_shape_is_read_from_one_header(raw_scan: RawScan, monkeypatch: pytest.MonkeyPatch):
    """The plan of a workflow asks for it again and again, in every job."""
    from speckleflow.io import hdf5

    raw_scan.write()
    opened = []
    real = hdf5.h5py.File
    monkeypatch.setattr(hdf5.h5py, "File", lambda path, *a, **k: opened.append(path) or real(path, *a, **k))
    assert scan_shape(raw_scan.spec()) == (4, 3, 24, 40)
    assert set(opened) == {raw_scan.path("sample_01")}
    assert len(opened) <= 2
