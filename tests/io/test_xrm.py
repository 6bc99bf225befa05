"""Zeiss .txrm files: frames, angles, reference and geometry as written; what is damaged is named.

No program but the maker's writes such files; the streams and their names are those of real ones.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tests.io.ole_file import write_ole

from speckleflow.config import ScanConfig
from speckleflow.correction import prepare_correction
from speckleflow.errors import InputError
from speckleflow.io.open import open_source
from speckleflow.io.scan import open_scan
from speckleflow.scan.spec import ScanSpec

#: more than one storage of a hundred images; images above and below the size that is stored in small blocks
COUNT = 103
ANGLES = np.linspace(-92.0, 91.0, COUNT, dtype=np.float32)


def streams(frames: np.ndarray, flat: np.ndarray, **header: float) -> dict[str, bytes]:
    count, rows, columns = frames.shape
    whole = {"ImageWidth": columns, "ImageHeight": rows, "NoOfImages": count}
    whole["DataType"] = {"u": 5, "f": 10}[frames.dtype.kind]
    whole |= {key: int(value) for key, value in header.items() if key in whole}
    made = {f"ImageInfo/{key}": struct.pack("<I", value) for key, value in whole.items()}
    made["ImageInfo/Angles"] = ANGLES.astype("<f4").tobytes()
    made["ImageInfo/PixelSize"] = struct.pack("<f", 1.25)
    made["ImageInfo/DtoRADistance"] = np.full(count, 30.0, "<f4").tobytes()
    made["ImageInfo/StoRADistance"] = np.full(count, -header.get("source_mm", 60.0), "<f4").tobytes()
    for n, frame in enumerate(frames):
        made[f"ImageData{n // 100 + 1}/Image{n + 1}"] = frame.astype(frame.dtype.newbyteorder("<")).tobytes()
    made["ReferenceData/Image"] = flat.astype("<f4").tobytes()
    made["ReferenceData/DataType"] = struct.pack("<I", 10)
    return made


def measured(dtype: str = "u2", size: tuple[int, int] = (40, 60)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    frames = rng.integers(0, 60000, (COUNT, *size)).astype(dtype)
    return frames, rng.uniform(50000, 60000, size).astype(np.float32)


@pytest.mark.parametrize(("dtype", "size"), [("u2", (40, 60)), ("u2", (9, 14)), ("f4", (40, 60))])
def test_frames_angles_reference_and_geometry(tmp_path: Path, dtype: str, size: tuple[int, int]):
    frames, flat = measured(dtype, size)
    write_ole(tmp_path / "a.txrm", streams(frames, flat))
    source = open_source(tmp_path / "a.txrm", "a.txrm")
    assert (source.shape, source.dtype, source.n_flats, source.n_darks) == (frames.shape, frames.dtype, 1, 0)
    np.testing.assert_array_equal(source.read(), frames)
    np.testing.assert_array_equal(source.read(slice(98, 102), slice(2, 7)), frames[98:102, 2:7])
    np.testing.assert_array_equal(source.flats(), flat[None])
    angles = source.angles()
    np.testing.assert_array_equal(angles.values, ANGLES)
    assert angles.unit == "deg"
    assert source.metadata.pixel_size_um == 1.25
    assert source.metadata.distance_m == pytest.approx(0.03)
    assert "magnified 1.5 times" in source.metadata.notes[0]
    assert source.lost() == (pytest.approx([]), "")


def test_a_beam_that_is_as_good_as_parallel_needs_no_word(tmp_path: Path):
    write_ole(tmp_path / "a.txrm", streams(*measured(), source_mm=1e5))
    assert open_source(tmp_path / "a.txrm", "a").metadata.notes == ()


def test_one_image(tmp_path: Path):
    frames, flat = measured()
    write_ole(tmp_path / "a.xrm", streams(frames[:1], flat))
    np.testing.assert_array_equal(open_source(tmp_path / "a.xrm", "a").read(), frames[:1])


def test_its_transmission(tmp_path: Path):
    """The reference in the file is the flat; the dark is off already."""
    frames, flat = measured()
    write_ole(tmp_path / "a.txrm", streams(frames, flat))
    config = ScanConfig.model_validate(
        {
            "files": {"sample": "a.txrm", "reference": None, "dark": "subtracted"},
            "retrieval": {"method": "absorption"},
            "correct": {"flux": "none", "bad_pixel_sigma": 1e9, "air_px": [0, 0, 0, 0]},
        }
    )
    scan = open_scan(ScanSpec("a", config, tmp_path))
    corrected = prepare_correction(scan).correct_frames(scan.read_sample())
    np.testing.assert_allclose(corrected[:, 0], frames / flat, rtol=1e-5)


def test_an_aborted_scan_keeps_the_images_that_are_there(tmp_path: Path):
    frames, flat = measured()
    made = streams(frames, flat)
    for n in (3, 101, 102):
        del made[f"ImageData{n // 100 + 1}/Image{n + 1}"]
    write_ole(tmp_path / "a.txrm", made)
    source = open_source(tmp_path / "a.txrm", "a.txrm")
    assert source.lost()[0].tolist() == [3, 101, 102]
    np.testing.assert_array_equal(source.read(slice(4, 9)), frames[4:9])


@pytest.mark.parametrize(
    ("key", "content", "expected"),
    [
        ("ImageInfo/DataType", struct.pack("<I", 3), "type 3"),
        ("ImageInfo/NoOfImages", struct.pack("<I", 4_000_000_000), "4000000000 of 40 x 60"),
        ("ImageInfo/ImageWidth", struct.pack("<I", 61), "found 4800"),
        ("ImageInfo/ImageHeight", b"", "a stream ImageInfo/ImageHeight, found none"),
        ("ImageData1/Image1", bytes(4798), "expected 4800 bytes, found 4798"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, key: str, content: bytes, expected: str):
    write_ole(tmp_path / "a.txrm", {**streams(*measured()), key: content})
    with pytest.raises(InputError, match=rf"^a\.txrm.*{expected}"):
        open_source(tmp_path / "a.txrm", "a.txrm").read(slice(0, 1))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_file_cut_short(tmp_path: Path, share: float):
    write_ole(tmp_path / "a.txrm", streams(*measured()))
    held = (tmp_path / "a.txrm").read_bytes()
    (tmp_path / "a.txrm").write_bytes(held[: int(share * len(held))])
    with pytest.raises(InputError, match=r"^a\.txrm"):
        open_source(tmp_path / "a.txrm", "a.txrm").read()
