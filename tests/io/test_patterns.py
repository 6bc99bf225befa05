"""Patterns name files and find them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speckleflow.errors import ConfigError
from speckleflow.io.patterns import Pattern, parse_positions


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("raw/{scan}/s_{position:02d}.h5", "raw/a.b/s_07.h5"),
        ("{scan}_{position}.tif", "a.b_7.tif"),
        ("{position:04d}/{scan}.tif", "0007/a.b.tif"),
        ("x_{position-1:04d}.nxs", "x_0006.nxs"),
        ("{scan}.h5", "a.b.h5"),
    ],
)
def test_fill_and_find(tmp_path: Path, text: str, name: str):
    pattern = Pattern(text, "files.sample")
    assert pattern.fill("a.b", 7) == name
    touch(tmp_path, name)
    assert pattern.has_position == ("position" in text)
    if pattern.has_position:
        assert pattern.find("a.b", tmp_path) == [7]
        assert pattern.find("aXb", tmp_path) == ([] if "{scan}" in text else [7])


def test_find_takes_only_what_fill_would_give(tmp_path: Path):
    pattern = Pattern("raw/{scan}/s_{position:02d}.h5", "files.sample")
    touch(tmp_path, *(f"raw/a/s_{n}.h5" for n in ("01", "12", "120", "3", "007", "x4", "05.bak")))
    touch(tmp_path, "raw/b/s_09.h5")
    assert pattern.find("a", tmp_path) == [1, 12, 120]


def test_find_with_wildcards_above_and_absolute(tmp_path: Path):
    touch(tmp_path, *(f"raw/pos{n}/frame_{i}.tif" for n in (1, 2) for i in range(3)))
    assert Pattern("raw/pos{position}/*.tif", "k").find("a", tmp_path) == [1, 2]
    assert Pattern(f"{tmp_path}/raw/pos{{position}}", "k").find("a", Path("/nowhere")) == [1, 2]
    (tmp_path / "project").mkdir()
    assert Pattern("../raw/pos{position}", "k").find("a", tmp_path / "project") == [1, 2]
    assert Pattern("./raw//pos{position}", "k").find("a", tmp_path) == [1, 2]


def test_the_same_number_twice_must_agree(tmp_path: Path):
    touch(tmp_path, "p1/f_01.h5", "p1/f_02.h5", "p3/f_03.h5")
    assert Pattern("p{position}/f_{position:02d}.h5", "k").find("a", tmp_path) == [1, 3]


@pytest.mark.parametrize("text", ["s_{n}.h5", "s_{position:.2f}.h5", "{Scan}.h5", "s_{position.h5"])
def test_other_fields_are_refused(text: str):
    with pytest.raises(ConfigError, match=r"files.sample: expected only \{scan\} and \{position\}"):
        Pattern(text, "files.sample")


@given(st.lists(st.integers(0, 9999), unique=True, max_size=12), st.sampled_from(["", ":d", ":02d", ":04d"]))
def test_find_is_the_inverse_of_fill(tmp_path_factory, positions: list[int], spec: str):
    root = tmp_path_factory.mktemp("p")
    pattern = Pattern(f"a_{{position{spec}}}_b.h5", "k")
    touch(root, *(pattern.fill("", n) for n in positions))
    assert pattern.find("", root) == sorted(positions)


def test_positions():
    assert parse_positions("1-13") == list(range(1, 14))
    assert parse_positions("1, 2,5-8") == [1, 2, 5, 6, 7, 8]
    assert parse_positions("101,103") == [101, 103]


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "1-2-3", "1,1", "-3"])
def test_positions_that_are_none(text: str):
    with pytest.raises(ConfigError, match=r"files\.positions: expected"):
        parse_positions(text)


@pytest.mark.parametrize("text", ["1-100001", "1-60000,70000-110001", "1-99999999", "0-9999999999999999999"])
def test_more_positions_than_a_scan_can_have(text: str):
    with pytest.raises(ConfigError, match=r"files\.positions: expected"):
        parse_positions(text)


@pytest.mark.parametrize(
    "text", ["x_{position:021d}.h5", "x_{position:09999999999d}.h5", "raw/**/x_{position}"]
)
def test_patterns_that_would_never_end(text: str):
    with pytest.raises(ConfigError, match=r"files\.sample: expected (at most 20 digits|no '\*\*')"):
        Pattern(text, "files.sample")
    assert Pattern("x_{position:020d}.h5", "files.sample").fill("a", 7) == "x_" + 19 * "0" + "7.h5"
