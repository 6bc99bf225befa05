"""Every frame looked at: the faults by number, what is pasted, and scans that go on without them."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

from speckleflow import cli
from speckleflow.errors import InputError
from speckleflow.frame_faults import look_at_scan
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.scan import open_scan
from speckleflow.stages.correct import correct
from speckleflow.stages.inspect import inspect
from speckleflow.stages.retrieve import retrieve_block
from speckleflow.workflow.plan import plan_scan
from tests.raw_scan import RawScan

PROJECTIONS = 24


@pytest.fixture
def scan(tmp_path) -> RawScan:
    return RawScan(tmp_path, projections=PROJECTIONS, positions=2, size=(40, 70), noise=20.0)


def spoil(scan: RawScan) -> dict[int, str]:
    """Frames of one kind of fault each; what is said of each."""
    one, two = scan.frames["sample_01"], scan.frames["sample_02"]
    one[3] = 100 + (one[3] % 7)  # shutter
    two[8, :, 40:] = 65535
    one[11, 4:36, 32:64] = 900  # a module that was not read
    two[12] = two[11]
    one[17, 20:] = 4321  # read in part
    return {
        3: "of the reference's",
        8: "at the largest count",
        11: "blocks of one value",
        12: "as the frame before it",
        17: "rows of one value",
    }


def test_each_fault_is_named_by_frame_position_and_angle(scan: RawScan):
    good = look_at_scan(open_scan(scan.write().spec()))
    assert good.faults == ()
    assert good.jumps == ()
    # light of each frame over the reference's: its flux, less what the sample absorbs
    absorbed = (scan.transmission * scan.beam).mean((1, 2)) / scan.beam.mean()
    np.testing.assert_allclose(good.light, scan.flux * absorbed[:, None], rtol=0.004)  # measured 0.0013
    said = spoil(scan)
    look = look_at_scan(open_scan(scan.write().spec()))
    assert {f.frame: f.position for f in look.faults} == {3: 0, 8: 1, 11: 0, 12: 1, 17: 0}
    for fault in look.faults:
        assert said[fault.frame] in fault.why
        assert fault.angle_deg == pytest.approx(scan.angles_deg[fault.frame])
        assert fault.where == f"raw/a/sample_{fault.position + 1:02d}.h5"
    assert look.exclude == "3,8,11-12,17"


def test_frames_that_are_excluded_are_not_looked_at_and_jumps_of_light_are_told(scan: RawScan):
    spoil(scan)
    scan.frames["sample_01"][20] = 100 + 0.6 * (scan.frames["sample_01"][20] - 100.0)
    look = look_at_scan(open_scan(scan.write().spec(correct={"exclude_projections": "3,8,11-12,17"})))
    assert look.faults == ()
    (jump,) = look.jumps
    assert jump.startswith("frame 20 at position 0: light -3") or jump.startswith(
        "frame 20 at position 0: light -4"
    )


def test_the_command_lists_them_ready_to_be_pasted(scan: RawScan, monkeypatch, capsys):
    spoil(scan)
    scan.write()
    monkeypatch.chdir(scan.root)
    (scan.root / "scans.tsv").write_text("scan\na\n")
    (scan.root / "config.yaml").write_text("scans: scans.tsv\n")
    monkeypatch.setattr(sys, "argv", ["speckleflow", "inspect", "config.yaml", "--full"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "a: 48 frames looked at, 5 cannot be used"
    assert sum("raw/a/sample_0" in line for line in lines) == 5
    pasted = lines[-1].strip()
    assert pasted == "correct.exclude_projections: '3,8,11-12,17'"
    assert "found 5 that cannot" in shown.err
    (scan.root / "config.yaml").write_text(
        f"scans: scans.tsv\ncorrect: {{exclude_projections: {pasted.split()[1]}}}\n"
    )
    cli.app(["inspect", "config.yaml", "--full"], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[0] == "a: 38 frames looked at, 0 cannot be used"


def test_a_scan_goes_on_without_them_as_if_they_were_excluded_by_hand(scan: RawScan, monkeypatch):
    spoil(scan)
    scan.write()
    with pytest.raises(InputError, match=r"at most 20% of the projections .* found 5 of 24: 3,8,11-12,17"):
        inspect_scan(scan.spec(correct={"bad_frames": "exclude", "bad_frames_limit": 0.2}))
    monkeypatch.chdir(scan.root)
    ways = {
        "found": {"bad_frames": "exclude", "bad_frames_limit": 0.25},
        "by_hand": {"exclude_projections": "3,8,11-12,17"},
    }
    fields, angles = {}, {}
    for way, keys in ways.items():
        spec = scan.spec(correct=keys, retrieval={"method": "absorption"})
        folder = scan.root / way
        planned = plan_scan(spec, folder / "manifest.json").blocks
        inspect(spec, output=folder / "manifest.json")
        assert (
            plan_scan(spec, folder / "manifest.json").blocks == planned
        )  # no job is made anew by what was found
        correct(spec, manifest=folder / "manifest.json", output=folder / "corrected.h5")
        manifest = inspect_scan(spec)
        angles[way] = manifest.angles_deg
        assert manifest.left_out == ((3, 8, 11, 12, 17) if way == "found" else ())
        read = []
        total = PROJECTIONS if way == "found" else PROJECTIONS - 5
        for block, edges in enumerate([(0, total // 3), (total // 3, total)]):
            output = folder / f"block_{block}.h5"
            retrieve_block(
                spec,
                manifest=folder / "manifest.json",
                corrected=folder / "corrected.h5",
                projections=edges,
                output=output,
            )
            with h5py.File(output) as file:
                read.append((file["raw_index"][()], file["transmission"][()]))
        fields[way] = [np.concatenate(part) for part in zip(*read, strict=True)]
    kept = np.setdiff1d(np.arange(PROJECTIONS), [3, 8, 11, 12, 17])
    assert angles["found"] == angles["by_hand"] == tuple(scan.angles_deg[kept])
    for index, transmission in fields.values():
        np.testing.assert_array_equal(index, kept)
        np.testing.assert_array_equal(transmission, fields["found"][1])
