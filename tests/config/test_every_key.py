"""Every key of a scan's configuration has an effect, and a stage that reads a key is made again when it changes.

The keys come from the schema. For each the table gives another value, the stage where it acts, and what else must be
set for it to count: the numbers of that stage must change. What a stage reads is recorded: nothing but what the
registry says of it, and how it computes. A key without an entry, without an effect or unknown to its stage fails.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
import tifffile
import torch
from tests.raw_scan import RawScan
from tests.tomo.ellipses import Ellipse, sinogram

from speckleflow.config import ScanConfig
from speckleflow.config.load import keys
from speckleflow.config.models import Section
from speckleflow.errors import SpeckleflowError
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.registry import STAGES, result_settings, setting_keys
from speckleflow.weights import SHIPPED

NAME, PROJECTIONS, SIZE, AXIS = "a", 5, (24, 40), 18.3
Digest = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Another value of a key, the stage whose numbers change with it, and what it needs beside it."""

    value: Any
    stage: str
    given: dict[str, Any] = field(default_factory=dict)


RANGE = {"geometry": {"angles": "range"}}
#: a rotation that goes on: the angles of the files leave large gaps
STEADY = {"angles": "range", "angle_stop_deg": 720.0}
TIME = {"geometry": {"axis": "time", "frame_s": 0.05}}
LCS = {"retrieval": {"method": "lcs"}}
ESPINNET = {"retrieval": {"method": "espinnet"}}


def single(method: str) -> dict[str, Any]:
    """Settings of a method for one diffuser position."""
    return {"files": {"positions": "2"}, "retrieval": {"method": method}}


ONE = single("spinnet")
CADE = single("cade")
DOUBLE = single("double_exposure")
DOUBLE["retrieval"]["double_exposure"] = {"weights": "double.safetensors"}
#: wave optics, a few iterations of it
WAVE = {"retrieval": {"refine": "wave"}}
PWF = {"retrieval": {"method": "pwf", "pwf": {"iterations": 12}}}
PUBLISHED = {"retrieval": {"method": "espinnet", "espinnet": {"weights": "published.safetensors"}}}
#: files with frames and angles alone, which do not name their axes; of those in raw/c the last frame was never written
BARE: dict[str, Any] = {
    "files": {
        "sample": "raw/d/sample_{position:02d}.h5",
        "reference": "raw/d/reference_{position:02d}.h5",
        "dark": "subtracted",
    },
    "geometry": {"energy_kev": 20.0, "pixel_size_um": 1.3, "distance_m": 0.2},
}
LOST = {**BARE, "files": {**BARE["files"], "sample": "raw/c/sample_{position:02d}.h5"}}
ALONE = {
    **BARE,
    "files": {**BARE["files"], "reference": None, "flat": "divided"},
    "retrieval": {"method": "absorption"},
}
#: a frame of one position is the one before it once more
STUCK = {"files": {"sample": "raw/f/sample_{position:02d}.h5"}}
#: the whole way is short without displacements
BY_HAND = {"tomography": {"axis_px": AXIS}, "retrieval": {"method": "absorption"}}
SIMULATED = {
    "enabled": True,
    "phantom": "sphere",
    "columns": 32,
    "rows": 16,
    "projections": 2,
    "positions": 2,
}
SIMULATED |= {"detector": {"flats": 2, "darks": 2, "references": 2}}

