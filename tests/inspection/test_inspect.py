"""Spoiled data are found before any work, in one sentence with file, expected and found; nothing is left."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console

from speckleflow.config import load_config, load_scans
from speckleflow.errors import ConfigError, InputError
from speckleflow.inspection.scan import backend_warning, inspect_scan
from speckleflow.io.base import InputProblems
from speckleflow.io.scan import open_scan, scan_shape
from speckleflow.scan.spec import ScanSpec
from speckleflow.tomo.backends.registry import BACKENDS, backend_class
from tests.raw_scan import RawScan, write_data_exchange

SIZE = "24 x 40 pixels"


def table(scan: RawScan, **sections: dict) -> str:
    text = io.StringIO()
    Console(width=100, file=text).print(inspect_scan(scan.spec(**sections)).table())
    return text.getvalue()


def problems(scan: RawScan, **sections: dict) -> list[str]:
    before = sorted(scan.root.rglob("*"))
    with pytest.raises(InputProblems) as caught:
        inspect_scan(scan.spec(**sections))
    assert sorted(scan.root.rglob("*")) == before
    return str(caught.value).splitlines()


def is_said(line: str, where: str, expected: str, found: str) -> bool:
    file, _, rest = line.partition(": expected ")
    return file.startswith(f"raw/a/{where}.h5") and rest.startswith(expected) and f", found {found}" in rest


def test_good_data_pass(raw_scan: RawScan):
    text = table(raw_scan.write())
    for part in ("4 (0 to 135 deg)", "40 x 24 pixels, uint16", "20 keV", "1.3 um", "0.2 m", "sample_03.h5"):
        assert part in text
    assert "warning" not in text


def test_manifest_is_the_same_wherever_and_whenever(
    raw_scan: RawScan, tmp_path_factory: pytest.TempPathFactory
):
    raw_scan.write()
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(raw_scan.root / "raw", moved / "raw")
    for root in (raw_scan.root, moved):
        inspect_scan(ScanSpec("a", raw_scan.config(), root)).save(root / "manifest.json")
    texts = [(root / "manifest.json").read_text() for root in (raw_scan.root, moved)]
    assert texts[0] == texts[1]
    manifest = json.loads(texts[0])
    assert (manifest["n_projections"], manifest["n_positions"], manifest["rows"]) == (4, 3, 24)
    assert manifest["files"][0]["path"] == "raw/a/sample_01.h5"
    assert manifest["raw_bytes"] == sum(p.stat().st_size for p in raw_scan.root.rglob("*.h5"))


def _delete(name: str) -> Callable[[RawScan], None]:
    return lambda scan: scan.path(name).unlink()


def _nan_dark(scan: RawScan) -> None:
    dark = np.asarray(scan.darks["reference_02"], np.float32)
    dark[3, 5, :25] = np.nan  # 2.6 % of the frame; 2 % would be filled
    scan.darks["reference_02"] = dark


def _nan_sample(scan: RawScan) -> None:
    scan.frames["sample_01"] = scan.frames["sample_01"].astype(np.float32)
    scan.frames["sample_01"][0, :2, :12] = np.inf
    for name in ("sample_02", "sample_03"):
        scan.frames[name] = scan.frames[name].astype(np.float32)


def _saturated(scan: RawScan) -> None:
    scan.frames["sample_02"][3, :, :2] = 65535


def _saturated_12_bit(scan: RawScan) -> None:
    for frames in (scan.frames, scan.flats, scan.darks):
        for name, stack in frames.items():
            frames[name] = np.minimum(stack // 4, 4095)


def _clipped(scan: RawScan) -> None:
    """A camera that clips at no power of two."""
    scan.frames["sample_02"][1] = np.minimum(scan.frames["sample_02"][1], 9000)


def _overflown(scan: RawScan) -> None:
    """Unsigned counts stored in signed ones."""
    for name, stack in scan.frames.items():
        scan.frames[name] = (4 * stack.astype(np.int64)).astype(np.int16)


def _one_angle(scan: RawScan) -> None:
    scan.angles = {name: a if a is None else 0 * a + 30 for name, a in scan.angles.items()}


def _radians(scan: RawScan) -> None:
    scan.angles = {name: a if a is None else np.deg2rad(a) for name, a in scan.angles.items()}


def _energy_in_ev(scan: RawScan) -> None:
    scan.metadata["energy_kev"] = 20000.0


def _complex(scan: RawScan) -> None:
    scan.frames["sample_01"] = scan.frames["sample_01"].astype(np.complex64)


def _no_projections(scan: RawScan) -> None:
    scan.frames["sample_01"] = scan.frames["sample_01"][:0]


def _empty_frame(scan: RawScan) -> None:
    scan.frames["sample_03"][2] = 0


def _dark_as_flat(scan: RawScan) -> None:
    scan.flats["sample_02"], scan.darks["sample_02"] = scan.darks["sample_02"], scan.flats["sample_02"]


def _short_angles(name: str) -> Callable[[RawScan], None]:
    def change(scan: RawScan) -> None:
        scan.angles[name] = scan.angles_deg[:-1]

    return change


def _no_angles(scan: RawScan) -> None:
    for name in scan.angles:
        scan.angles[name] = None


def _other_angles(scan: RawScan) -> None:
    scan.angles["sample_02"] = scan.angles_deg + np.array([0, 0, 9, 0])


def _nan_angle(scan: RawScan) -> None:
    scan.angles["sample_01"] = scan.angles_deg * np.array([1, 1, np.nan, 1])


def _no_darks(scan: RawScan) -> None:
    scan.darks = dict.fromkeys(scan.darks)


def _one_without_darks(scan: RawScan) -> None:
    scan.darks["sample_02"] = None


def _one_without_flats(scan: RawScan) -> None:
    scan.flats["reference_03"] = None


def _no_energy(scan: RawScan) -> None:
    scan.metadata["energy_kev"] = None


def _wrong_size(scan: RawScan) -> None:
    scan.frames["sample_03"] = scan.frames["sample_03"][:, :-1]


def _wrong_reference_size(scan: RawScan) -> None:
    for stacks in (scan.frames, scan.flats, scan.darks):
        stacks["reference_01"] = stacks["reference_01"][:, :, :-3]


def _wrong_dark_size(scan: RawScan) -> None:
    scan.darks["sample_01"] = scan.darks["sample_01"][:, :, :-3]


def _wrong_type(scan: RawScan) -> None:
    scan.frames["sample_02"] = scan.frames["sample_02"].astype(np.float32)


def _fewer_projections(scan: RawScan) -> None:
    scan.frames["sample_03"] = scan.frames["sample_03"][:3]
    scan.angles["sample_03"] = scan.angles_deg[:3]


def _truncate(scan: RawScan) -> None:
    with scan.path("sample_02").open("r+b") as stream:
        stream.truncate(4000)


def _directory(scan: RawScan) -> None:
    scan.path("sample_02").unlink()
    scan.path("sample_02").mkdir()


def _link_to_itself(scan: RawScan) -> None:
    scan.path("sample_02").unlink()
    scan.path("sample_02").symlink_to(scan.path("sample_02").name)


def _damaged_inside(scan: RawScan) -> None:
    """Metadata overwritten: HDF5 notices at the first look-up, not when the file is opened."""
    with scan.path("sample_02").open("r+b") as stream:
        stream.seek(200)
        stream.write(b"\xff" * 600)


def _zero_bytes(scan: RawScan) -> None:
    scan.path("sample_02").write_bytes(b"")


def _other_type(scan: RawScan) -> None:
    scan.path("sample_02").write_bytes(b"II*\0 not HDF5 at all" * 50)


def _no_frames(scan: RawScan) -> None:
    with h5py.File(scan.path("sample_02"), "r+") as file:
        del file["exchange/data"]


def _wrong_axes(scan: RawScan) -> None:
    with h5py.File(scan.path("sample_02"), "r+") as file:
        file["exchange/data"].attrs["axes"] = "theta:y"


@pytest.mark.parametrize(
    ("spoil", "where", "expected", "found"),
    [
        (
            _nan_dark,
            "reference_02",
            "finite values in the dark frames",
            "25 NaN or infinite pixel(s) in frame 3",
        ),
        (_nan_sample, "sample_01", "finite values in the sample frame 0", "24 NaN or infinite pixel(s)"),
        (_saturated, "sample_02", "sample frame 3 below saturation", "5.0 % of the pixels at 65535;"),
        (
            _saturated_12_bit,
            "sample_01",
            "flat frames below saturation",
            "64.7 % of the pixels at 4095 in frame 0",
        ),
        (_clipped, "sample_02", "sample frame 1 below saturation", "96.4 % of the pixels at their"),
        (_overflown, "sample_01", "counts of at least 0 in the sample frame 0", "97 % neg"),
        (_one_angle, "sample_01", "more than one angle, for volumes", "30 deg at all 4 projections"),
        (_radians, "sample_01", "angles in degrees", "a span of 2.356, which looks like radians"),
        (_energy_in_ev, "sample_01", "1 to 1000 keV (was it given in eV?)", "20000 keV"),
        (_complex, "sample_01", "numbers of shape (theta, y, x)", "complex64 of shape (4, 24, 40)"),
        (_no_projections, "sample_01", "numbers of shape (theta, y, x)", "uint16 of shape (0, 24, 40)"),
        (_empty_frame, "sample_03", "an image in the sample frame 2", "only 0"),
        (_dark_as_flat, "sample_02", "flat frames brighter than the dark (", "100"),
        (_short_angles("sample_01"), "sample_01", "4 angles, one for each projection", "3"),
        (_short_angles("sample_03"), "sample_03", "4 angles, one for each projection", "3"),
        (
            _no_angles,
            "sample_01",
            "an angle for each of 4 projections",
            "none in the file (and 2 more like this, to raw/a/sample_03.h5); give geometry.angles",
        ),
        (_other_angles, "sample_02", "90 deg at projection 2 as in raw/a/sample_01.h5", "99 deg"),
        (_nan_angle, "sample_01", "finite angles", "1 NaN"),
        (_no_darks, "sample_01", "dark frames in the raw files or in files.dark", "none"),
        (_one_without_darks, "sample_02", "dark frames as in raw/a/sample_01.h5", "none"),
        (_one_without_flats, "reference_03", "flat frames as in raw/a/reference_01.h5", "none"),
        (_no_energy, "sample_01", "energy_kev with its unit in the file, or geometry.energy_kev", "neither"),
        (
            _wrong_size,
            "sample_03",
            f"4 frames of {SIZE} (uint16) as in raw/a/sample_01.h5",
            "4 frames of 23 x 40",
        ),
        (
            _wrong_reference_size,
            "reference_01",
            f"frames of {SIZE} as in raw/a/sample_01.h5",
            "frames of 24 x 37",
        ),
        (_wrong_dark_size, "sample_01", f"dark frames of {SIZE} as the sample's", "24 x 37 pixels"),
        (_wrong_type, "sample_02", f"4 frames of {SIZE} (uint16)", f"4 frames of {SIZE} (float32)"),
        (_fewer_projections, "sample_03", f"4 frames of {SIZE}", f"3 frames of {SIZE}"),
    ],
)
def test_spoiled_contents(
    raw_scan: RawScan, spoil: Callable[[RawScan], None], where: str, expected: str, found: str
):
    spoil(raw_scan)
    said = problems(raw_scan.write())
    assert any(is_said(line, where, expected, found) for line in said), said
    assert all(line.startswith("raw/a/") and "expected" in line and "found" in line for line in said)


@pytest.mark.parametrize(
    ("spoil", "where", "expected", "found"),
    [
        (
            _delete("reference_02"),
            "reference_02",
            "3 reference files, one for each",
            "2, none for position 2",
        ),
        (_delete("sample_03"), "sample_03", "3 sample files, one for each", "2, none for position 3"),
        (_truncate, "sample_02", "a complete, readable HDF5 file", "a truncated one (4000 of "),
        (_directory, "sample_02", "an HDF5 file", "a directory"),
        (_link_to_itself, "sample_02", "an HDF5 file", "a link that leads nowhere"),
        (_damaged_inside, "sample_02", "a complete, readable HDF5 file", "damage ("),
        (_zero_bytes, "sample_02", "an HDF5 file", "an empty file (0 bytes)"),
        (
            _other_type,
            "sample_02",
            "a complete, readable HDF5 file",
            "a file of another type (1000 bytes, no HDF5",
        ),
        (
            _no_frames,
            "sample_02",
            "a dataset /exchange/data",
            "none (/exchange holds data_dark, data_white, theta)",
        ),
        (_wrong_axes, "sample_02", "axes such as theta:y:x for shape (4, 24, 40)", "'theta:y'"),
    ],
)
def test_spoiled_files(
    raw_scan: RawScan, spoil: Callable[[RawScan], None], where: str, expected: str, found: str
):
    """Found by inspect, and by every later stage that opens the scan."""
    raw_scan.write()
    spoil(raw_scan)
    said = problems(raw_scan)
    assert len(said) == 1
    assert is_said(said[0], where, expected, found), said
    with pytest.raises(InputError, match=re.escape(said[0])):
        open_scan(raw_scan.spec())


def test_twelve_sample_frames_against_thirteen_references(tmp_path: Path):
    """As files of one position each, and as two stacks."""
    scan = RawScan(tmp_path, projections=1, positions=13).write()
    scan.path("sample_13").unlink()
    found = problems(scan)
    assert len(found) == 1
    assert is_said(found[0], "sample_13", "13 sample files, one for each diffuser position", "12, none for")
    stacks = {"sample": np.stack([scan.frames[f"sample_{n + 1:02d}"][0] for n in range(12)])}
    stacks["reference"] = np.stack([scan.frames[f"reference_{n + 1:02d}"][0] for n in range(13)])
    for role, stack in stacks.items():
        np.save(tmp_path / f"{role}.npy", stack)
    files = {"sample": "sample.npy", "reference": "reference.npy", "dark": "subtracted"}
    geometry = {"energy_kev": 20, "pixel_size_um": 1.3, "distance_m": 0.2}
    found = problems(scan, files=files, geometry=geometry)
    assert found == [
        "sample.npy: expected 13 sample frames, one for each reference frame in reference.npy, found 12"
    ]


def test_several_positions_in_files_of_one_each(raw_scan: RawScan):
    raw_scan.frames["sample_02"] = np.stack([raw_scan.frames["sample_02"]] * 2, 1)
    found = problems(raw_scan.write())
    assert any(
        is_said(p, "sample_02", "frames (theta, y, x) of one", "4 frames of 2 positions") for p in found
    )


def test_several_files_missing_are_one_sentence_a_role(tmp_path: Path):
    scan = RawScan(tmp_path, projections=1, positions=9).write()
    for n in (2, 3, 5, 6, 7, 8):
        scan.path(f"reference_{n:02d}").unlink()
    found = problems(scan)
    assert len(found) == 1
    assert is_said(found[0], "reference_02", "9 reference files", "3, none for position 2, 3, 5, 6, 7 ...")


def test_no_files_at_all(raw_scan: RawScan):
    found = problems(raw_scan)
    assert found[0] == (
        "raw/a/sample_{position:02d}.h5: expected at least one sample file, "
        f"found none of that name in {raw_scan.root}; copy the data there, or set files.sample to where they are"
    )
    with pytest.raises(InputError):
        scan_shape(raw_scan.spec())


def test_no_permission(raw_scan: RawScan):
    """Root may read everything, so the test gives that up for a moment."""
    raw_scan.write()
    raw_scan.path("sample_02").chmod(0)
    root = os.geteuid() == 0
    if root:
        own = [folder for folder in raw_scan.root.parents if folder.name.startswith(("pytest", "popen"))]
        for folder in (raw_scan.root, *own):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        found = problems(raw_scan)
    finally:
        if root:
            os.seteuid(0)
    assert found == [
        "raw/a/sample_02.h5: expected an HDF5 file that may be read, found no permission to read it"
    ]


def test_everything_wrong_is_said_at_once(raw_scan: RawScan):
    _nan_dark(raw_scan)
    _saturated(raw_scan)
    _no_energy(raw_scan)
    raw_scan.write()
    _delete("reference_03")(raw_scan)
    text = "\n".join(problems(raw_scan))
    for part in ("reference_03.h5: expected 3", "NaN", "saturation", "energy_kev"):
        assert part in text


def test_radians_that_pass_for_degrees(tmp_path: Path):
    scan = RawScan(tmp_path, projections=24, positions=1)
    scan.angles["sample_01"] = np.linspace(0, np.pi, 24, endpoint=False)
    found = problems(scan.write())
    assert "expected angles in degrees, found a span of 3.011, which looks like radians" in found[0]
    assert "180" not in table(scan, geometry={"angles_unit": "rad"})
    opened = open_scan(scan.spec(geometry={"angles_unit": "rad"}))
    np.testing.assert_allclose(opened.angles_deg, scan.angles_deg)


def test_odd_values_are_warned_of(raw_scan: RawScan):
    """50 m, a scan table that contradicts the file, a scan over half a half turn."""
    raw_scan.angles = {name: a if a is None else a / 2 for name, a in raw_scan.angles.items()}
    sections = {"geometry": {"distance_m": 50}, "tomography": {"axis_px": 19.5}}
    text = " ".join(table(raw_scan.write(), **sections).split())
    assert "distance_m is 50 m; was it given in another unit?" in text
    assert "distance_m is 50 m in the scan table but 0.2 m in raw/a/sample_01.h5" in text
    assert "the angles span 90 degrees, neither a half nor a full turn" in text


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"files": {"reference": "raw/{scan}/sample_{position:02d}.h5"}},
            "raw/a/sample_01.h5: expected another file as reference than as sample, found the same",
        ),
        (
            {
                "files": {
                    "sample": "raw/{scan}/reference_{position:02d}.h5",
                    "reference": "raw/{scan}/sample_{position:02d}.h5",
                }
            },
            "raw/a/reference_01.h5: expected an angle for each of 2 projections, found none in the file, but the "
            "reference files have angles (and 2 more like this, to raw/a/reference_03.h5); "
            "are files.sample and files.reference swapped?",
        ),
        (
            {"tomography": {"offset_axis": True}},
            "raw/a/sample_01.h5: expected angles over 360 degrees (tomography.offset_axis), found 180 degrees",
        ),
        (
            {"retrieval": {"method": "spinnet"}},
            "raw/a/sample_01.h5: expected 1 diffuser position(s) for retrieval.method spinnet, found 3",
        ),
    ],
)
def test_settings_that_contradict_the_files(raw_scan: RawScan, sections: dict, said: str):
    assert problems(raw_scan.write(), **sections)[0].startswith(said)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_backend_that_cannot_compute_is_told_before_any_work(raw_scan: RawScan, backend: str, device: str):
    sections = {
        "tomography": {"backend": backend, "enabled": "yes"},
        "execution": {"tomography": {"device": device}},
    }
    spec = raw_scan.write().spec(**sections)
    manifest = inspect_scan(spec)
    try:
        fits = device in backend_class(backend).devices
    except ConfigError:
        assert BACKENDS[backend][2] in backend_warning(spec.config, manifest)
        return
    if fits:
        assert backend_warning(spec.config, manifest) is None
        return
    with pytest.raises(InputError) as caught:
        backend_warning(spec.config, manifest)
    assert str(caught.value) == (
        f"execution.tomography.device: expected cpu for tomography.backend {backend}, found cuda"
    )


def test_frames_too_narrow_for_margins_are_refused_before_any_work(tmp_path):
    """Frames that lie on their side, for example those of MATLAB."""
    scan = RawScan(tmp_path, size=(40, 8)).write()
    assert problems(scan, retrieval={"method": "absorption"})[0].startswith(
        "correct.air_px: expected more than 8 columns, for margins of 4 px on both sides, found 40 rows and 8 columns; "
        "files.transpose: true"
    )


def test_a_method_is_looked_up_before_any_work(raw_scan: RawScan):
    with pytest.raises(ConfigError, match=r"no method 'umpaa'; did you mean 'umpa'\?"):
        inspect_scan(raw_scan.write().spec(retrieval={"method": "umpaa"}))


def test_one_cause_is_one_sentence(tmp_path: Path):
    """Flats of zeros in twelve files."""
    scan = RawScan(tmp_path, positions=6)
    scan.flats = {name: 0 * flats for name, flats in scan.flats.items()}
    found = problems(scan.write())
    assert len(found) == 2
    assert found[0] == (
        "raw/a/sample_01.h5: expected an image in the flat frames, found only 0 in frame 0 "
        "(and 11 more like this, to raw/a/reference_06.h5)"
    )


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        ({"energy_kev": 20000}, "expected 1 to 1000 keV (was it given in eV?), found 20000 keV"),
        (
            {"pixel_size_um": 0.0013},
            "expected 0.01 to 1000 um (was it given in mm, m or nm?), found 0.0013 um",
        ),
        ({"distance_m": 308}, "expected 0.0001 to 100 m (was it given in mm or cm?), found 308 m"),
        ({"distance_m": float("inf")}, "input should be a finite number, found inf"),
    ],
)
def test_another_unit_is_refused_when_the_sheet_is_read(raw_scan: RawScan, geometry: dict, said: str):
    with pytest.raises(ConfigError, match=re.escape(f"geometry.{next(iter(geometry))}: {said}")):
        raw_scan.config(geometry=geometry)


def test_absorption_scan_needs_flats(tmp_path: Path):
    frames = RawScan(tmp_path).frames["sample_01"]
    write_data_exchange(tmp_path / "a.h5", frames, darks=frames[:2] // 100, angles_deg=np.arange(4) * 45.0)
    scan = RawScan(tmp_path)
    sections = {
        "files": {"sample": "a.h5", "reference": None},
        "geometry": {"pixel_size_um": 1.0},
        "retrieval": {"method": "absorption"},
    }
    found = problems(scan, **sections)
    assert found == [
        "a.h5: expected flat frames in the raw file or in files.flat "
        "(an absorption scan: T = sample / flat), found none; files.flat: divided, if the projections are over their "
        "flat already"
    ]


@pytest.mark.parametrize(
    ("correct", "said"),
    [
        ({"air_px": [20, 20, 0, 0]}, "correct.air_px: expected margins inside 40 columns and 24 rows"),
        ({"air_px": [0, 0, 0, 0]}, "correct.air_px: expected margins"),
        ({"mask": "none.tif"}, "none.tif: expected an image file, found no such file"),
        (
            {"mask": "raw/a/mask.npy"},
            "mask.npy: expected one image of 24 x 40 pixels, found shape (1, 24, 39)",
        ),
    ],
)
def test_settings_that_do_not_fit(raw_scan: RawScan, correct: dict, said: str):
    raw_scan.write()
    np.save(raw_scan.root / "raw/a/mask.npy", np.zeros((24, 39), bool))
    assert said in problems(raw_scan, correct=correct)[0]


@pytest.mark.parametrize("example", ["four-rods", "tooth"])
def test_real_data(example: str, shared_data, monkeypatch: pytest.MonkeyPatch):
    shared_data("tooth.h5")
    monkeypatch.chdir(Path(__file__).parents[2])
    for name, scan in load_scans(load_config(f"config/examples/{example}.yaml")).items():
        manifest = inspect_scan(ScanSpec(name, scan))
        shape = (manifest.n_projections, manifest.n_positions, manifest.rows, manifest.columns)
        assert shape == {"four-rods": (1, 13, 215, 2220), "tooth": (181, 1, 2, 640)}[example]


def test_a_long_list_is_folded_but_for_what_differs(tmp_path: Path):
    scan = RawScan(tmp_path, projections=1, positions=40).write()
    scan.darks["sample_07"] = scan.darks["sample_07"][:3]
    text = table(scan.write())
    listed = re.findall(r"(sample_\d\d|reference_\d\d)\.h5", text)
    assert listed == ["sample_01", "sample_07", "sample_40", "reference_01", "reference_40"]
    assert "... 37 more like it ..." in text
    assert "... 38 more like it ..." in text


def test_references_numbered_from_another_number_are_one_sentence_with_the_way_out(raw_scan: RawScan):
    raw_scan.write()
    for number in (1, 2, 3):
        raw_scan.path(f"reference_0{number}").rename(raw_scan.path(f"reference_0{number - 1}"))
    with pytest.raises(InputProblems) as caught:
        inspect_scan(raw_scan.spec())
    (problem,) = caught.value.problems
    assert "sample and reference files of the same positions, found samples 1-3 and references 0-2" in str(
        problem
    )
    named = "raw/{scan}/reference_{position-1:02d}.h5"
    assert f"files.reference: {named}, if" in str(problem)
    assert inspect_scan(raw_scan.spec(files={"reference": named})).n_positions == 3
