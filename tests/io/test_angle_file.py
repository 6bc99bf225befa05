"""Angles in a file of their own, as laboratories write them: the same numbers out of every form, or a sentence."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.raw_scan import RawScan

from speckleflow.errors import InputError
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.angle_file import angle_file, read_angle_file
from speckleflow.io.open import open_source
from speckleflow.io.scan import open_scan

ANGLES = np.array([0.0, 137.508, 275.016, 52.524])


def lines(*head: str, form: str = "{a:.3f}", end: str = "\n") -> bytes:
    return end.join([*head, *(form.format(n=n, a=a) for n, a in enumerate(ANGLES)), ""]).encode()


@pytest.mark.parametrize(
    ("content", "unit"),
    [
        (lines(), None),
        (lines(end="\r\n"), None),
        (b"\xef\xbb\xbf" + lines("# golden ratio", "", "; second scan"), None),
        (lines("angle [deg]"), "deg"),
        (lines("# angle (rad)"), "rad"),
        (lines("frame\tangle [deg]\ttime", form="{n}\t{a}\t17.5"), "deg"),
        (lines("# n, theta (deg), I0", form="{n}, {a:.3f}, 1e4"), "deg"),
        (lines("file theta", form="proj_{n:04d}.tif {a}"), None),
    ],
)
def test_every_form_gives_the_angles(tmp_path: Path, content: bytes, unit: str | None):
    (tmp_path / "a.txt").write_bytes(content)
    found = read_angle_file(tmp_path / "a.txt", "a.txt")
    np.testing.assert_array_equal(found.values, ANGLES)
    assert found.unit == unit


def test_arrays_and_datasets_of_other_files(tmp_path: Path):
    np.save(tmp_path / "a.npy", ANGLES[:, None])
    np.testing.assert_array_equal(read_angle_file(tmp_path / "a.npy", "a.npy").values, ANGLES)
    with h5py.File(tmp_path / "log.h5", "w") as file:
        file["scan/rot"] = ANGLES
        file["scan/rot"].attrs["units"] = "mrad"
    assert angle_file("{scan}.h5:/scan/rot", "log") == ("log.h5", "/scan/rot")
    found = read_angle_file(tmp_path / "log.h5", "log.h5", "/scan/rot")
    np.testing.assert_array_equal(found.values, ANGLES)
    assert found.unit == "mrad"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a.txt: expected a text file of angles, found an empty file"),
        (b"# nothing\n", "a.txt: expected a number a line, found none"),
        (lines(form="{n} {a}"), "a.txt: expected one column of angles, .* found 2 columns, without a header"),
        (lines("theta rot x", form="{n} {a} 1"), "found 3 columns, theta, rot, x"),
        (b"1\n2\nthree\n", "a.txt, line 3: expected 1 number as in the lines before, found 'three'"),
        (b"\xff\xfe1\x00\n\x00", "a.txt: .* found another encoding"),
    ],
)
def test_what_is_no_list_of_angles_is_said(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_angle_file(tmp_path / "a.txt", "a.txt")


def test_a_scan_takes_its_angles_from_the_file_and_the_manifest_holds_it(tmp_path: Path):
    """In place of those in its own files; as many as projections, and in the unit that is stated."""
    scan = RawScan(tmp_path).write()
    (tmp_path / "a_angles.txt").write_bytes(lines("angle [mrad]"))
    spec = scan.spec(files={"angles": "{scan}_angles.txt"}, tomography={"enabled": "no"})
    np.testing.assert_allclose(open_scan(spec).angles_deg, ANGLES * 0.18 / np.pi)
    (entry,) = [entry for entry in inspect_scan(spec).files if entry.role == "angles"]
    assert (entry.path, entry.frames) == ("a_angles.txt", 0)
    (tmp_path / "a_angles.txt").write_text("0\n1\n")
    with pytest.raises(
        InputError, match=r"a_angles.txt: expected 4 angles, one for each projection, found 2"
    ):
        open_scan(spec)
    (tmp_path / "a_angles.txt").unlink()
    with pytest.raises(InputError, match=r"a_angles.txt: expected a text file of angles, found no such file"):
        open_scan(spec)


@pytest.mark.parametrize("kind", ["data_exchange", "nxtomo", "angle_file"])
def test_angles_stored_as_text_are_numbers_or_named(tmp_path: Path, kind: str):
    """As LabVIEW writes them; what is no number is told, whichever reader meets it."""
    path, angles = tmp_path / "s.h5", [0.0, 45.5, 90.0]

    def read(values: list[str]) -> np.ndarray:
        with h5py.File(path, "w") as file:
            if kind == "nxtomo":
                file["entry/definition"] = "NXtomo"
                file["entry/instrument/detector/data"] = np.ones((3, 4, 5), np.uint16)
                file["entry/instrument/detector/image_key"] = [0, 0, 0]
                file["entry/sample/rotation_angle"] = values
            else:
                file["exchange/data"] = np.ones((3, 4, 5), np.uint16)
                file["exchange/theta"] = values
        if kind == "angle_file":
            return read_angle_file(path, "s.h5", "/exchange/theta").values
        return open_source(path, "s.h5").angles().values

    np.testing.assert_array_equal(read([str(angle) for angle in angles]), angles)
    with pytest.raises(InputError, match=r"s\.h5:/.*: expected angles, as numbers, found '45,5'"):
        read(["0", "45,5", "90"])
