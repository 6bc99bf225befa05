"""Every reader gives the same frames of the same measurement, whatever the format."""

from __future__ import annotations

import fcntl
import itertools
from collections.abc import Callable
from pathlib import Path

import fabio.edfimage
import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tests.raw_scan import write_data_exchange

from speckleflow.errors import InputError
from speckleflow.io.base import _UNITS, FrameSource, frame_range, unit_factor
from speckleflow.io.data_exchange import DataExchange
from speckleflow.io.dxchange import dxchange_reader
from speckleflow.io.open import open_source

rng = np.random.default_rng(3)
FRAMES = rng.integers(0, 60000, (7, 6, 9), dtype=np.uint16)
FLATS = rng.integers(0, 60000, (4, 6, 9), dtype=np.uint16)
DARKS = rng.integers(0, 200, (3, 6, 9), dtype=np.uint16)
ANGLES = -90 + 25.0 * np.arange(7)


def data_exchange(folder: Path) -> Path:
    write_data_exchange(
        folder / "a.h5", FRAMES, flats=FLATS, darks=DARKS, angles_deg=ANGLES,
        energy_kev=20.0, pixel_size_um=1.3, distance_m=0.2,
    )  # fmt: skip
    return folder / "a.h5"


def data_exchange_transposed(folder: Path) -> Path:
    """Stored as sinograms (y:theta:x), as the attribute axes says; other units, pixels of the detector."""
    with h5py.File(folder / "a.h5", "w") as file:
        for key, stack, first in (("data", FRAMES, "theta"), ("data_white", FLATS, "theta_white")):
            made = file.create_dataset(f"exchange/{key}", data=stack.transpose(1, 0, 2))
            made.attrs["axes"] = f"y:{first}:x"
        file["exchange/data_dark"] = DARKS
        file["exchange/theta"] = np.radians(ANGLES)
        file["exchange/theta"].attrs["units"] = np.bytes_(b"radians")
        for key, value, unit in (
            ("monochromator/energy", 20000.0, "eV"),
            ("detector/pixel_size_x", 6.5e-3, "mm"),
            ("detector_motor_stack/setup/z", 200.0, "mm"),
        ):
            file[f"measurement/instrument/{key}"] = np.array([value])
            file[f"measurement/instrument/{key}"].attrs["units"] = unit
        file["measurement/instrument/detection_system/objective/magnification"] = 5.0
    return folder / "a.h5"


def data_exchange_compressed(folder: Path) -> Path:
    """Compressed as detectors do, tomoscan's record in place of theta."""
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("exchange/data", data=FRAMES, chunks=(1, 6, 9), **hdf5plugin.Bitshuffle())
        file.create_dataset("exchange/data_white", data=FLATS, **hdf5plugin.Blosc())
        file.create_dataset("exchange/data_dark", data=DARKS, compression="gzip")
        file["process/acquisition/rotation/rotation_start"] = np.array([-90.0])
        file["process/acquisition/rotation/rotation_step"] = np.array([25.0])
    return folder / "a.h5"