CASES: dict[str, Case] = {
    # both formats are in the files; the frames of the NXtomo entry are others
    "files.format": Case("nxtomo", "correct"),
    "files.sample": Case("raw/b/sample_{position:02d}.h5", "retrieve"),
    "files.reference": Case("raw/b/reference_{position:02d}.h5", "correct"),
    "files.flat": Case("flat.tif", "correct"),
    "files.dark": Case("subtracted", "correct"),
    "files.angles": Case("angles.txt", "assemble", BY_HAND),
    "files.positions": Case("3,1,2", "retrieve"),
    "files.sample_dataset": Case("/other/data", "retrieve"),
    "files.reference_dataset": Case("flats", "correct"),
    "files.flat_dataset": Case("/other/white", "correct"),
    "files.dark_dataset": Case("/other/dark", "correct"),
    "files.angles_dataset": Case("/other/theta", "assemble", BY_HAND),
    "files.axes": Case(["angle", "x", "y"], "inspect", ALONE),
    "files.frames": Case("1-3", "inspect"),
    "files.missing_frames": Case("allow", "inspect", LOST),
    # turned, the beam falls off to other sides than its margins of air
    "files.transpose": Case(True, "correct", {"correct": {"flux": "none"}}),
    "files.flip_y": Case(True, "correct"),
    "files.flip_x": Case(True, "correct"),
    "geometry.energy_kev": Case(31.0, "integrate"),
    "geometry.pixel_size_um": Case(2.1, "integrate"),
    "geometry.distance_m": Case(0.7, "integrate"),
    "geometry.diffuser_distance_m": Case(-0.05, "inspect"),
    "geometry.magnification": Case(1.7, "integrate"),
    "geometry.axis": Case("time", "assemble", {"geometry": {"frame_s": 0.05}, **BY_HAND}),
    "geometry.frame_s": Case(0.1, "assemble", {**TIME, **BY_HAND}),
    "geometry.angles": Case("range", "assemble", BY_HAND),
    "geometry.angle_start_deg": Case(10.0, "assemble", {**RANGE, **BY_HAND}),
    "geometry.angle_stop_deg": Case(170.0, "assemble", {**RANGE, **BY_HAND}),
    "geometry.angle_inclusive": Case(True, "assemble", {**RANGE, **BY_HAND}),
    "geometry.angles_unit": Case("rad", "assemble", BY_HAND),
    "geometry.rotation": Case("clockwise", "assemble", BY_HAND),
    "correct.bad_pixel_sigma": Case(1e6, "correct"),
    "correct.mask": Case("mask.npy", "correct"),
    "correct.flux": Case("none", "correct"),
    "correct.fill_fraction": Case(0.05, "retrieve", {"files": {"sample": "raw/e/sample_{position:02d}.h5"}}),
    "correct.bad_frames": Case("exclude", "inspect", {**STUCK, "correct": {"bad_frames_limit": 0.5}}),
    "correct.bad_frames_limit": Case(0.5, "inspect", {**STUCK, "correct": {"bad_frames": "exclude"}}),
    # a frame of raw/e has 30 pixels at 65535: few enough beside this limit, but of the others some are above the level
    "correct.saturation_level": Case(
        20000,
        "retrieve",
        {"files": {"sample": "raw/e/sample_{position:02d}.h5"}, "correct": {"fill_fraction": 0.2}},
    ),
    "correct.fill_px": Case(0.5, "correct"),
    "correct.flats": Case("before_and_after", "correct"),
    "correct.references": Case("nearest", "correct", {"correct": {"reference_places": [0, 5]}}),
    "correct.reference_places": Case(
        [0, 4], "correct", {"correct": {"references": "nearest", "reference_places": [0, 5]}}
    ),
    "correct.flat_scale": Case(2.0, "correct", {"correct": {"flux": "none"}}),
    "correct.air_px": Case([5, 3, 2, 1], "correct"),
    "correct.exclude_projections": Case("1", "retrieve"),
    "correct.drift": Case(False, "retrieve"),
    "retrieval.method": Case("absorption", "retrieve"),
    "retrieval.largest_misfit": Case(1e-3, "retrieve"),
    "retrieval.umpa.window": Case(7, "retrieve"),
    "retrieval.umpa.max_displacement_px": Case(0.01, "retrieve"),
    "retrieval.auto.detector_blur_px": Case(1.5, "retrieve", {"retrieval": {"method": "auto"}}),
    "retrieval.lcs.iterations": Case(1, "retrieve", LCS),
    "retrieval.lcs.window": Case(3, "retrieve", LCS),
    "retrieval.lcs.darkfield": Case(
        "none", "retrieve", {"retrieval": {"method": "lcs", "lcs": {"darkfield": "scalar"}}}
    ),
    "retrieval.lcs.max_displacement_px": Case(0.01, "retrieve", LCS),
    "retrieval.xst.window": Case(5, "retrieve", single("xst")),
    "retrieval.xst.search_px": Case(1, "retrieve", single("xst")),
    "retrieval.xst.subpixel": Case("gaussian", "retrieve", single("xst")),
    "retrieval.zncc.window": Case(5, "retrieve", single("zncc")),
    "retrieval.zncc.search_px": Case(1, "retrieve", single("zncc")),
    "retrieval.zncc.subpixel": Case("paraboloid", "retrieve", single("zncc")),
    "retrieval.xsvt.window": Case(1, "retrieve", {"retrieval": {"method": "xsvt"}}),
    "retrieval.xsvt.search_px": Case(1, "retrieve", {"retrieval": {"method": "xsvt"}}),
    "retrieval.xsvt.subpixel": Case("gaussian", "retrieve", {"retrieval": {"method": "xsvt"}}),
    "retrieval.umpa.detector_blur_px": Case(1.5, "retrieve"),
    "retrieval.espinnet.weights": Case("other.safetensors", "retrieve", ESPINNET),
    "retrieval.espinnet.refine": Case(False, "retrieve", ESPINNET),
    "retrieval.espinnet.detector_blur_px": Case(1.5, "retrieve", ESPINNET),
    "retrieval.espinnet.precision": Case("bfloat16", "retrieve", ESPINNET),
    "retrieval.espinnet.scaling": Case("linear", "retrieve", PUBLISHED),
    "retrieval.espinnet.refiners": Case(True, "retrieve", PUBLISHED),
    "retrieval.spinnet.weights": Case("other-spinnet.safetensors", "retrieve", ONE),
    "retrieval.spinnet.refine": Case(False, "retrieve", ONE),
    "retrieval.spinnet.detector_blur_px": Case(1.5, "retrieve", ONE),
    "retrieval.spinnet.precision": Case("bfloat16", "retrieve", ONE),
    "retrieval.refine": Case("wave", "retrieve"),
    "retrieval.refine_iterations": Case(3, "retrieve", WAVE),
    "retrieval.refine_blur_px": Case(1.5, "retrieve", WAVE),
    "retrieval.pwf.coherence_length_um": Case([1.9, 4.1], "retrieve", PWF),
    "retrieval.pwf.oversampling_ratio": Case(4.0, "retrieve", PWF),
    "retrieval.pwf.attenuation_weight": Case(0.5, "retrieve", PWF),
    "retrieval.pwf.phase_weight": Case(0.5, "retrieve", PWF),
    "retrieval.pwf.preconditioner": Case(False, "retrieve", PWF),
    "retrieval.pwf.tolerance": Case(1.0, "retrieve", PWF),
    "retrieval.pwf.iterations": Case(3, "retrieve", PWF),
    "retrieval.pwf.wing_ratio": Case(0.2, "retrieve", PWF),
    "retrieval.cade.weights": Case("other-cade.safetensors", "retrieve", CADE),
    "retrieval.cade.both_ways": Case(False, "retrieve", CADE),
    "retrieval.cade.precision": Case("bfloat16", "retrieve", CADE),
    "retrieval.double_exposure.weights": Case("other-double.safetensors", "retrieve", DOUBLE),
    "retrieval.double_exposure.tracker": Case("cade", "retrieve", DOUBLE),
    "retrieval.double_exposure.softness": Case(1.5, "retrieve", DOUBLE),
    "integrate.boundary": Case("periodic", "integrate"),
    "integrate.ramp": Case(True, "integrate"),
    "integrate.quadratic": Case(True, "integrate"),
    "integrate.weights": Case(False, "integrate"),
    "tomography.enabled": Case("no", "plan"),
    "tomography.axis_px": Case(AXIS + 2, "assemble", BY_HAND),
    "tomography.axis_contrast": Case("darkfield", "axis"),
    "tomography.axis_tilt_deg": Case(3.0, "reconstruct", BY_HAND),
    "tomography.align": Case("both", "assemble", BY_HAND),
    "tomography.offset_axis": Case(True, "reconstruct", BY_HAND),
    "tomography.turn_deg": Case(
        700.0, "assemble", {"geometry": {"axis": "both", "frame_s": 0.05, **STEADY}, **BY_HAND}
    ),
    "tomography.backend": Case("astra", "reconstruct", BY_HAND),
    "tomography.filter": Case("parzen", "reconstruct", BY_HAND),
    "tomography.padding": Case("edge", "reconstruct", BY_HAND),
    "tomography.rings.absorption": Case("sorting", "reconstruct", BY_HAND),
    "tomography.rings.phase": Case("sorting", "rings"),
    "tomography.rings.darkfield": Case("sorting", "rings"),
    "tomography.rings.window_px": Case(
        5,
        "reconstruct",
        {**BY_HAND, "tomography": {"axis_px": AXIS, "rings": {"absorption": "sorting"}}},
    ),
    "tomography.split": Case("angles", "reconstruct", BY_HAND),
    "tomography.voxel_std": Case(False, "reconstruct", BY_HAND),
    "report.pictures_per_contrast": Case(4, "report", BY_HAND),
    "output": Case(["tiff", "xdmf"], "plan"),
    "execution.retrieval.projections_per_block": Case(2, "plan"),
    "execution.retrieval.device": Case("cuda", "plan"),
    "execution.retrieval.threads": Case(1, "threads"),
    "execution.tomography.rows_per_slab": Case(6, "plan"),
    "execution.tomography.device": Case("cuda", "plan"),
    "execution.tomography.threads": Case(1, "threads", BY_HAND),
}
#: another value of each key of the simulation, which changes its files
SIMULATE: dict[str, Any] = {
    "phantom": "foam",
    "columns": 34,
    "rows": 17,
    "projections": 3,
    "rotation_deg": 360.0,
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
CASES["simulate.enabled"] = Case(True, "plan", {"simulate": {**SIMULATED, "enabled": False}})
CASES |= {
    f"simulate.{key}": Case(value, "simulate", {"simulate": SIMULATED}) for key, value in SIMULATE.items()
}
# only a phantom that changes has a time
CASES["simulate.frame_s"] = Case(0.3, "simulate", {"simulate": {**SIMULATED, "phantom": "foaming"}})


#: what is said under the usual settings, where the other value accepts what they refuse
REFUSED = {
    "files.missing_frames": "frame",
    "correct.fill_fraction": "3.1 % of the pixels at 65535",
    "retrieval.lcs.darkfield": "at least 4 diffuser position",
    "correct.bad_frames": "the same counts in every pixel",
    "correct.bad_frames_limit": "found 1 of 5: 2",
}


def settings(*sections: dict[str, Any]) -> ScanConfig:
    """A configuration of sections laid over each other; the method is umpa where none is named."""
    whole: dict[str, Any] = {"retrieval": {"method": "umpa"}}
    for section in sections:
        lay(whole, copy.deepcopy(section))
    return ScanConfig.model_validate(whole)


def lay(onto: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            lay(onto[key], value)
        else:
            onto[key] = value


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Stages:
    """Raw files, two formats in each, and the results of every stage."""
    root = tmp_path_factory.mktemp("keys")
    scan = RawScan(root, projections=PROJECTIONS, size=SIZE)
    scan.angles_deg = np.array([5.0, 70, 140, 215, 296])
    rng = np.random.default_rng(5)
    for n in range(scan.positions):
        sample, reference = f"sample_{n + 1:02d}", f"reference_{n + 1:02d}"
        scan.angles[sample] = scan.angles_deg
        for name in (sample, reference):  # a bad pixel for correct.bad_pixel_sigma to notice or to pass
            scan.darks[name][:, 4, 7] += 3000
        scan.flats[sample] -= (4000 * rng.random((1, *SIZE))).astype(np.uint16)
    scan.write()
    shutil.copytree(root / "raw/a", root / "raw/b")
    for name in scan.frames:
        add_other_datasets(scan, name)
        with h5py.File(root / f"raw/b/{name}.h5", "r+") as file:
            file["exchange/data"][...] = dimmed(scan.frames[name], 0.9)
    shutil.copytree(root / "raw/a", root / "raw/e")
    with h5py.File(root / "raw/e/sample_01.h5", "r+") as file:  # 30 of 960 pixels
        file["exchange/data"][1, 5, 3:33] = np.iinfo(np.uint16).max
    shutil.copytree(root / "raw/a", root / "raw/f")
    with h5py.File(root / "raw/f/sample_01.h5", "r+") as file:
        file["exchange/data"][2] = file["exchange/data"][1]
    for folder in ("c", "d"):
        (root / f"raw/{folder}").mkdir()
        for name, frames in scan.frames.items():
            written = len(frames) - 1 if folder == "c" and name.startswith("sample") else len(frames)
            with h5py.File(root / f"raw/{folder}/{name}.h5", "w") as file:
                stored = file.create_dataset("exchange/data", frames.shape, frames.dtype, chunks=(1, *SIZE))
                stored[:written] = frames[:written]
                if scan.angles[name] is not None:
                    file["exchange/theta"] = scan.angles[name]
                    file["exchange/theta"].attrs["units"] = "deg"
    tifffile.imwrite(root / "flat.tif", dimmed(scan.flats["sample_01"], 0.8))
    mask = np.zeros(SIZE, np.uint8)
    mask[10, 20] = 1
    np.save(root / "mask.npy", mask)
    np.savetxt(root / "angles.txt", 5.0 + scan.angles_deg)
    write_weights(root)
    return Stages(root)


def dimmed(frames, factor: float):
    return (frames * factor).astype(frames.dtype)


def add_other_datasets(scan: RawScan, name: str) -> None:
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


def write_weights(root: Path) -> None:
    """Weights of the published structure, and the shipped ones made a little larger under the same header."""
    from safetensors.torch import load_file, save_file

    from speckleflow import weights
    from speckleflow.retrieval.double_exposure.network import Generator
    from speckleflow.retrieval.espinnet import published
    from speckleflow.retrieval.espinnet.weights import about
    from speckleflow.train.checkpoint import save_weights

    torch.manual_seed(3)
    save_weights(published.Espinnet(), root / "published.safetensors", {"network": "espinnet"})
    for name in ("double", "other-double"):
        generator = {"network": "double_exposure", "width": repr(1 / 32), "inputs": "2"}
        save_weights(Generator(1 / 32, inputs=2), root / f"{name}.safetensors", generator)
    for method, name in (("espinnet", "other"), ("spinnet", "other-spinnet"), ("cade", "other-cade")):
        source = Path(weights.__file__).with_name(SHIPPED[method])
        tensors = {key: value * 1.02 for key, value in load_file(source).items()}
        save_file(tensors, root / f"{name}.safetensors", metadata=about(source))


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


class TwoAxes:
    """Blocks whose transmission and dark field were turned about columns 20 and 24."""

    angles = np.arange(0.0, 180.0, 4.0)
    count = len(angles)
    axes: ClassVar = {"transmission": 20.0, "darkfield": 24.0}

    def __init__(self) -> None:
        self.layers = {
            name: SimpleNamespace(shape=(6, 44), dtype=np.dtype("f4"))
            for name in ("transmission", "darkfield")
        }

    def read(self, name: str, projections=slice(None), rows: slice = slice(None)) -> np.ndarray:
        solids = [Ellipse(0.05, 2, -3, 13, 9, 20), Ellipse(0.1, 6, 4, 3, 2, 10)]
        lines = sinogram(solids, self.angles, 44, self.axes[name], 3)
        noise = 0.002 * np.random.default_rng(3).normal(size=(self.count, 6, 44))
        images = np.exp(-lines)[:, None] + noise.astype(np.float32)
        return images[projections][:, rows]


class Stages:
    """Each stage as its function: numbers of what it makes, on results of the stages before under the same settings."""

    def __init__(self, root: Path) -> None:
        self.root, self.results = root, root / "results"
        self.results.mkdir()
        self.made = cache(self._made)

    def _made(self, stage: str, sections: str) -> Digest:
        spec = ScanSpec(NAME, settings(json.loads(sections)), self.root)
        if hasattr(self, f"_{stage}"):
            return getattr(self, f"_{stage}")(spec)
        return numbers(self.file(stage, spec))

    def file(self, stage: str, spec: ScanSpec) -> Path:
        """The file of a stage, made where the settings that decide it and those before it have none yet."""
        order = ("inspect", "correct", "retrieve", "integrate", "assemble", "reconstruct")
        before = order[: order.index(stage) + 1]
        decided = json.dumps([result_settings(name, spec.config) for name in before], sort_keys=True)
        target = self.results / f"{stage}-{hashlib.sha256(decided.encode()).hexdigest()[:12]}.h5"
        if not target.exists():
            self._make(stage, spec, target)
        return target

    def _make(self, stage: str, spec: ScanSpec, output: Path) -> None:
        from speckleflow.stages.assemble import assemble_projections
        from speckleflow.stages.correct import correct
        from speckleflow.stages.inspect import inspect
        from speckleflow.stages.integrate import integrate_block
        from speckleflow.stages.reconstruct import reconstruct_slab
        from speckleflow.stages.retrieve import retrieve_block

        absorption = spec.config.retrieval.method == "absorption"
        if stage == "inspect":
            inspect(spec, output=output)
        elif stage == "correct":
            correct(spec, manifest=self.file("inspect", spec), output=output)
        elif stage == "retrieve":
            retrieve_block(
                spec, manifest=self.file("inspect", spec), corrected=self.file("correct", spec),
                projections=(0, PROJECTIONS) if absorption else (1, 2), output=output,
            )  # fmt: skip
        elif stage == "integrate":
            fields = self.file("retrieve", spec)
            integrate_block(spec, manifest=self.file("inspect", spec), fields=fields, output=output)
        elif stage == "assemble":
            assemble_projections(
                spec, manifest=self.file("inspect", spec), fields=[self.file("retrieve", spec)], phases=[],
                output=output, tomographic=True,
            )  # fmt: skip
        else:
            reconstruct_slab(spec, projections=self.file("assemble", spec), rows=(2, 8), output=output)

    def _inspect(self, spec: ScanSpec) -> Digest:
        found = json.loads(self.file("inspect", spec).read_text())
        return {key: found[key] for key in found if key != "settings"}

    def _plan(self, spec: ScanSpec) -> Digest:
        from speckleflow.workflow.plan import plan_scan

        return vars(plan_scan(spec))

    def _simulate(self, spec: ScanSpec) -> Digest:
        from speckleflow.simulate.beamtime import simulate_scan

        folder = self.results / hashlib.sha256(spec.config.model_dump_json().encode()).hexdigest()[:12]
        files = simulate_scan(spec.config, NAME, "truth.h5", folder)
        return {f"{path.name} {key}": value for path in files for key, value in numbers(path).items()}

    def _report(self, spec: ScanSpec) -> Digest:
        from speckleflow.stages.report import report_scan

        html = self.results / f"report-{spec.config.report.pictures_per_contrast}.html"
        report_scan(
            spec, manifest=self.file("inspect", spec), corrected=self.file("correct", spec),
            projections=self.file("assemble", spec), volumes=None, truth=None, timings=self.results, html=html,
            summary=html.with_suffix(".json"), picture=html.with_suffix(".png"),
        )  # fmt: skip
        return {"pictures": html.read_text().count("<img")}

    def _rings(self, spec: ScanSpec) -> Digest:
        """Slices of every quantity from one striped stack."""
        from speckleflow.tomo.slab import SlabReconstruction, ring_filters

        make = SlabReconstruction(
            np.arange(9.0) * 20, 20.0, pixel_size_m=1e-6, energy_kev=20.0, rings=ring_filters(spec.config.tomography)
        )  # fmt: skip
        stack = 0.5 + 0.4 * np.random.default_rng(4).random((9, 1, 40))
        return {name: repr(make(name, stack).slices.sum()) for name in ("delta", "mu", "darkfield")}

    def _axis(self, spec: ScanSpec) -> Digest:
        """The axis of two contrasts that were turned about different ones."""
        from speckleflow.stages.assemble import prepare_tomography

        found = prepare_tomography(spec.config, [TwoAxes()], TwoAxes.angles, self.root)
        return {"axis": f"{found.axis_px:.1f} from {found.origin}"}

    def _threads(self, spec: ScanSpec) -> Digest:
        """Threads that each job is given: retrieval takes torch's, a backend its argument."""
        from speckleflow.stages import projection
        from speckleflow.stages.projection import ProjectionRetrieval  # noqa: F401

        before = torch.get_num_threads()
        try:
            execution = spec.config.execution
            projection.make_retriever(spec.config, "cpu", execution.retrieval.threads)
            return {"retrieval": torch.get_num_threads(), "tomography": execution.tomography.threads}
        finally:
            torch.set_num_threads(before)


def test_every_key_is_tried():
    assert set(keys()) == set(CASES)


def costly(key: str) -> bool:
    """Half a second or more: networks, simulated files, pictures."""
    return CASES[key].stage in ("simulate", "report") or "spinnet" in key or "cade" in key or "double" in key


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=pytest.mark.slow) if costly(key) else key for key in CASES]
)
def test_a_key_changes_the_numbers_of_its_stage(stages, monkeypatch, key):
    monkeypatch.chdir(stages.root)  # weights are named from the working folder
    case = CASES[key]
    changed = copy.deepcopy(case.given)
    lay(changed, nested(key, case.value))
    before, after = (json.dumps(sections) for sections in (case.given, changed))
    assert settings(case.given) != settings(changed)
    if key in REFUSED:
        with pytest.raises(SpeckleflowError, match=REFUSED[key]):
            stages.made(case.stage, before)
        assert stages.made(case.stage, after)
    else:
        assert stages.made(case.stage, before) != stages.made(case.stage, after)
    before_it = list(STAGES)[: list(STAGES).index(case.stage) + 1] if case.stage in STAGES else []
    again = {
        stage
        for stage in STAGES
        if result_settings(stage, settings(case.given)) != result_settings(stage, settings(changed))
    }
    assert bool(again.intersection(before_it)) == bool(before_it), "the stage is not made again"
    assert not (again and key.startswith("execution.")), "how a job computes is no reason to repeat it"


