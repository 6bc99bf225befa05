"""The stages of the workflow, each declared once: what decides its result, and the files that it leaves.

Rules, scripts, ``status``, the report, reruns and provenance read this one place. A setting is named by its key
(``geometry.energy_kev``) or with all others of its section (``integrate``); of the retrieval methods' own settings
only those of the chosen method count, under the method's name (``umpa.window``). What a method does not read decides
nothing: geometry decides the retrieval of a method that declares it; of a method that gives the phase itself, the
settings of the integration do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speckleflow.config import ScanConfig
from speckleflow.retrieval.registry import specs
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.scan.acquisition import CONFIG_KEYS


@dataclass(frozen=True)
class Stage:
    """One stage of the way from raw files to volumes.

    Attributes
    ----------
    settings : keys and sections of the configuration that decide its result, and so when it is made again.
    output : what it leaves, below the results folder of the scan.
    packages : distributions whose versions its provenance names, beside speckleflow, numpy and h5py.
    """

    name: str
    settings: tuple[str, ...]
    output: str
    packages: tuple[str, ...] = ()


_GEOMETRY = ("energy_kev", "pixel_size_um", "distance_m", "magnification", "diffuser_distance_m")
#: what decides which frames of which files are which projection
_FRAMES = (
    "files",
    "geometry.axis",
    "geometry.angles",
    "correct.exclude_projections",
    "correct.bad_frames",
    "correct.bad_frames_limit",
)
_RETRIEVE = (*_FRAMES, "correct", "retrieval")
#: keys that say how a displacement is integrated
_OF_INTEGRATION = ("integrate.boundary", "integrate.weights")

#: in the order of the data's way
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("simulate", ("simulate", "files"), "truth.h5"),
        Stage(
            "inspect",
            (
                "files",
                "geometry",
                "correct",
                "retrieval.method",
                "retrieval.refine",
                "tomography.enabled",
                "tomography.offset_axis",
                "tomography.turn_deg",
            ),
            "manifest.json",
        ),
        Stage(
            "correct",
            (
                *_FRAMES,
                "correct.bad_pixel_sigma",
                "correct.mask",
                "correct.fill_fraction",
                "correct.fill_px",
                "correct.saturation_level",
                "correct.flux",
                "correct.flat_scale",
                "correct.flats",
                "correct.air_px",
                "correct.references",
                "correct.reference_places",
            ),
            "corrected.h5",
            ("scipy",),
        ),
        Stage("retrieve", _RETRIEVE, "fields/block_*.h5", ("scipy", "torch")),
        Stage(
            "integrate",
            ("integrate", *(f"geometry.{key}" for key in _GEOMETRY)),
            "phase/block_*.h5",
            ("scipy",),
        ),
        Stage(
            "assemble",
            (
                "geometry",
                "tomography.enabled",
                "tomography.axis_px",
                "tomography.axis_contrast",
                "tomography.axis_tilt_deg",
                "tomography.align",
                "tomography.offset_axis",
                "tomography.turn_deg",
            ),
            "projections.h5",
            ("scipy", "finufft"),
        ),
        Stage(
            "reconstruct",
            ("tomography",),
            "slabs/slab_*.h5",
            ("scipy", "finufft", "astra-toolbox", "tomopy", "algotom"),
        ),
        Stage("volume", ("tomography.split",), "volumes.h5"),
        Stage("export", (), "*/export.json", ("zarr", "tifffile")),
        Stage("film", (), "films/[!.]*", ("pillow", "imageio-ffmpeg")),
        Stage(
            "report",
            ("files", "geometry", "correct", "retrieval", "integrate", "tomography", "simulate", "report"),
            "report.html",
        ),
        Stage("preview", (*_RETRIEVE, "integrate", "geometry"), "preview.png", ("scipy", "torch")),
    )
}


def result_settings(stage: str, config: ScanConfig) -> dict[str, Any]:
    """Key and value of every setting that decides a stage's result."""
    method = config.retrieval.spec
    return {
        _short(key): value
        for key, value in _leaves(config.model_dump(mode="json")).items()
        if _decides(stage, key, method) and _method_of(key) in (None, method.name)
        if config.retrieval.refine != "none" or not key.startswith("retrieval.refine_")
    }


def setting_lines(stage: str, config: ScanConfig) -> dict[str, str]:
    """'key: value' of every setting that decides a stage's result: what Snakemake compares and shows."""
    return {key: f"{key}: {json.dumps(value)}" for key, value in result_settings(stage, config).items()}


def setting_keys(stage: str) -> list[str]:
    """Every key that decides a stage's result for one retrieval method or another."""
    keys = _leaves(ScanConfig().model_dump(mode="json"))
    return [_short(key) for key in keys if any(_decides(stage, key, spec) for spec in specs().values())]


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two sets of settings: 'umpa.window: 5 -> "auto"', one after the other."""
    keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return ", ".join(f"{key}: {json.dumps(before.get(key))} -> {json.dumps(now.get(key))}" for key in keys)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _decides(stage: str, key: str, method: MethodSpec) -> bool:
    """Whether a key decides a stage's result where the retrieval method is this one."""
    settings = STAGES[stage].settings
    if "retrieval" in settings and any(key in CONFIG_KEYS[entry] for entry in method.acquisition):
        return True
    if method.gives_phase and key in _OF_INTEGRATION:
        return False
    return any(key == setting or key.startswith(f"{setting}.") for setting in settings)


def _method_of(key: str) -> str | None:
    """The retrieval method that a key belongs to."""
    parts = key.split(".")
    return parts[1] if parts[0] == "retrieval" and len(parts) > 2 else None


def _short(key: str) -> str:
    return key.removeprefix("retrieval.") if _method_of(key) else key
