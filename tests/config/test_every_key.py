"""Every key of a scan's configuration has an effect, on the stages that depend on it and on no others.

The keys come from the schema. For each the table below gives another value, what else must be set for it to count,
and the stages whose numbers change when each stage runs on the inputs of an unchanged run. A key that is missing in
the table fails, and so does one without an effect.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
from tests.raw_scan import RawScan

from speckleflow.config import ScanConfig
from speckleflow.config.load import keys
from speckleflow.inspect import inspect_scan
from speckleflow.retrieval.espinnet import published
from speckleflow.simulate.beamtime import simulate_scan
from speckleflow.stages import report
from speckleflow.stages.assemble import assemble_projections
from speckleflow.stages.correct import correct
from speckleflow.stages.integrate import integrate_block
from speckleflow.stages.reconstruct import reconstruct_slab
from speckleflow.stages.retrieve import retrieve_block
from speckleflow.train.checkpoint import save_weights
from speckleflow.weights import SHIPPED
from speckleflow.workflow.plan import plan_scan

NAME, PROJECTIONS, SIZE, AXIS = "a", 6, (24, 48), 22.3
Digest = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Another value of a key, the stages whose numbers change with it, and what it needs beside it."""

    value: Any
    stages: set[str]
    given: dict[str, Any] = field(default_factory=dict)


SIMULATED = {
    "columns": 32,
    "rows": 16,
    "projections": 3,
    "positions": 2,
    "enabled": True,
    "phantom": "sphere",
}
SIMULATED |= {"detector": {"flats": 2, "darks": 2, "references": 2}}
#: a raw scan has been read again: what it is, and all that is made of its frames
READ = {"inspect", "correct", "retrieve"}
RANGE = {"geometry": {"angles": "range"}}
GEOMETRY = {"inspect", "retrieve"}  # retrieve hands the geometry on with its fields
ESPINNET, SPINNET = {"retrieval": {"method": "espinnet"}}, {"retrieval": {"method": "spinnet"}}
ONE = {"files": {"positions": "2"}, **SPINNET}
PUBLISHED = {"retrieval": {"method": "espinnet", "espinnet": {"weights": "published.safetensors"}}}

