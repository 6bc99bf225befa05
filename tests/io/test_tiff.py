"""TIFF files by the ways that acquisition software writes them: every page a frame, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from speckleflow.errors import InputError
from speckleflow.io.images import Images
from speckleflow.io.open import ReadOptions, open_source

FRAMES = np.random.default_rng(2).integers(0, 60000, (12, 5, 7)).astype(np.uint16)


def appended(path: Path) -> None:
    for number, frame in enumerate(FRAMES):
        tifffile.imwrite(path, frame, append=number > 0)


WRITERS: dict[str, Callable[[Path], None]] = {
    "stack": lambda path: tifffile.imwrite(path, FRAMES, photometric="minisblack"),
    "appended": appended,
    "bigtiff, big-endian": lambda path: tifffile.imwrite(path, FRAMES, bigtiff=True, byteorder=">"),
    "packed": lambda path: tifffile.imwrite(path, FRAMES, compression="zlib", predictor=2),
    "strips": lambda path: tifffile.imwrite(path, FRAMES, rowsperstrip=2),
    "ImageJ": lambda path: tifffile.imwrite(path, FRAMES, imagej=True),
    "ImageJ, one page": lambda path: tifffile.imwrite(path, FRAMES, imagej=True, truncate=True),
    "OME": lambda path: tifffile.imwrite(path, FRAMES, ome=True, metadata={"axes": "TYX"}),
    "OME channels": lambda path: tifffile.imwrite(path, FRAMES, ome=True, metadata={"axes": "CYX"}),
    "least is white": lambda path: tifffile.imwrite(path, 65535 - FRAMES, photometric="miniswhite"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_page_is_a_frame(tmp_path: Path, kind: str):
    path = tmp_path / ("a.ome.tif" if kind.startswith("OME") else "a.tif")
    WRITERS[kind](path)
    source = Images.open(path, path.name)
    assert source.shape == FRAMES.shape
    assert source.dtype == FRAMES.dtype
    np.testing.assert_array_equal(source.read(), FRAMES)
    np.testing.assert_array_equal(source.read(slice(3, 11, 2), slice(1, 4)), FRAMES[3:11:2, 1:4])


@pytest.mark.parametrize("tag", range(1, 9))
def test_orientation_tag(tmp_path: Path, tag: int):
    """Upright frames are those of an image of tag 1; the tag says where its first row and column were stored."""
    stored = FRAMES.swapaxes(1, 2) if tag > 4 else FRAMES
    rows_from_last, columns_from_last = tag in (3, 4, 6, 7), tag in (2, 3, 7, 8)
    if tag > 4:  # rows of the stored image are columns of the upright one
        stored = stored[:, ::-1] if tag in (6, 7) else stored
        stored = stored[..., ::-1] if tag in (7, 8) else stored
    else:
        stored = stored[:, ::-1] if rows_from_last else stored
        stored = stored[..., ::-1] if columns_from_last else stored
    tags = [(274, "H", 1, tag, False)]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", metadata=None, extratags=tags)
    source = open_source(tmp_path / "a.tif", "a")
    assert source.shape == FRAMES.shape
    np.testing.assert_array_equal(source.read(), FRAMES)
    np.testing.assert_array_equal(source.read(slice(2, 5), slice(1, 3)), FRAMES[2:5, 1:3])


def planar(path: Path) -> None:
    tifffile.imwrite(path, FRAMES[:3], photometric="rgb", planarconfig="separate")


def interleaved(path: Path) -> None:
    tifffile.imwrite(path, np.moveaxis(FRAMES[:4], 0, -1), photometric="minisblack", planarconfig="contig")


def preview_first(path: Path) -> None:
    with tifffile.TiffWriter(path) as stream:
        stream.write(FRAMES[0, ::2, ::2], metadata=None)
        for frame in FRAMES:
            stream.write(frame, metadata=None)


def cut(path: Path) -> None:
    tifffile.imwrite(path, FRAMES)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (planar, r"expected grey images, found 3 samples a pixel"),
        (interleaved, r"expected grey images, found 4 samples a pixel"),
        (preview_first, r"found 2 kinds: 1 of 3 x 4 \(uint16\), 12 of 5 x 7 \(uint16\)"),
        (cut, r"cut short|found damage"),
    ],
)
def test_what_is_no_stack_of_frames(tmp_path: Path, write: Callable[[Path], None], said: str):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=said):
        Images.open(tmp_path / "a.tif", "a.tif")


def test_fewer_pages_than_the_metadata_promise(tmp_path: Path):
    """An acquisition that was stopped: the pages that are there are frames once the scan says so."""
    head = tmp_path / "whole.ome.tif"
    tifffile.imwrite(head, FRAMES, ome=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(head) as whole:
        described = whole.pages[0].description.encode()
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=False) as stream:
        for number, frame in enumerate(FRAMES[:8]):
            stream.write(frame, description=described if number == 0 else None, metadata=None)
    with pytest.raises(InputError, match=r"expected 12 images, as its metadata promise, found 8"):
        Images.open(tmp_path / "a.ome.tif", "a")
    options = ReadOptions(axes=("angle", "y", "x"))
    np.testing.assert_array_equal(
        open_source(tmp_path / "a.ome.tif", "a", options=options).read(), FRAMES[:8]
    )


@pytest.mark.parametrize("axes", [("angle", "position", "y", "x"), ("position", "angle", "y", "x")])
@pytest.mark.parametrize("form", ["stack", "four axes", "npy"])
def test_order_of_angles_and_positions(tmp_path: Path, axes: tuple[str, ...], form: str):
    """(angle, position, y, x), whatever the order in which they are stored."""
    scan = FRAMES.reshape(4, 3, 5, 7)
    stored = scan if axes[0] == "angle" else scan.swapaxes(0, 1)
    path = tmp_path / ("a.npy" if form == "npy" else "a.tif")
    if form == "npy":
        np.save(path, stored)
    elif form == "stack":
        tifffile.imwrite(path, stored.reshape(12, 5, 7))
    else:
        tifffile.imwrite(path, stored, photometric="minisblack", metadata={"axes": "TCYX"})
    options = ReadOptions(axes=axes, positions=3)
    source = open_source(path, "a", options=options)
    assert source.shape == (4, 3, 5, 7)
    np.testing.assert_array_equal(source.read(), scan)
    np.testing.assert_array_equal(source.read(slice(1, 3), slice(2, 5)), scan[1:3, :, 2:5])
