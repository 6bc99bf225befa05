"""Scans that are refused by a look at their frames: another sample in each turn, no air, two beams, dead frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speckleflow.config import ScanConfig
from speckleflow.correction import prepare_correction
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.base import InputProblems
from speckleflow.io.scan import open_scan
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.spec import ScanSpec
from speckleflow.turns import same_angles
from tests.raw_scan import write_data_exchange

ROWS, COLUMNS, COUNTS, DARK = 6, 64, 9000, 100


def line_integrals(angles_deg: np.ndarray, moved_px: np.ndarray | float = 0.0) -> np.ndarray:
    """Of a rod beside the axis, (angle, x), that moved along x."""
    turned = 6 * np.cos(np.deg2rad(angles_deg))
    x = np.arange(COLUMNS) - COLUMNS / 2 - (turned + moved_px)[:, None]
    return 0.08 * np.sqrt(np.clip(12.0**2 - x**2, 0, None))


def counts(light: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(light.size).poisson(COUNTS * light) + DARK).astype(np.uint16)


def write(folder: Path, angles_deg: np.ndarray, lines: np.ndarray, **changed: np.ndarray) -> Path:
    """An absorption scan of line integrals (angle, x); ``flats`` and ``frames`` may be others."""
    shape = (8, ROWS, COLUMNS)
    frames = counts(np.repeat(np.exp(-lines)[:, None], ROWS, 1))
    parts = {"flats": counts(np.ones(shape)), "darks": DARK + np.indices(shape).sum(0).astype(np.uint16) % 3}
    parts |= {"frames": frames} | changed
    write_data_exchange(folder / "a.h5", parts.pop("frames"), angles_deg=angles_deg, **parts)
    return folder


def config(**sections: dict) -> ScanConfig:
    given = {
        "files": {"sample": "a.h5", "reference": None, **sections.pop("files", {})},
        "geometry": {"pixel_size_um": 1.0},
        "retrieval": {"method": "absorption"},
        **sections,
    }
    return ScanConfig.model_validate(given)


def look(folder: Path, **sections: dict) -> Manifest:
    return inspect_scan(ScanSpec("a", config(**sections), folder))


def refusal(folder: Path, **sections: dict) -> str:
    with pytest.raises(InputProblems) as caught:
        look(folder, **sections)
    return str(caught.value)


def told_of_turns(manifest: Manifest) -> list[str]:
    return [words for words in manifest.warnings if "between the turns" in words]


def test_turns_of_one_sample_are_one_scan(tmp_path):
    angles = np.arange(60) * 24.0  # four turns
    assert not told_of_turns(look(write(tmp_path, angles, line_integrals(angles))))


def test_turns_of_a_sample_that_moved_are_refused_and_one_can_be_chosen(tmp_path):
    """6 px in four turns. The frames of the worst pair are 45 apart: three turns."""
    angles = np.arange(60) * 24.0
    write(tmp_path, angles, line_integrals(angles, np.linspace(0, 6, 60)))
    said = refusal(tmp_path)
    assert said.startswith("a.h5: expected a sample that stays the same from turn to turn, found frames ")
    assert "3 turns apart" in said
    assert "such as '0-7'; '0-59' takes all as one" in said
    assert look(tmp_path, files={"frames": "0-14"}).n_projections == 15  # the first turn
    assert told_of_turns(look(tmp_path, files={"frames": "0-59"}))


def test_a_full_turn_and_its_first_frame_again_is_only_told(tmp_path):
    angles = np.arange(61) * 6.0
    manifest = look(write(tmp_path, angles, line_integrals(angles, np.linspace(0, 3, 61))))
    assert len(told_of_turns(manifest)) == 1
    assert "1 turn apart" in told_of_turns(manifest)[0]


def test_pairs_are_full_turns_apart():
    assert same_angles(np.arange(180.0)) == []
    assert all(second - first == 72 for first, second in same_angles(np.arange(144) * 5.0))
    golden = np.arange(100) * 137.50776405
    assert same_angles(golden) == []


def wide(angles_deg: np.ndarray) -> np.ndarray:
    """The rod in a cylinder of 120 px, which is wider than the view."""
    around = 2 * 0.01 * np.sqrt(60.0**2 - (np.arange(COLUMNS) - COLUMNS / 2) ** 2)
    return line_integrals(angles_deg) + around


def test_margins_that_fall_to_the_sample_are_no_air_however_bright(tmp_path):
    """Flats of 0.37 times the exposure: the margins are as bright as the beam, and the sample is in them."""
    angles = np.arange(40) * 4.5
    write(tmp_path, angles, wide(angles), flats=counts(0.37 * np.ones((8, ROWS, COLUMNS))))
    said = refusal(tmp_path)
    assert "expected air in both margins" in said
    assert "correct.flux: none" in said
    assert "correct.air_px: [4, 4, 0, 0]" in said
    assert look(tmp_path, correct={"air_px": [4, 4, 0, 0]})
    assert look(tmp_path, correct={"flux": "none", "flat_scale": 1 / 0.37})


def test_an_axis_near_the_edge_leaves_one_margin_of_air(tmp_path):
    """Half of the sample is outside the view on the left: the right margin is the beam, and nothing is said."""
    angles = np.arange(60) * 6.0
    x = np.arange(COLUMNS) - 5 - 6 * np.cos(np.deg2rad(angles))[:, None]
    lines = 0.04 * np.sqrt(np.clip(30.0**2 - x**2, 0, None))
    manifest = look(write(tmp_path, angles, lines), tomography={"offset_axis": True})
    assert not [words for words in manifest.warnings if "margins" in words]


@pytest.mark.parametrize("flats", ["auto", "mean", "before_and_after"])
def test_flats_of_two_beams_are_refused_unless_it_is_said_what_they_are(tmp_path, flats):
    angles = np.arange(40) * 4.5
    y, x = np.mgrid[:ROWS, :COLUMNS]
    beams = [1 + 0.4 * np.sin(0.5 * x + 2 * y + phase) for phase in [0.0] * 4 + [2.0] * 4]
    write(tmp_path, angles, line_integrals(angles), flats=counts(np.stack(beams)))
    correct = {"flats": flats, "flux": "none"}
    if flats == "auto":
        said = refusal(tmp_path, correct=correct)
        assert said.startswith(
            "a.h5: expected flats of one beam, found two halves, whose pattern differs by "
        )
        assert "correct.flats: before_and_after" in said
    else:
        assert look(tmp_path, correct=correct)


def test_dead_frames_of_a_small_scan_are_found_and_listed_before_the_run(tmp_path, monkeypatch):
    """Neither is one of the five that are looked at in a large scan."""
    angles = np.arange(40) * 4.5
    write(tmp_path, angles, line_integrals(angles))
    frames = counts(np.repeat(np.exp(-line_integrals(angles))[:, None], ROWS, 1))
    frames[[13, 27]] = DARK
    write(tmp_path, angles, line_integrals(angles), frames=frames)
    said = refusal(tmp_path)
    assert said.startswith("a.h5, frame 13: expected a frame that can be used (angle 58.5 deg), found ")
    assert "correct.exclude_projections: '13,27' leaves it and all others like it out" in said
    assert look(tmp_path, correct={"exclude_projections": "13,27"}).n_projections == 38
    monkeypatch.setattr("speckleflow.inspection.scan.LOOK_BYTES", frames.nbytes - 1)
    assert look(tmp_path).n_projections == 40


def test_frames_of_which_none_can_be_used_are_not_proposed_to_be_left_out(tmp_path):
    """Projections of another scale than the flats."""
    angles = np.arange(40) * 4.5
    lines = line_integrals(angles)
    noise = np.random.default_rng(8).normal(0, 0.01, (40, ROWS, COLUMNS))
    write(tmp_path, angles, lines, frames=DARK + 20 * np.exp(-lines)[:, None] + noise)
    said = refusal(tmp_path)
    assert said.startswith("a.h5, frame 0: expected frames that can be used, found light at 0.2% of the ref")
    assert "files.flat: divided" in said
    assert "exclude" not in said


@pytest.mark.parametrize(("kind", "level"), [("flats", DARK), ("flats", 65535), ("darks", 9000)])
def test_one_calibration_frame_of_many_that_is_odd_is_left_out_and_said(tmp_path, kind, level):
    """Of eight; two are an error, or are told of as two halves."""
    angles = np.arange(40) * 4.5
    shape = (8, ROWS, COLUMNS)
    right = {"flats": counts(np.ones(shape)), "darks": DARK + np.indices(shape).sum(0).astype(np.uint16) % 3}
    spoilt = {name: frames.copy() for name, frames in right.items()}
    spoilt[kind][3] = level
    spec = ScanSpec("a", config(), write(tmp_path, angles, line_integrals(angles), **spoilt))
    found = prepare_correction(open_scan(spec))
    (told,) = [words for words in look(tmp_path).warnings if "left out of their mean" in words]
    assert told.startswith(f"a.h5: {kind[:-1]} frame 3 of 8 has {level} counts beside ")
    write(tmp_path, angles, line_integrals(angles), **{kind: np.delete(right[kind], 3, 0)})
    without = prepare_correction(open_scan(spec))
    for name in ("dark", "gain", "bad"):
        assert np.array_equal(getattr(found, name), getattr(without, name))


def test_line_integrals_are_no_projections_over_their_flat(tmp_path):
    angles = np.arange(40) * 4.5
    lines = np.repeat(line_integrals(angles)[:, None], ROWS, 1)
    noise = np.random.default_rng(8).normal(0, 0.01, lines.shape)
    divided = {"files": {"flat": "divided", "dark": "subtracted"}}
    write(tmp_path, angles, lines[:, 0], frames=(lines + noise).astype(np.float32))
    assert "are they line integrals, 0 in the air? store exp(-values)" in refusal(tmp_path, **divided)
    write(tmp_path, angles, lines[:, 0], frames=np.exp(-lines - noise).astype(np.float32))
    assert look(tmp_path, **divided).n_projections == 40
