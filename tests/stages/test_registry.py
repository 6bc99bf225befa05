"""What a change of a setting makes out of date: the stages that depend on it, and no others."""

from __future__ import annotations

import pytest

from speckleflow.config import ScanConfig
from speckleflow.config.load import keys
from speckleflow.stages.registry import (
    STAGES,
    changed_settings,
    result_settings,
    setting_keys,
    setting_lines,
)

#: stages whose result is made of that of the one before
AFTER = {
    "correct": {"retrieve", "preview"},
    "retrieve": {"integrate", "assemble"},
    "integrate": {"assemble"},
    "assemble": {"reconstruct", "report"},
    "reconstruct": {"volume"},
    "volume": {"export", "report"},
}
TOMOGRAPHY = {"reconstruct", "volume", "export", "report"}
PHASE = {"integrate", "assemble", "preview", *TOMOGRAPHY}
RETRIEVAL = {"retrieve", *PHASE}


def config(**sections) -> ScanConfig:
    """The configuration with these sections; the method is umpa where none is named."""
    retrieval = {"method": "umpa", **sections.get("retrieval", {})}
    return ScanConfig.model_validate({**sections, "retrieval": retrieval})


def repeated(before: ScanConfig, after: ScanConfig) -> set[str]:
    """Stages that run again: whose settings changed, and all that are made of their results."""
    stale = {name for name in STAGES if setting_lines(name, before) != setting_lines(name, after)}
    for name in STAGES:
        if name in stale:
            stale |= AFTER.get(name, set())
    return stale


@pytest.mark.parametrize(
    ("section", "key", "value", "stages"),
    [
        ("geometry", "distance_m", 0.3, {"inspect", *PHASE}),
        ("geometry", "energy_kev", 21.0, {"inspect", *PHASE}),
        ("geometry", "rotation", "clockwise", {"inspect", "assemble", "preview", *TOMOGRAPHY}),
        ("files", "positions", "1-2", {"simulate", "inspect", "correct", *RETRIEVAL}),
        ("correct", "bad_pixel_sigma", 7.0, {"inspect", "correct", *RETRIEVAL}),
        ("correct", "exclude_projections", "3", {"inspect", "correct", *RETRIEVAL}),
        ("correct", "drift", False, {"inspect", *RETRIEVAL}),
        ("retrieval", "umpa", {"window": 7}, RETRIEVAL),
        ("retrieval", "espinnet", {"refiners": True}, set()),
        ("retrieval", "spinnet", {"refine": False}, set()),
        ("integrate", "weights", False, PHASE),
        ("integrate", "ramp", True, PHASE),
        (
            "geometry",
            "diffuser_distance_m",
            0.02,
            {"inspect", "integrate", "assemble", "preview", *TOMOGRAPHY},
        ),
        ("tomography", "axis_px", 30.5, {"assemble", *TOMOGRAPHY}),
        ("tomography", "filter", "hann", TOMOGRAPHY),
        ("tomography", "rings", {"phase": "fft"}, TOMOGRAPHY),
        ("report", "pictures_per_contrast", 3, {"report"}),
        ("execution", "retrieval", {"device": "cuda", "threads": 8, "projections_per_block": 3}, set()),
        ("execution", "tomography", {"device": "cuda", "threads": 8, "rows_per_slab": 3}, set()),
    ],
)
def test_a_changed_setting_repeats_exactly_the_stages_that_depend_on_it(section, key, value, stages):
    assert repeated(config(), config(**{section: {key: value}})) == stages


def test_the_reason_of_a_rerun_is_one_short_line():
    before, after = config(), config(retrieval={"umpa": {"window": 7}})
    one, other = (setting_lines("retrieve", c) for c in (before, after))
    assert (one["umpa.window"], other["umpa.window"]) == ('umpa.window: "auto"', "umpa.window: 7")
    assert {key for key in one if one[key] != other[key]} == {"umpa.window"}
    differ = changed_settings(result_settings("retrieve", before), result_settings("retrieve", after))
    assert differ == 'umpa.window: "auto" -> 7'


def test_another_method_counts_with_its_own_settings_alone():
    lines = setting_lines("retrieve", config(retrieval={"method": "espinnet"}))
    assert lines["retrieval.method"] == 'retrieval.method: "espinnet"'
    assert "espinnet.weights" in lines
    assert not any(key.startswith(("umpa.", "spinnet.")) for key in lines)
    assert set(setting_lines("retrieve", config())) < set(setting_keys("retrieve"))


def test_every_setting_that_is_no_execution_decides_some_result():
    decided = {key for name in STAGES for key in setting_keys(name)}
    short = {key.removeprefix("retrieval.") if key.count(".") > 1 else key for key in keys()}
    # a format more or less leaves the volumes and those in other formats as they are
    missing = {key for key in short if key not in decided and not key.startswith(("execution.", "output"))}
    assert {key for key in missing if not key.startswith(("simulate.", "detector."))} == set()
    assert not any(key.startswith("execution.") for key in decided)