CASES: dict[str, Case] = {
    # both formats are in the files; the frames of the NXtomo entry are others
    "files.format": Case("nxtomo", {"inspect", "correct", "retrieve"}),
    "files.sample": Case("raw/b/sample_{position:02d}.h5", READ),
    "files.reference": Case("raw/b/reference_{position:02d}.h5", {"inspect", "correct"}),
    "files.flat": Case("flat.tif", {"inspect", "correct"}),
    "files.dark": Case("subtracted", {"inspect", "correct"}),
    "files.positions": Case("3,1,2", READ),
    "files.sample_dataset": Case("/other/data", READ),
    "files.reference_dataset": Case("flats", {"inspect", "correct"}),
    "files.flat_dataset": Case("/other/white", {"inspect", "correct"}),
    "files.dark_dataset": Case("/other/dark", {"inspect", "correct"}),
    "files.angles_dataset": Case("/other/theta", GEOMETRY),
    "geometry.energy_kev": Case(31.0, GEOMETRY),
    "geometry.pixel_size_um": Case(2.1, GEOMETRY),
    "geometry.distance_m": Case(0.7, GEOMETRY),
    "geometry.magnification": Case(1.7, GEOMETRY),
    "geometry.angles": Case("range", GEOMETRY),
    "geometry.angle_start_deg": Case(10.0, GEOMETRY, RANGE),
    "geometry.angle_stop_deg": Case(170.0, GEOMETRY, RANGE),
    "geometry.angle_inclusive": Case(True, GEOMETRY, RANGE),
    "geometry.angles_unit": Case("rad", GEOMETRY),
    "geometry.rotation": Case("clockwise", GEOMETRY),
    "correct.bad_pixel_sigma": Case(1e4, {"correct"}),
    "correct.mask": Case("mask.npy", {"correct"}),
    "correct.flux": Case("none", {"correct"}),
    "correct.air_px": Case([5, 3, 2, 1], {"correct"}),
    "correct.drift": Case(False, {"retrieve"}),
    "retrieval.method": Case("absorption", {"inspect", "retrieve", "plan"}),
    "retrieval.umpa.window": Case(7, {"retrieve"}),
    "retrieval.umpa.max_displacement_px": Case(0.01, {"retrieve"}),
    "retrieval.umpa.detector_blur_px": Case(1.5, {"retrieve"}),
    "retrieval.espinnet.weights": Case("other.safetensors", {"retrieve"}, ESPINNET),
    "retrieval.espinnet.refine": Case(False, {"retrieve"}, ESPINNET),
    "retrieval.espinnet.detector_blur_px": Case(1.5, {"retrieve"}, ESPINNET),
    "retrieval.espinnet.precision": Case("bfloat16", {"retrieve"}, ESPINNET),
    "retrieval.espinnet.scaling": Case("linear", {"retrieve"}, PUBLISHED),
    "retrieval.espinnet.refiners": Case(True, {"retrieve"}, PUBLISHED),
    "retrieval.spinnet.weights": Case("other-spinnet.safetensors", {"retrieve"}, ONE),
    "retrieval.spinnet.refine": Case(False, {"retrieve"}, ONE),
    "retrieval.spinnet.detector_blur_px": Case(1.5, {"retrieve"}, ONE),
    "retrieval.spinnet.precision": Case("bfloat16", {"retrieve"}, ONE),
    "retrieval.projections_per_block": Case(2, {"plan"}),
    "retrieval.device": Case("cuda", {"plan"}),
    "integrate.boundary": Case("periodic", {"integrate"}),
    "integrate.ramp": Case(True, {"integrate"}),
    "integrate.weights": Case(False, {"integrate"}),
    "tomography.enabled": Case("no", {"plan"}),
    "tomography.axis_px": Case(24.7, {"assemble"}, {"tomography": {"axis_px": AXIS}}),
    "tomography.offset_axis": Case(True, {"inspect", "reconstruct"}),
    "tomography.backend": Case("astra", {"reconstruct", "plan"}),
    "tomography.filter": Case("parzen", {"reconstruct"}),
    "tomography.ring_window_px": Case(9, {"reconstruct"}),
    "tomography.rows_per_slab": Case(5, {"plan"}),
    "tomography.device": Case("cuda", {"plan"}),
    "report.pictures_per_contrast": Case(4, {"report"}),
}
#: (another value, file or kind of number that it changes)
SIMULATE: dict[str, Any] = {
    "enabled": None,  # below: the plan takes the shape from the settings
    "phantom": "foam",
    "columns": 34,
    "rows": 17,
    "projections": 4,
    "positions": 3,
    "energy_kev": 31.0,
    "pixel_size_um": 7.5,
    "distance_m": 0.7,
    "modulator": "sandpaper",
    "pitch_um": 40.0,
    "visibility": 0.15,
    "source_blur_um": 6.0,
    "trajectory": "grid",
    "model": "wave",
    "axis_offset_px": -1.4,
    "drift_px": 1.5,
    "detector.photons": 900.0,
    "detector.gain": 2.0,
    "detector.read_noise_counts": 30.0,
    "detector.dark_counts": 300.0,
    "detector.blur_px": 1.5,
    "detector.hot_pixels": 40,
    "detector.dead_pixels": 40,
    "detector.flux_drift": 0.3,
    "detector.flats": 3,
    "detector.darks": 3,
    "detector.references": 3,
    "seed": 2,
}


def settings(*sections: dict[str, Any]) -> ScanConfig:
    """A configuration of sections laid over each other."""
    whole: dict[str, Any] = {}
    for section in sections:
        _lay(whole, copy.deepcopy(section))
    return ScanConfig.model_validate(whole)


