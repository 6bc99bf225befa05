"""Reading a configuration: overrides by the scan table, refusals that name the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from speckleflow.config import load_config, load_scans, parse_config
from speckleflow.config.load import keys
from speckleflow.config.models import ScanConfig
from speckleflow.errors import ConfigError


def write(tmp_path, table: str, **sections):
    (tmp_path / "scans.tsv").write_text(table)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"scans": str(tmp_path / "scans.tsv"), **sections}))
    return load_config(config)


def test_a_row_overrides_the_file_and_an_empty_cell_does_not(tmp_path):
    config = write(
        tmp_path,
        "scan\tenergy_kev\tretrieval.umpa.window\n# a comment\na\t17.5\t9\nb\t\tauto\n",
        geometry={"energy_kev": 20},
        retrieval={"method": "umpa", "umpa": {"window": 5}},
    )
    scans = load_scans(config)
    assert (scans["a"].geometry.energy_kev, scans["a"].retrieval.umpa.window) == (17.5, 9)
    assert (scans["b"].geometry.energy_kev, scans["b"].retrieval.umpa.window) == (20, "auto")


def test_a_bare_column_means_the_measured_geometry_not_the_simulated(tmp_path):
    scans = load_scans(write(tmp_path, "scan\tdistance_m\na\t0.7\n"))
    assert scans["a"].geometry.distance_m == 0.7
    assert scans["a"].simulate == ScanConfig().simulate


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"retreival": {}}, ["unknown key 'retreival'", "did you mean 'retrieval'"]),
        ({"retrieval": {"methd": "umpa"}}, ["'retrieval.methd'", "did you mean 'method'"]),
        ({"geometry": {"energy_kev": -3}}, ["geometry.energy_kev", "greater than 0", "-3"]),
        ({"geometry": {"energy_kev": "hot"}}, ["geometry.energy_kev", "'hot'"]),
        ({"retrieval": {"umpa": {"window": 6}}}, ["window must be odd", "6"]),
        (
            {"retrieval": {"espinnet": {"polish": False}}},
            ["unknown key 'retrieval.espinnet.polish'", "it is 'retrieval.espinnet.refine' now"],
        ),
        ({"retrieval": "umpa"}, ["expected keys under 'retrieval'", "'umpa'"]),
        ({"correct": {"air_px": [1, 2]}}, ["correct.air_px"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(raw, says):
    with pytest.raises(ConfigError) as refused:
        parse_config(raw, "mine.yaml")
    for part in ["mine.yaml", *says]:
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("scan\n", ["at least one scan"]),
        ("name\na\n", ["columns between tabs, one of them 'scan'", "name"]),
        ("scan|energy_kev\na|20\n", ["columns between tabs", "found 'scan|energy_kev'"]),
        (
            "scan\tenergy_kev\tgeometry.energy_kev\na\t1\t2\n",
            ["each column once", "found 2 for 'energy_kev'"],
        ),
        ("scan\tenergy_kev\na\t20000\n", ["line 2", "1 to 1000 keV", "in eV?", "found 20000 keV"]),
        ("scan\tenergy_kev\na\t20,5\n", ["line 2", "geometry.energy_kev", "'20,5'"]),
        ("scan\tenergy_kv\na\t20\n", ["unknown column 'energy_kv'", "energy_kev"]),
        ("scan\tretrieval.espinnet.polish\na\tno\n", ["it is 'retrieval.espinnet.refine' now"]),
        ("scan\na\na\n", ["line 3", "'a' again"]),
        ("scan\n../a\n", ["line 2", "../a"]),
        ("scan\tenergy_kev\na\t20\t30\n", ["line 2", "expected 2 columns, found 3"]),
        ("scan\tenergy_kev\na\t-1\n", ["line 2", "geometry.energy_kev", "-1"]),
        ("scan\treference\na\tnull\n", []),
    ],
)
def test_a_scan_table_that_cannot_be_used(tmp_path, table, says):
    config = write(tmp_path, table)
    if not says:  # YAML's null in a cell is a value: no reference, refused only by the coupled check below
        with pytest.raises(ConfigError, match="'absorption'"):
            load_scans(config)
        return
    with pytest.raises(ConfigError) as refused:
        load_scans(config)
    for part in ["scans.tsv", *says]:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    "table",
    [
        b"scan\tenergy_kev\r\na\t20\r\n\r\n   \r\n",
        b"\xef\xbb\xbfscan\tenergy_kev\na\t20\n",
        b"scan\tenergy_kev\t\t\na\t20\t\t\n\t\t\n",
        b'# what a spreadsheet makes of it\nscan\tenergy_kev\n"a"\t"20"\n',
        b'"scan"\t"energy_kev"\n"a"\t"20"\n',
        b"scan,energy_kev\na,20\n",
        b"scan;energy_kev\na;20\n",
        b"scan\tcomment\tenergy_kev\tnote.beam\na\tslipped: twice\t20\t[x\n",
    ],
    ids=[
        "windows",
        "byte order mark",
        "trailing tabs",
        "quotes",
        "quoted header",
        "commas",
        "semicolons",
        "columns of the user's own",
    ],
)
def test_scan_tables_as_spreadsheets_save_them(tmp_path, table):
    config = write(tmp_path, "")
    Path(config.scans).write_bytes(table)
    assert load_scans(config)["a"].geometry.energy_kev == 20


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_sheet_in_another_encoding(tmp_path, encoding):
    config = write(tmp_path, "")
    Path(config.scans).write_bytes("scan\n# Zähne\na\n".encode(encoding))
    with pytest.raises(ConfigError, match=r"another encoding .* save it as UTF-8"):
        load_scans(config)


def test_yes_and_no_mean_what_they_say(tmp_path):
    """YAML reads them as true and false."""
    scans = load_scans(write(tmp_path, "scan\ttomography.enabled\na\tno\nb\tyes\nc\tauto\n"))
    assert [scan.tomography.enabled for scan in scans.values()] == ["no", "yes", "auto"]


def test_a_key_twice_in_the_file(tmp_path):
    (tmp_path / "twice.yaml").write_text("geometry:\n  energy_kev: 20\n  energy_kev: 30\n")
    with pytest.raises(ConfigError, match="the key 'energy_kev' 2 times in line 2"):
        load_config(tmp_path / "twice.yaml")


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        (
            {"tomography": {"offset_axis": True}, "geometry": {"angles": "range", "angle_stop_deg": 180}},
            "360-degree",
        ),
        ({"simulate": {"enabled": True, "pitch_um": 1.0, "pixel_size_um": 1.3}}, "at least two pixels"),
        ({"simulate": {"enabled": True}, "geometry": {"energy_kev": 11}}, "contradicts"),
        ({"files": {"reference": None}}, "must be 'absorption'"),
    ],
)
def test_keys_that_contradict_each_other(tmp_path, sections, says):
    with pytest.raises(ConfigError, match=says):
        load_scans(write(tmp_path, "scan\na\n", **sections))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: expected a configuration file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1, 2")
    with pytest.raises(ConfigError, match=r"bad\.yaml: expected YAML"):
        load_config(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    "key",
    [
        "retrieval.device",
        "retrieval.threads",
        "retrieval.projections_per_block",
        "tomography.device",
        "tomography.threads",
        "tomography.rows_per_slab",
    ],
)
def test_an_execution_key_of_earlier_versions_is_refused_with_its_new_name(tmp_path, key):
    section, name = key.split(".")
    new = f"it is 'execution.{section}.{name}' now"
    with pytest.raises(ConfigError, match=f"unknown key '{key}'; {new}"):
        write(tmp_path, "scan\na\n", **{section: {name: 2}})
    with pytest.raises(ConfigError, match=f"unknown column '{key}'; {new}"):
        load_scans(write(tmp_path, f"scan\t{key}\na\t2\n"))
    assert f"execution.{section}.{name}" in keys()


@pytest.mark.parametrize("text", ["3", "3,17-19", "0, 5-7", 4])
def test_excluded_projections_are_numbers_and_ranges(text):
    scan = ScanConfig.model_validate({"correct": {"exclude_projections": text}})
    assert scan.correct.exclude_projections == str(text)


@pytest.mark.parametrize("text", ["", "-3", "3-", "a", True, [3], "1.5"])
def test_other_words_for_excluded_projections_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="expected numbers and ranges such as '3,17-19'"):
        write(tmp_path, "scan\na\n", correct={"exclude_projections": text})
