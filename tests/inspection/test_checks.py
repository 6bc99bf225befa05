"""Limits of the checks of raw data, from both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from speckleflow.inspection.angles import (
    angle_problems,
    angle_warnings,
    radian_problems,
    tomography_problems,
)
from speckleflow.inspection.frames import frame_problems, light_problems, size_problems
from speckleflow.inspection.geometry import geometry_problems, geometry_warnings
from speckleflow.io.scan import open_scan
from tests.raw_scan import RawScan


def noisy(shape=(3, 40, 50), dtype=np.uint16):
    return np.random.default_rng(0).integers(1000, 2000, shape).astype(dtype)


def sentences(problems) -> list[str]:
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("full", [255, 1023, 4095, 16383, 65535])
def test_full_scale_of_every_detector(full: int):
    """2000 pixels: 2 at the top are a thousandth and hot pixels, 3 are light."""
    frames = noisy() % full if full < 2000 else noisy()
    frames[frames == full] = 0
    frames[1].flat[:2] = full
    assert frame_problems(frames, "flat frames", "a.h5") == []
    frames[1].flat[:3] = full
    assert sentences(frame_problems(frames, "flat frames", "a.h5")) == [
        f"a.h5: expected flat frames below saturation, found 0.1 % of the pixels at {full} in frame 1; "
        "shorten the exposure"
        + (f"; correct.saturation_level: {full} masks them, where they are few" if full < 65535 else "")
    ]


def test_a_detector_that_clips_elsewhere():
    """One value, the highest, in more than one per cent of the pixels; few counts have that by nature."""
    frames = np.minimum(noisy(), 1900)
    assert "at their highest value 1900" in sentences(frame_problems(frames, "flat frames", "a"))[0]
    frames = noisy()
    frames[2].flat[:20] = 3000  # exactly one per cent
    assert frame_problems(frames, "flat frames", "a") == []
    frames[2].flat[:21] = 3000
    assert "1.1 % of the pixels at their highest value 3000 in frame 2" in str(
        frame_problems(frames, "flat frames", "a")[0]
    )
    assert frame_problems(np.minimum(noisy() // 10, 150), "flat frames", "a") == []


def test_negative_counts():
    """-1 marks gaps: up to a fifth of the pixels."""
    frames = noisy(dtype=np.int32)
    frames[2].flat[:400] = -1
    assert frame_problems(frames, "flat frames", "a") == []
    frames[2].flat[:401] = -1
    assert sentences(frame_problems(frames, "flat frames", "a")) == [
        "a: expected counts of at least 0 in the flat frames, found 20 % negative pixels in frame 2; "
        "unsigned counts stored as signed ones?"
    ]


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_one_empty_frame_of_several(frame: int):
    frames = noisy()
    frames[frame] = 7
    found = sentences(frame_problems(frames, "reference frames", "a"))
    assert found == [f"a: expected an image in the reference frames, found only 7 in frame {frame}"]
    assert frame_problems(frames, "dark frames", "a", dark=True) == []
    assert sentences(frame_problems(frames[frame : frame + 1], "x", "a")) == [
        "a: expected an image in the x, found only 7"
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value: float):
    frames = noisy(dtype=np.float32)
    frames[2, 3, 4] = frames[2, 5, 4] = frames[1, 0, 0] = value
    assert sentences(frame_problems(frames, "dark frames", "a", dark=True)) == [
        "a: expected finite values in the dark frames, found 3 NaN or infinite pixel(s) in frame 1"
    ]


def test_frames_of_several_positions_are_counted_frame_by_frame():
    frames = noisy((2, 3, 40, 50))
    frames[1] = 9
    assert "only 9 in frame 1" in str(frame_problems(frames, "sample frames", "a")[0])


def test_light_is_above_the_dark():
    assert light_problems(101.0, 100.0, "flat frames", "a") == []
    for light in (100.0, 99.0):
        assert sentences(light_problems(light, 100.0, "flat frames", "a")) == [
            f"a: expected flat frames brighter than the dark (100 counts), found {light:g}; are flats and darks "
            "exchanged?"
        ]


def test_sizes_are_rows_and_columns():
    assert size_problems(np.zeros((4, 2, 24, 40)), (24, 40), "dark frames", "a") == []
    assert sentences(size_problems(np.zeros((4, 40, 24)), (24, 40), "dark frames", "a")) == [
        "a: expected dark frames of 24 x 40 pixels as the sample's, found 40 x 24 pixels"
    ]


@pytest.mark.parametrize(
    ("angles", "radians"),
    [
        (np.linspace(0, np.pi, 50, endpoint=False), True),
        (np.linspace(1, 1 + np.pi, 50, endpoint=False), True),
        (np.linspace(0, -2 * np.pi, 50, endpoint=False), True),
        (np.linspace(0, 2 * np.pi, 12, endpoint=False) * 1.019, True),
        (np.linspace(0, 2 * np.pi, 12, endpoint=False) * 1.021, False),
        (np.linspace(0, np.pi, 10, endpoint=False) * 1.0009, True),
        (np.linspace(0, np.pi, 10, endpoint=False) * 1.0011, False),
        (np.linspace(0, 3 * np.pi, 50, endpoint=False), False),
        (np.linspace(0, 180, 50, endpoint=False), False),
        (np.array([0, np.pi / 2]), False),
        (np.array([0, np.pi / 3, 2 * np.pi / 3]), True),
    ],
)
def test_angles_that_must_be_radians(angles, radians: bool):
    """n angles over a half or whole turn span (n - 1) / n of it; of many, 2 % are allowed, of few 0.1 %."""
    assert bool(radian_problems(angles, "a")) == radians


def scan_of(tmp_path, angles, **sections):
    scan = RawScan(tmp_path, projections=len(angles), positions=2)
    scan.angles = {name: np.asarray(angles, float) for name in scan.angles}
    return open_scan(scan.write().spec(**sections))


@pytest.mark.parametrize(("last", "fits"), [(304.0, True), (296.0, True), (305.0, False), (295.0, False)])
def test_an_offset_axis_needs_a_turn(tmp_path, last: float, fits: bool):
    """Six angles over 300 degrees are a turn of 360; 5 more or less still are one."""
    opened = scan_of(
        tmp_path,
        np.linspace(0, last, 6),
        tomography={"offset_axis": True},
        geometry={"rotation": "clockwise"},
    )
    problems = sentences(tomography_problems(opened))
    assert problems == (
        [] if fits else [
            f"raw/a/sample_01.h5: expected angles over 360 degrees (tomography.offset_axis), found {last * 1.2:.4g} "
            "degrees"
        ]
    )  # fmt: skip


def test_one_angle_gives_no_volume(tmp_path):
    opened = scan_of(tmp_path, [30, 30, 30])
    assert "30 deg at all 3 projections; tomography.enabled: no, if" in str(tomography_problems(opened)[0])
    assert tomography_problems(scan_of(tmp_path, [30, 30, 30], tomography={"enabled": "no"})) == []
    assert tomography_problems(scan_of(tmp_path, [30])) == []


@pytest.mark.parametrize(
    ("angles", "sections", "said"),
    [
        (
            np.arange(12) * 15 * 60.0,
            {},
            "steps of 900 degrees, which are a scan over 180 degrees in arc minutes; set geometry.angles_unit: arcmin",
        ),
        (np.arange(12) * 15 * 1000.0, {}, "in thousandths of a degree; set geometry.angles_unit: mdeg"),
        (np.arange(12) * 15 * 77.0, {}, "less than a turn from one to the next, found regular steps of 1155"),
        (np.arange(12) * 30 * 180 / np.pi, {}, "over 360 degrees in degrees labelled as radians"),
        (
            np.arange(12) * 10.0,
            {},
            "found 110 degrees, without directions over 60; give the axis in tomography.axis_px",
        ),
        (np.arange(12) * 10.0, {"tomography": {"axis_px": 19.5}}, ""),
        (np.arange(12) * 137.508, {}, ""),  # the golden angle
        (np.arange(12) * 60.0, {}, ""),  # two turns
        (np.arange(12) * 15.0, {}, ""),
    ],
)
def test_angles_of_another_unit_or_of_less_than_half_a_turn(tmp_path, angles, sections: dict, said: str):
    scan = RawScan(tmp_path, projections=12)
    scan.angles = dict.fromkeys(scan.angles, angles)
    found = sentences(tomography_problems(open_scan(scan.write().spec(**sections))))
    assert len(found) == bool(said)
    assert all(said in sentence for sentence in found)


@pytest.mark.parametrize(("away", "fits"), [(0.9, True), (-0.9, True), (1.1, False), (-1.1, False)])
def test_angles_of_positions_agree_within_a_tenth_of_a_step(tmp_path, away: float, fits: bool):
    scan = RawScan(tmp_path, positions=3)
    steps = np.array([0.0, 10, 20, 45])  # the median step is 10 degrees
    scan.angles = dict.fromkeys(scan.angles, steps)
    scan.angles["sample_03"] = steps + np.array([0, 0, away, 0])
    found = sentences(angle_problems(open_scan(scan.write().spec())))
    assert found == (
        [] if fits else [
            f"raw/a/sample_03.h5: expected 20 deg at projection 2 as in raw/a/sample_01.h5, found {20 + away:g} deg"
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("angles", "parts"),
    [
        (np.arange(0, 180, 10.0), []),
        (np.arange(90, -90, -10.0), []),
        (np.arange(0, 360, 10.0), []),
        ([0.0], []),
        (np.arange(0, 200, 10.0), []),  # 20 degrees too many: two steps
        (np.arange(0, 210, 10.0), ["span 210 degrees, neither a half nor a full turn"]),
        (np.arange(0, 150, 10.0), ["span 150 degrees", "missing wedge: no projection over 30 degrees"]),
        ([0, 90, 45, 135], ["not in order"]),
        ([0, 45, 45, 90, 135], ["1 of 5 angles are repeated"]),
        (np.repeat(np.arange(0, 180, 10.0), 3), []),  # three exposures at every angle
        (np.tile(np.arange(0, 180, 10.0), 3), ["not in order"]),
        (np.arange(0, 1800, 18.0), ["span 1800 degrees", "10 half turns"]),
    ],
)
def test_what_is_odd_about_angles(angles, parts: list[str]):
    warnings = angle_warnings(np.asarray(angles, float))
    assert len(warnings) == len(parts), warnings
    for warning, part in zip(warnings, parts, strict=True):
        assert part in warning


@pytest.mark.parametrize(
    ("key", "odd", "usual"),
    [
        ("energy_kev", (3.9, 301.0), (4.0, 300.0)),
        ("pixel_size_um", (301.0,), (0.01, 300.0)),
        ("distance_m", (0.0009, 31.0), (0.001, 30.0)),
    ],
)
def test_hardly_possible_geometry(raw_scan: RawScan, key: str, odd, usual):
    raw_scan.write()
    for value in (*odd, *usual):
        opened = open_scan(raw_scan.spec(geometry={key: value}))
        assert any("another unit" in warning for warning in geometry_warnings(opened)) == (value in odd), (
            value
        )


@pytest.mark.parametrize(
    ("factor", "contradicts"), [(1.009, False), (0.991, False), (1.011, True), (0.989, True)]
)
@pytest.mark.parametrize("key", ["energy_kev", "pixel_size_um", "distance_m"])
def test_a_table_may_round_the_files_value_by_one_per_cent(
    raw_scan: RawScan, key: str, factor: float, contradicts: bool
):
    stated = raw_scan.metadata[key]
    assert stated is not None
    opened = open_scan(raw_scan.write().spec(geometry={key: stated * factor}))
    assert any("raw/a/sample_01.h5" in warning for warning in geometry_warnings(opened)) == contradicts


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [("energy_kev", 1.0, 1000.0), ("pixel_size_um", 0.01, 1000.0), ("distance_m", 1e-4, 100.0)],
)
def test_impossible_geometry_of_a_file(raw_scan: RawScan, key: str, least: float, most: float):
    opened = open_scan(raw_scan.write().spec())
    for value, possible in ((least, True), (most, True), (0.99 * least, False), (1.01 * most, False)):
        scan = replace(opened, geometry=replace(opened.geometry, **{key: value}))
        found = sentences(geometry_problems(scan))
        assert bool(found) != possible
        assert all(
            line.startswith(f"raw/a/sample_01.h5, {key}: expected {least:g} to {most:g}") for line in found
        )


def test_counts_that_wrapped_below_zero_are_not_called_saturated():
    frames = np.random.default_rng(1).poisson(200, (2, 20, 30)).astype(np.uint16)
    frames[0, 3, 4:9] = [65530, 65534, 65535, 65533, 65531]
    frames[:, 5, :6] = 0
    (problem,) = frame_problems(frames, "sample frames", "a.h5")
    assert "5 pixels near 65535 beside others near 0: counts that wrapped below zero" in str(problem)


def test_the_highest_pixel_of_a_small_frame_is_not_saturated():
    frames = np.random.default_rng(1).poisson(8000, (4, 1, 60)).astype(np.uint16)
    assert frame_problems(frames, "sample frames", "a.h5") == []


@pytest.mark.parametrize("step", [1, 16])
def test_few_counts_in_the_highest_bits_are_no_saturation(step: int):
    """Darks of a camera with 12 bits, of which three values occur; a clipped image in the same bits is."""
    rng = np.random.default_rng(3)
    darks = (step * rng.integers(39, 42, (4, 24, 40))).astype(np.uint16)
    assert frame_problems(darks, "dark frames", "a.h5", dark=True) == []
    clipped = (step * np.minimum(rng.integers(3000, 3900, (4, 24, 40)), 3600)).astype(np.uint16)
    (problem,) = frame_problems(clipped, "flat frames", "a.h5")
    assert f"at their highest value {3600 * step}" in str(problem)