def _lay(onto: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            _lay(onto[key], value)
        else:
            onto[key] = value


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Raw files, two formats in each, and the results of every stage."""
    root = tmp_path_factory.mktemp("keys")
    scan = RawScan(root, projections=PROJECTIONS, size=SIZE)
    scan.angles_deg = np.array([5.0, 60, 130, 185, 245, 303])
    rng = np.random.default_rng(5)
    for n in range(scan.positions):
        scan.angles[f"sample_{n + 1:02d}"] = scan.angles_deg
        hot = scan.darks[f"reference_{n + 1:02d}"]
        hot[:, 4, 7] += 3000  # a bad pixel for correct.bad_pixel_sigma to find or to let pass
        scan.darks[f"sample_{n + 1:02d}"][:, 4, 7] += 3000
        scan.flats[f"sample_{n + 1:02d}"] -= (4000 * rng.random((1, *SIZE))).astype(np.uint16)
    scan.write()
    shutil.copytree(root / "raw/a", root / "raw/b")
    for name in scan.frames:
        _add_other_datasets(scan, name)
        with h5py.File(root / f"raw/b/{name}.h5", "r+") as file:
            file["exchange/data"][...] = dimmed(scan.frames[name], 0.9)
    tifffile.imwrite(root / "flat.tif", dimmed(scan.flats["sample_01"], 0.8))
    mask = np.zeros(SIZE, np.uint8)
    mask[10, 20] = 1
    np.save(root / "mask.npy", mask)
    torch.manual_seed(3)
    save_weights(published.Espinnet(), root / "published.safetensors", {"network": "espinnet"})
    for method, target in (("espinnet", "other"), ("spinnet", "other-spinnet")):
        _other_weights(method, root / f"{target}.safetensors")
    return root, Stages(root / "results").run_all(root)


def dimmed(frames, factor: float):
    return (frames * factor).astype(frames.dtype)


def _add_other_datasets(scan: RawScan, name: str) -> None:
    """Frames, flats, darks and angles under other names, and the same as an NXtomo entry; all differ a little."""
    frames, flats, darks = (
        dimmed(stack[name], f) for stack, f in ((scan.frames, 0.95), (scan.flats, 0.9), (scan.darks, 0.85))
    )
    angles = scan.angles[name]
    with h5py.File(scan.path(name), "r+") as file:
        file["other/data"], file["other/white"], file["other/dark"] = frames, flats, darks
        if angles is not None:
            file["other/theta"] = angles + 3
        entry = file.create_group("entry")
        entry["definition"] = "NXtomo"
        entry["instrument/detector/data"] = np.concatenate([darks, flats, frames])
        entry["instrument/detector/image_key"] = np.repeat([2, 1, 0], [len(darks), len(flats), len(frames)])
        entry["sample/rotation_angle"] = np.concatenate(
            [np.zeros(len(darks) + len(flats)), np.zeros(len(frames)) if angles is None else angles]
        )
        for key, value, unit in (
            ("instrument/detector/x_pixel_size", 1.3, "um"),
            ("instrument/detector/distance", 0.2, "m"),
            ("instrument/beam/incident_energy", 20.0, "keV"),
        ):
            entry[key] = value
            entry[key].attrs["units"] = unit


def _other_weights(method: str, target: Path) -> None:
    """The shipped weights, each a little larger, under the same header."""
    from safetensors.torch import load_file, save_file

    from speckleflow import weights
    from speckleflow.retrieval.espinnet.weights import about

    source = Path(weights.__file__).with_name(SHIPPED[method])
    tensors = {key: value * 1.02 for key, value in load_file(source).items()}
    save_file(tensors, target, metadata=about(source))


def numbers(path: Path) -> Digest:
    """Hash of every dataset of a file, and of its numeric attributes; text only repeats the settings."""
    found: Digest = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if name.startswith("provenance"):
            return
        if isinstance(item, h5py.Dataset):
            found[name] = hashlib.sha256(np.ascontiguousarray(item[()]).tobytes()).hexdigest()
        for key, value in item.attrs.items():
            if np.asarray(value).dtype.kind in "fiub":
                found[f"{name}@{key}"] = repr(np.asarray(value).tolist())

    with h5py.File(path) as file:
        add("/", file)
        file.visititems(add)
    return found


class Stages:
    """Each stage as its function, on the raw files of a folder and the results in another."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def path(self, name: str) -> Path:
        return self.results / f"{name}.h5"

    def inspect(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        found = asdict(inspect_scan(config, NAME, root))
        return {key: json.dumps(value, default=str) for key, value in found.items()}

    def correct(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        correct(config, NAME, target, root)
        return numbers(target)

    def retrieve(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        return self.retrieve_some(config, root, target, self.path("correct"), (1, 3))

    def retrieve_some(
        self, config: ScanConfig, root: Path, target: Path, corrected: Path, projections: tuple[int, int]
    ) -> Digest:
        retrieve_block(
            config, NAME, corrected=corrected, projections=projections, output=target, threads=1, root=root
        )
        return numbers(target)

    def integrate(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        integrate_block(config, fields=self.path("retrieve"), output=target)
        return numbers(target)

    def assemble(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        assemble_projections(
            config, fields=[self.path("retrieve")], phases=[self.path("integrate")], output=target,
            tomographic=True,
        )  # fmt: skip
        return numbers(target)

    def reconstruct(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        reconstruct_slab(config, projections=self.path("assemble"), rows=(3, 9), output=target, threads=1)
        return numbers(target)

    def plan(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        return {key: repr(value) for key, value in asdict(plan_scan(config, NAME, root)).items()}

    def report(self, config: ScanConfig, root: Path, target: Path) -> Digest:
        page = target.with_suffix(".html")
        report.report_scan(
            config, NAME, corrected=self.path("correct"), projections=self.path("assemble"), volumes=None,
            truth=None, timings=target.parent, html=page, summary=target.with_suffix(".json"),
            picture=target.with_suffix(".png"),
        )  # fmt: skip
        return {"pictures": str(page.read_text().count("<img"))}

    def run_all(self, root: Path) -> Stages:
        config = settings({"tomography": {"axis_px": AXIS}})
        self.correct(config, root, self.path("correct"))
        whole = (0, PROJECTIONS)
        self.retrieve_some(config, root, self.path("retrieve"), self.path("correct"), whole)
        for name in ("integrate", "assemble"):
            getattr(self, name)(config, root, self.path(name))
        return self


#: Stages that are tried with each key. Retrieval and report, which cost most, only with sections that they could read.
CHEAP = ("inspect", "correct", "integrate", "assemble", "reconstruct", "plan")


def tried(key: str) -> tuple[str, ...]:
    section = key.split(".")[0]
    if section == "report":
        return (*CHEAP, "report")
    return CHEAP if section in ("integrate", "tomography") else (*CHEAP, "retrieve")


@pytest.fixture(scope="module")
def results_of(base) -> Callable[[str, str, str], Digest]:
    """Numbers of a stage under settings (as JSON), each made once."""
    root, stages = base

    @cache
    def corrected(given: str) -> Path:
        target = stages.results / f"corrected-{hashlib.sha256(given.encode()).hexdigest()[:8]}.h5"
        stages.correct(settings(json.loads(given)), root, target)
        return target

    @cache
    def made(stage: str, given: str, sections: str) -> Digest:
        config = settings(json.loads(sections))
        target = stages.results / f"tried-{hashlib.sha256((stage + sections).encode()).hexdigest()[:8]}.h5"
        if stage == "retrieve":  # on what correction made of the unchanged settings
            return stages.retrieve_some(config, root, target, corrected(given), (1, 3))
        return getattr(stages, stage)(config, root, target)

    return made


@pytest.mark.parametrize("key", CASES)
def test_a_key_changes_the_stages_that_depend_on_it_and_no_others(base, results_of, monkeypatch, key):
    root, _ = base
    monkeypatch.chdir(root)  # weights are named from the working folder
    case = CASES[key]
    usual: dict[str, Any] = copy.deepcopy(case.given)
    if key != "tomography.axis_px":
        _lay(usual, {"tomography": {"axis_px": AXIS}})
    changed = copy.deepcopy(usual)
    _lay(changed, nested(key, case.value))
    assert settings(usual) != settings(changed)
    before, after = json.dumps(usual), json.dumps(changed)
    different = {
        stage for stage in tried(key) if results_of(stage, before, before) != results_of(stage, before, after)
    }
    assert different == case.stages


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Callable[[str], Digest]:
    """Numbers of all files of a simulated scan, under settings (as JSON)."""

    @cache
    def made(sections: str) -> Digest:
        root = tmp_path_factory.mktemp("simulated")
        files = simulate_scan(settings(json.loads(sections)), NAME, root / "truth.h5", root)
        return {f"{path.name} {key}": value for path in files for key, value in numbers(path).items()}

    return made


@pytest.mark.parametrize("key", [key for key in SIMULATE if key != "enabled"])
def test_a_key_of_the_simulation_changes_its_files(simulated, key):
    usual: dict[str, Any] = {"simulate": SIMULATED}
    changed = copy.deepcopy(usual)
    _lay(changed, nested(f"simulate.{key}", SIMULATE[key]))
    assert simulated(json.dumps(usual)) != simulated(json.dumps(changed))


def test_a_simulated_scan_is_planned_from_its_settings(base):
    """The raw files have 6 projections of 24 x 48 pixels, the simulation 3 of 16 x 32."""
    root, _ = base
    plans = [
        plan_scan(settings({"simulate": {**SIMULATED, "enabled": on}}), NAME, root) for on in (False, True)
    ]
    assert [(p.projections, p.rows, p.columns) for p in plans] == [(6, 24, 48), (3, 16, 32)]


#: keys that only Snakemake reads: tests/workflow looks at the plan that it prints
OF_THE_WORKFLOW = {"retrieval.threads", "tomography.threads"}


def test_every_key_is_tried():
    assert set(keys()) == {*CASES, *(f"simulate.{key}" for key in SIMULATE), *OF_THE_WORKFLOW}