@pytest.mark.parametrize(
    "method",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("espinnet", "spinnet")), "umpa", "absorption"],
)
def test_a_stage_reads_what_it_declares_and_no_more(stages, monkeypatch, method):
    """Keys that are read while a stage runs; the execution's decide no result, files are read for their names."""
    monkeypatch.chdir(stages.root)
    names = dict(sections(ScanConfig))
    seen: set[str] = set()

    def read(self, name):
        if name in type(self).model_fields:
            seen.add(f"{names[type(self)]}{name}")
        return object.__getattribute__(self, name)

    given = {
        "tomography": {"axis_px": AXIS},
        "retrieval": {"method": method},
        "report": {"pictures_per_contrast": 3},
    }
    if method == "spinnet":
        given["files"] = {"positions": "2"}
    spec = ScanSpec(NAME, settings(given), stages.root)
    leaves = set(keys())
    read_by: dict[str, set[str]] = {}
    for stage in (
        "inspect",
        "correct",
        "retrieve",
        *(("assemble", "reconstruct") if method == "absorption" else ("integrate",)),
    ):
        for before in list(STAGES)[: list(STAGES).index(stage)]:
            if before != "simulate" and not (method == "absorption" and before == "integrate"):
                stages.file(before, spec)
        seen.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Section, "__getattribute__", read, raising=False)
            stages._make(stage, spec, stages.results / f"{stage}-read-{method}.h5")
        read_by[stage] = {
            key for key in seen & leaves if not key.startswith(("execution.", "simulate.enabled"))
        }
    for stage, found in read_by.items():
        # the record of a result names the settings of the method alone: each reads which it is, refined or not
        declared = {"retrieval.method", "retrieval.refine"} | {
            key if key in leaves else f"retrieval.{key}" for key in setting_keys(stage)
        }
        # inspection refuses a wedge whose axis would have to be searched, and weights that are not there: then there is
        # no manifest to be out of date
        declared |= {"tomography.axis_px", f"retrieval.{method}.weights"} if stage == "inspect" else set()
        assert found <= declared, stage
        assert found, stage


def sections(model: type[Section], prefix: str = "") -> Iterator[tuple[type[Section], str]]:
    """Each class of a section, and what the keys of its fields begin with."""
    yield model, prefix
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from sections(info.annotation, f"{prefix}{name}.")