def _interleaved(frames: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """All frames as a real scan orders them: flats before and after, an aborted frame, darks in two runs."""
    order = [("dark", DARKS[:1]), ("flat", FLATS[:2]), ("frame", frames[:3]), ("bad", frames[:1] * 0)]
    order += [("frame", frames[3:]), ("flat", FLATS[2:]), ("dark", DARKS[1:])]
    key = {"frame": 0, "flat": 1, "dark": 2, "bad": 3}
    keys = np.concatenate([[key[kind]] * len(stack) for kind, stack in order])
    angles = np.full(len(keys), 999.0)
    angles[keys == 0] = ANGLES
    return np.concatenate([stack for _, stack in order]), keys, angles


def nxtomo(folder: Path) -> Path:
    """A standard NXtomo entry of an unusual name, the frames in a file beside it."""
    stack, keys, angles = _interleaved(FRAMES)
    (folder / "frames").mkdir()
    with h5py.File(folder / "frames/a.h5", "w") as file:
        file["entry/data/data"] = stack
    with h5py.File(folder / "a.nxs", "w") as file:
        file["other/definition"] = "NXarpes"
        entry = file.create_group("scan_0000/tomo_entry")
        entry["definition"] = "NXtomo"
        entry["instrument/detector/data"] = h5py.ExternalLink("frames/a.h5", "/entry/data/data")
        entry["instrument/detector/image_key"] = keys
        entry["sample/rotation_angle"] = angles
        entry["sample/rotation_angle"].attrs["units"] = "degree"
        for key, value, unit in (
            ("instrument/detector/x_pixel_size", 1.3e-6, "m"),
            ("instrument/detector/distance", 200.0, "mm"),
            ("instrument/beam/incident_energy", 20.0, "keV"),
        ):
            entry[key] = value
            entry[key].attrs["units"] = unit
        entry["alias"] = h5py.SoftLink("/scan_0000/tomo_entry/instrument/detector")
    return folder / "a.nxs"


def tiff_stack(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", FRAMES)
    return folder / "a.tif"


def tiff_stack_imagej(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", FRAMES, imagej=True)
    return folder / "a.tif"


def tiff_stack_compressed(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", FRAMES, compression="zlib", metadata=None)
    return folder / "a.tif"


def _edf(path: Path, frames: NDArray) -> Path:
    """Images one after the other in one file."""
    image = fabio.edfimage.EdfImage(data=frames[0], header={"title": "ESRF = data"})
    for frame in frames[1:]:
        image.append_frame(data=frame)
    image.write(str(path))
    return path


def edf_stack(folder: Path) -> Path:
    return _edf(folder / "a.edf", FRAMES)


def edf_folder(folder: Path) -> Path:
    for i, frame in enumerate(FRAMES):
        _edf(folder / f"a_{i + 8}.edf", frame[None])
    return folder


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", FRAMES)
    return folder / "a.npy"


def image_folder(folder: Path) -> Path:
    for i, frame in enumerate(FRAMES):  # image_8 ... image_14: natural order is not that of the letters
        tifffile.imwrite(folder / f"image_{i + 8}.tif", frame)
    (folder / "notes.txt").write_text("not an image")
    return folder


def image_glob(folder: Path) -> Path:
    return image_folder(folder) / "image_*.tif"


def dxchange(folder: Path) -> Path:
    if dxchange_reader() is None:
        pytest.skip("the package dxchange is not installed (conda-forge only)")
    return data_exchange(folder)


HDF5 = [data_exchange, data_exchange_transposed, data_exchange_compressed, nxtomo, dxchange]
IMAGES = [
    tiff_stack,
    tiff_stack_imagej,
    tiff_stack_compressed,
    edf_stack,
    edf_folder,
    npy,
    image_folder,
    image_glob,
]


@pytest.fixture(params=[*HDF5, *IMAGES], ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> FrameSource:
    make: Callable[[Path], Path] = request.param
    return open_source(make(tmp_path), "a", "dxchange" if make is dxchange else "auto")


def test_frames(source: FrameSource):
    assert (source.shape, source.dtype) == (FRAMES.shape, FRAMES.dtype)
    for frames, rows in ((slice(None), slice(None)), (slice(2, 5), slice(1, 4)), (slice(6, 7), slice(5, 6))):
        np.testing.assert_array_equal(source.read(frames, rows), FRAMES[frames, rows])
    assert source.read(slice(3, 3)).shape == (0, 6, 9)


def test_flats_darks_angles(source: FrameSource):
    if not source.n_flats:  # images have none
        assert (source.flats(), source.darks(), source.angles(), source.n_darks) == (None, None, None, 0)
        return
    assert (source.n_flats, source.n_darks) == (4, 3)
    flats, darks, angles = source.flats(), source.darks(), source.angles()
    np.testing.assert_array_equal(flats, FLATS)
    np.testing.assert_array_equal(darks, DARKS)
    assert angles is not None
    factor = unit_factor(angles.unit or "deg", "deg")
    assert factor is not None
    np.testing.assert_allclose(factor * angles.values, ANGLES, atol=1e-9)


def test_no_handle_is_left_open(source: FrameSource):
    """A handle that stays open holds a file on a share, and is copied into every worker process."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        source.read()
        source.flats()
        source.angles()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("make", [data_exchange, data_exchange_transposed, nxtomo])
def test_geometry_in_the_configurations_units(make: Callable[[Path], Path], tmp_path: Path):
    metadata = open_source(make(tmp_path), "a").metadata
    values = (metadata.energy_kev, metadata.pixel_size_um, metadata.distance_m)
    assert values == pytest.approx((20.0, 1.3, 0.2))


def test_a_number_without_a_unit_is_no_geometry(tmp_path: Path):
    """308 of what? Such a file has been read as cm: the scan table has to say it."""
    path = data_exchange(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["measurement/instrument/detector/distance"].attrs["units"]
    assert open_source(path, "a").metadata.distance_m is None


def test_raw_files_are_not_written_to(tmp_path: Path):
    path = data_exchange(tmp_path)
    path.chmod(0o444)
    before = (path.stat().st_mtime_ns, path.read_bytes())
    source = open_source(path, "a")
    source.read()
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_a_file_that_another_process_has_locked_can_be_read(tmp_path: Path):
    """Locks fail or hang on many network shares; a reader changes nothing and needs none."""
    path = data_exchange(tmp_path)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        np.testing.assert_array_equal(open_source(path, "a").read(), FRAMES)


def test_all_positions_in_one_dataset(tmp_path: Path):
    frames = FRAMES[:6].reshape(3, 2, 6, 9)
    write_data_exchange(tmp_path / "a.h5", frames, flats=FLATS, darks=DARKS)
    source = open_source(tmp_path / "a.h5", "a")
    assert source.shape == (3, 2, 6, 9)
    np.testing.assert_array_equal(source.read(slice(1, 3), slice(2, 4)), frames[1:3, :, 2:4])


def test_dxchange_is_refused_what_it_would_turn_around(tmp_path: Path):
    if dxchange_reader() is None:
        pytest.skip("the package dxchange is not installed (conda-forge only)")
    with pytest.raises(InputError, match="an order of axes that dxchange does not follow"):
        open_source(data_exchange_transposed(tmp_path), "a", "dxchange")


def test_dxchange_that_is_absent_is_named(tmp_path: Path):
    if dxchange_reader() is not None:
        pytest.skip("the package dxchange is installed")
    with pytest.raises(InputError, match=r"conda-forge dxchange.*found none installed"):
        open_source(data_exchange(tmp_path), "a", "dxchange")


def test_frames_at_a_path_of_the_users_own(tmp_path: Path):
    from speckleflow.io.data_exchange import Datasets

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mine/images"], file["mine/white"] = FRAMES, FLATS
    source = open_source(tmp_path / "a.h5", "a", keys=Datasets("/mine/images", "/mine/white"))
    np.testing.assert_array_equal(source.read(), FRAMES)
    np.testing.assert_array_equal(source.flats(), FLATS)
    assert source.darks() is None


def _nxtomo_with(folder: Path, change: Callable[[h5py.File], None]) -> Path:
    path = nxtomo(folder)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _phase_only(file: h5py.File) -> None:
    del file["scan_0000/tomo_entry/definition"]
    file["scan_0000/tomo_entry/definition"] = "NXtomophase"


def _short_key(file: h5py.File) -> None:
    detector = file["scan_0000/tomo_entry/instrument/detector"]
    keys = detector["image_key"][:-1]
    del detector["image_key"]
    detector["image_key"] = keys


def _second_detector(file: h5py.File) -> None:
    file["scan_0000/tomo_entry/instrument/second/data"] = FRAMES
    file["scan_0000/tomo_entry/instrument/second/image_key"] = np.zeros(7, int)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_phase_only, "expected an entry whose definition is 'NXtomo', found .*'NXtomophase'"),
        (_short_key, "expected 15 values, one for each frame, found 14"),
        (_second_detector, "expected one detector .*found .*/detector and .*/second; name the frames in"),
    ],
)
def test_nxtomo_that_is_not(tmp_path: Path, change: Callable[[h5py.File], None], said: str):
    with pytest.raises(InputError, match=said):
        open_source(_nxtomo_with(tmp_path, change), "a")


def test_nxtomo_frames_that_the_sheet_names(tmp_path: Path):
    """With two detectors the scan table decides, and image_key is the one beside the frames."""
    from speckleflow.io.data_exchange import Datasets

    path = _nxtomo_with(tmp_path, _second_detector)
    named = "/scan_0000/tomo_entry/instrument/detector/data"
    np.testing.assert_array_equal(open_source(path, "a", keys=Datasets(named)).read(), FRAMES)


def test_a_link_to_a_file_that_is_gone(tmp_path: Path):
    path = nxtomo(tmp_path)
    source = open_source(path, "a.nxs")
    (tmp_path / "frames/a.h5").unlink()
    with pytest.raises(InputError, match=r"a.nxs: expected a dataset .*found a link to frames/a.h5"):
        source.read()


def test_damage_inside_the_data(tmp_path: Path):
    """The header is whole; a chunk is not: found where it is read, and told with the file's name."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("exchange/data", data=FRAMES, chunks=(1, 6, 9), compression="gzip")
        where = made.id.get_chunk_info(3).byte_offset
    with (tmp_path / "a.h5").open("r+b") as stream:
        stream.seek(where)
        stream.write(b"\0" * 20)
    source = open_source(tmp_path / "a.h5", "a.h5")
    np.testing.assert_array_equal(source.read(slice(0, 3)), FRAMES[:3])
    with pytest.raises(InputError, match=r"a.h5: expected a complete, readable HDF5 file, found"):
        source.read(slice(2, 5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-10], r"a.edf: expected all pixels of image 6, found a file cut short"),
        (lambda data: b"II" + data[2:], "expected a complete image file, found damage"),
        (lambda data: data.replace(b"UnsignedShort", b"Complex64    "), "found damage .*Complex64"),
        (lambda data: data.replace(b"Dim_2 = 6", b"Dim_9 = 6"), "a.edf: expected .*images"),
        (lambda data: data.replace(b"Dim_1 = 9", b"Dim_1 = -9"), "a.edf: expected positive image sizes"),
        (lambda data: data.replace(b"Dim_1 = 9 ;\nDim_2 = 6", b"Dim_1 = 6 ;\nDim_2 = 9", 1), "found 2 kinds"),
    ],
)
def test_edf_that_is_not(tmp_path: Path, change: Callable[[bytes], bytes], said: str):
    path = edf_stack(tmp_path)
    changed = change(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(InputError, match=said):
        open_source(path, "a.edf")


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_edf_types(tmp_path: Path, kind: str):
    dtype = np.dtype(kind)
    whole = np.iinfo(dtype) if dtype.kind in "iu" else None
    least, most = (whole.min, whole.max) if whole else (-1.5e30, 2.5e-30)
    frames = np.array([[[least, 1, 2], [3, 4, most]], [[5, 6, 7], [8, 9, 10]]], dtype)
    source = open_source(_edf(tmp_path / "a.edf", frames), "a")
    assert (source.shape, source.dtype) == ((2, 2, 3), dtype)
    np.testing.assert_array_equal(source.read(slice(1, 2), slice(0, 2)), frames[1:])
    np.testing.assert_array_equal(source.read(), frames)


#: words of files -> (unit asked for, what one of it is)
UNIT_WORDS = {
    "eV": ("keV", 1e-3), "keV": ("keV", 1.0), "MeV": ("keV", 1e3), "GeV": ("keV", 1e6),
    "J": ("keV", 6.241509074e15), "joule": ("keV", 6.241509074e15),
    "m": ("m", 1.0), "meter": ("m", 1.0), "metre": ("m", 1.0), "cm": ("m", 0.01),
    "mm": ("m", 0.001), "millimeter": ("m", 0.001), "um": ("m", 1e-6), "micron": ("m", 1e-6),
    "micrometer": ("m", 1e-6), "micrometre": ("m", 1e-6), "nm": ("m", 1e-9), "nanometer": ("m", 1e-9),
    "deg": ("deg", 1.0), "degree": ("deg", 1.0), "°": ("deg", 1.0),
    "centimeter": ("m", 0.01), "centimetre": ("m", 0.01), "millimetre": ("m", 0.001), "nanometre": ("m", 1e-9),
    "arcmin": ("deg", 0.016666666666666666), "arcminute": ("deg", 0.016666666666666666),
    "arcsec": ("deg", 2.777777777777778e-4), "arcsecond": ("deg", 2.777777777777778e-4),
    "mrad": ("deg", 0.05729577951308232), "milliradian": ("deg", 0.05729577951308232),
    "mdeg": ("deg", 0.001), "millidegree": ("deg", 0.001),
    "rad": ("deg", 57.29577951308232), "radian": ("deg", 57.29577951308232),
}  # fmt: skip


@pytest.mark.parametrize("word", UNIT_WORDS)
def test_units(word: str):
    unit, factor = UNIT_WORDS[word]
    for written in (word, word.upper(), f" {word.lower()} ", f"{word}s"):
        assert unit_factor(written, unit) == pytest.approx(factor, rel=1e-9), written
        for other in {"keV", "m", "deg"} - {unit}:
            assert unit_factor(written, other) is None
    assert unit_factor(f"{word}x", unit) is None


def test_units_are_all_tried():
    """Each word that is known stands in the table above, and both Greek and Latin micro signs are."""
    known = {w for target, words in _UNITS.items() if target != "s" for w in words}
    assert {w.lower() for w in UNIT_WORDS} == known
    assert unit_factor("µm", "m") == unit_factor("μm", "m") == pytest.approx(1e-6)
    assert unit_factor("counts", "m") is unit_factor("", "keV") is None


#: words of times -> seconds
TIME_WORDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "us": 1e-6, "microsecond": 1e-6, "microseconds": 1e-6,
}  # fmt: skip


def test_times():
    for word, seconds in TIME_WORDS.items():
        assert unit_factor(word, "s") == pytest.approx(seconds, rel=1e-12), word
        assert unit_factor(f"{word}x", "s") is None
        assert unit_factor(word, "keV") is unit_factor(word, "deg") is None
    assert set(TIME_WORDS) >= set(_UNITS["s"])


INSTRUMENT = "measurement/instrument"
ENERGY = [f"{INSTRUMENT}/monochromator/energy", f"{INSTRUMENT}/source/energy"]
DISTANCE = [
    f"{INSTRUMENT}/detector/distance",
    f"{INSTRUMENT}/detector_motor_stack/setup/z",
    f"{INSTRUMENT}/camera_motor_stack/setup/camera_distance",
]
RESOLUTION = [f"{INSTRUMENT}/detection_system/objective/resolution"]
PIXEL = [
    f"{INSTRUMENT}/detector/{key}"
    for key in ("actual_pixel_size_x", "pixel_size_x", "x_pixel_size", "pixel_size")
]
LENS = f"{INSTRUMENT}/detection_system/objective/magnification"


def _with_numbers(folder: Path, numbers: dict[str, tuple[float, str]]) -> FrameSource:
    with h5py.File(folder / "a.h5", "w") as file:
        file["exchange/data"] = FRAMES
        for key, (value, unit) in numbers.items():
            file[key] = np.array([value])
            if unit:
                file[key].attrs["units"] = unit
    return open_source(folder / "a.h5", "a")


@pytest.mark.parametrize(
    ("keys", "unit", "attribute", "scale"),
    [
        (ENERGY, "keV", "energy_kev", 1.0),
        (DISTANCE, "m", "distance_m", 1.0),
        ([*RESOLUTION, *PIXEL], "um", "pixel_size_um", 1.0),
    ],
)
def test_data_exchange_geometry_has_an_order(
    tmp_path: Path, keys: list[str], unit: str, attribute: str, scale: float
):
    """Each dataset alone is read; of several the first in the order of the list counts."""
    for first in range(len(keys)):
        numbers = {key: (10.0 + n, unit) for n, key in enumerate(keys) if n >= first}
        assert getattr(_with_numbers(tmp_path, numbers).metadata, attribute) == pytest.approx(10.0 + first)
    for unusable in ((0.0, unit), (-3.0, unit), (np.nan, unit), (np.inf, unit), (5.0, "s"), (5.0, "")):
        source = _with_numbers(tmp_path, {keys[0]: unusable, keys[-1]: (7.0, unit)})
        assert getattr(source.metadata, attribute) == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("lens", "pixel_um"), [(5.0, 1.3), (0.5, 13.0), (0.0, 6.5), (-2.0, 6.5), (np.nan, 6.5), (np.inf, 6.5)]
)
def test_a_lens_divides_the_detectors_pixel_and_no_effective_one(
    tmp_path: Path, lens: float, pixel_um: float
):
    numbers = {PIXEL[1]: (6.5, "um"), LENS: (lens, "")}
    assert _with_numbers(tmp_path, numbers).metadata.pixel_size_um == pytest.approx(pixel_um)
    effective = _with_numbers(tmp_path, {**numbers, RESOLUTION[0]: (1.1, "um")})
    assert effective.metadata.pixel_size_um == pytest.approx(1.1)


def test_one_averaged_flat_is_a_stack_of_one(tmp_path: Path):
    write_data_exchange(tmp_path / "a.h5", FRAMES)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["exchange/data_white"] = FLATS[2]
        file["exchange/data_dark"] = DARKS[:0]
    source = open_source(tmp_path / "a.h5", "a")
    assert (source.n_flats, source.n_darks) == (1, 0)
    np.testing.assert_array_equal(source.flats(), FLATS[2:3])
    assert source.darks() is None


@pytest.mark.parametrize("order", list(itertools.permutations(["theta", "position", "y", "x"])))
def test_every_order_of_four_axes(tmp_path: Path, order: tuple[str, ...]):
    frames = rng.integers(0, 99, (2, 3, 4, 5))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = frames.transpose([("theta", "position", "y", "x").index(axis) for axis in order])
        file.create_dataset("exchange/data", data=stored).attrs["axes"] = ":".join(order)
    source = open_source(tmp_path / "a.h5", "a")
    assert source.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(source.read(slice(1, 2), slice(1, 3)), frames[1:2, :, 1:3])


@pytest.mark.parametrize("chosen", [slice(-2, 3), slice(2, 8), slice(4, 3), slice(5, 1, -1), slice(0, 8)])
def test_ranges_beyond_the_frames_are_refused(chosen: slice):
    with pytest.raises(InputError, match="expected a range within 0:7"):
        frame_range(chosen, 7)


def test_ranges():
    for chosen in (slice(None), slice(2, 5), slice(1, None), slice(None, 3), slice(1, 7, 2), slice(7, 7)):
        assert list(frame_range(chosen, 7)) == list(range(7))[chosen]


@pytest.mark.parametrize("make", [nxtomo, edf_stack, npy, tiff_stack, image_folder])
def test_every_second_frame(tmp_path: Path, make: Callable[[Path], Path]):
    read = open_source(make(tmp_path), "a").read(slice(1, 7, 2), slice(2, 5))
    np.testing.assert_array_equal(read, FRAMES[1:7:2, 2:5])


def test_nxtomo_angles_of_the_projections_alone(tmp_path: Path):
    """Some writers store an angle for each projection, not for each frame."""
    path = nxtomo(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["scan_0000/tomo_entry/sample/rotation_angle"]
        file["scan_0000/tomo_entry/sample/rotation_angle"] = ANGLES
    angles = open_source(path, "a").angles()
    assert angles is not None
    np.testing.assert_array_equal(angles.values, ANGLES)
    assert angles.unit is None


def test_nxtomo_angles_as_the_axis_of_a_plot(tmp_path: Path):
    """The measured NAME beside the demanded NAME_set is the truth; without it the demand."""
    path = nxtomo(tmp_path)
    with h5py.File(path, "r+") as file:
        entry = file["scan_0000/tomo_entry"]
        measured = entry["sample/rotation_angle"][()]
        del entry["sample/rotation_angle"]
        entry["detector/tomo_set"], entry["detector/tomo"] = measured + 0.5, measured
        entry["detector"].attrs["axes"] = ["tomo_set", ".", "."]
    angles = open_source(path, "a").angles()
    assert angles is not None
    np.testing.assert_array_equal(angles.values, ANGLES)
    with h5py.File(path, "r+") as file:
        del file["scan_0000/tomo_entry/detector/tomo"]
    angles = open_source(path, "a").angles()
    assert angles is not None
    np.testing.assert_array_equal(angles.values, ANGLES + 0.5)


def test_nxtomo_geometry_elsewhere(tmp_path: Path):
    """Energy of the monochromator where the beam states none; a source's after that."""
    path = nxtomo(tmp_path)
    with h5py.File(path, "r+") as file:
        entry = file["scan_0000/tomo_entry"]
        del entry["instrument/beam"]
        for key, value in (("source", 31e3), ("monochromator", 18e3)):
            entry[f"instrument/{key}/energy"] = value
            entry[f"instrument/{key}/energy"].attrs["units"] = "eV"
    assert open_source(path, "a").metadata.energy_kev == pytest.approx(18.0)
    with h5py.File(path, "r+") as file:
        entry = file["scan_0000/tomo_entry"]
        del entry["instrument/monochromator"]
    assert open_source(path, "a").metadata.energy_kev == pytest.approx(31.0)
    with h5py.File(path, "r+") as file:
        entry = file["scan_0000/tomo_entry"]
        entry["beam/incident_energy"] = 12.0
        entry["beam/incident_energy"].attrs["units"] = "keV"
    assert open_source(path, "a").metadata.energy_kev == pytest.approx(12.0)


def test_real_nxtomo(shared_data):
    """Diamond K11: no definition, several detectors with broken links, flats and darks on both sides."""
    source = open_source(shared_data("k11-nxtomo") / "k11-18014.nxs", "k11")
    assert (source.shape, source.dtype) == ((3001, 22, 26), np.uint16)
    assert (source.n_flats, source.n_darks) == (100, 100)
    flats, darks, angles = source.flats(), source.darks(), source.angles()
    assert flats is not None
    assert darks is not None
    assert angles is not None
    assert darks.mean() < 150 < source.read(slice(0, 20)).mean() < flats.mean()
    # flats of before and of after: their means differ from the projections' by far more than from each other
    assert abs(flats[:50].mean() / flats[50:].mean() - 1) < 0.05
    assert angles.values[[0, -1]] == pytest.approx([90, 270], abs=0.01)
    assert (np.diff(angles.values) > 0).all()
    with h5py.File(shared_data("k11-nxtomo") / "k11-18014/k11-18014-imaging.h5", locking=False) as raw:
        np.testing.assert_array_equal(
            source.read(slice(2990, 3001)), raw["entry/detector/detector"][3090:3101]
        )


def test_real_tooth(shared_data):
    source = open_source(shared_data("tooth.h5"), "tooth")
    assert (source.shape, source.n_flats, source.n_darks) == ((181, 2, 640), 10, 10)
    angles = source.angles()
    assert angles is not None
    assert angles.unit == "degrees"
    assert angles.values[-1] == pytest.approx(179.0, abs=0.01)


def test_the_real_als_file(shared_data):
    """One dataset a frame; flats and darks in the same group; numbers as text without units."""
    path = shared_data("als-h5/20200521_160002_heartbeat_test.h5")
    source = open_source(path, path.name)
    assert (source.shape, source.n_flats, source.n_darks) == ((64, 59, 50), 12, 4)
    assert source.metadata.energy_kev == pytest.approx(19.999630063)
    assert source.metadata.pixel_size_um == pytest.approx(0.645)
    with h5py.File(path) as file:
        group = file["20200521_160002_heartbeat_test"]
        frame = group["20200521_160002_heartbeat_test_0000_0017.tif"][0]
    np.testing.assert_array_equal(source.read(slice(17, 18), slice(3, 9))[0], frame[3:9])
    angles = source.angles()
    assert angles is not None
    np.testing.assert_allclose(angles.values[[0, 17, 63]], [0, 17 * 180 / 63, 180])


@pytest.mark.parametrize("order", ["theta:y:x:position", "y:theta:position:x"])
def test_axes_that_the_file_names(tmp_path: Path, order: str):
    """Stored in any order, (theta, position, y, x) as read; an axis of another name is no diffuser position."""
    scan = np.arange(3 * 2 * 4 * 5, dtype=np.uint16).reshape(3, 2, 4, 5)
    usual = ["theta", "position", "y", "x"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = np.transpose(scan, [usual.index(axis) for axis in order.split(":")])
        file["exchange/data"].attrs["axes"] = order
    np.testing.assert_array_equal(open_source(tmp_path / "a.h5", "a").read(slice(1, 3)), scan[1:])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["exchange/data"].attrs["axes"] = order.replace("position", "time")
    with pytest.raises(
        InputError, match=r"an axis time is no diffuser position; set files.axes if it is one"
    ):
        open_source(tmp_path / "a.h5", "a")


@pytest.mark.parametrize(
    "frames", [np.ones((24, 40), np.uint16), np.ones((2, 24, 40), bool), np.ones((0, 24, 40), np.uint16)]
)
def test_data_exchange_frames_that_are_none(tmp_path: Path, frames: np.ndarray):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = frames
    with pytest.raises(InputError, match="expected numbers of shape"):
        DataExchange.open(tmp_path / "a.h5", "a.h5")


def test_an_edf_without_byte_order_is_refused_with_a_way_out(tmp_path):
    path = edf_stack(tmp_path)
    data = path.read_bytes()
    assert data.count(b"ByteOrder = LowByteFirst ;") == len(FRAMES)
    path.write_bytes(data.replace(b"ByteOrder = LowByteFirst ;", b" " * 26))
    with pytest.raises(
        InputError, match=r"a.edf: expected the byte order in the header .*'ByteOrder = LowByteFirst ;'"
    ):
        open_source(path, "a.edf")
    # the way out
    path.write_bytes(path.read_bytes().replace(b" " * 26, b"ByteOrder = LowByteFirst ;"))
    np.testing.assert_array_equal(open_source(path, "a.edf").read(), FRAMES)
