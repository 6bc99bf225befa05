"""Raw data that went wrong, each with a known answer: what this version says of it, or how right its volume is.

    python -m benchmarks.cases [NAME ...] > benchmarks/cases.md

The generators lie in ``../shared/cases``, outside the repository; without them the script says so and ends. A scan goes
through the stages of the workflow in one process, up to ``volumes.h5``; the values are the mean inside two solids over
their truth, less one, and in air over the larger solid's truth. Where a sentence names a way out, a line with it
follows. Keys of earlier versions in a case's configuration are written as they are called now. Cases with another pixel
size (34, 39, b10: the ratio then is that of the pixels) or another sample (17, 20, 21 half, 33, 48) are to be read with
their generator.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from speckleflow.config.load import load_config, load_scans
from speckleflow.errors import SpeckleflowError
from speckleflow.inspection.scan import backend_warning
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import read_warnings
from speckleflow.stages.assemble import assemble_projections
from speckleflow.stages.correct import correct
from speckleflow.stages.inspect import inspect
from speckleflow.stages.integrate import integrate_block
from speckleflow.stages.reconstruct import reconstruct_slab
from speckleflow.stages.retrieve import retrieve_block
from speckleflow.stages.slice_by_hand import reconstruct_file
from speckleflow.stages.volume import assemble_volumes
from speckleflow.workflow.plan import plan_scan

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
#: seconds for a scan
LIMIT = 100
#: rows and columns inside the two solids and in air, their mu in 1/m, by the first letter of a case
PLACES = {
    "b": (
        (slice(38, 43), slice(40, 45), 4e4),
        (slice(26, 29), slice(24, 27), 8e4),
        (slice(4, 10), slice(32, 40)),
    ),
    "": (
        (slice(28, 34), slice(36, 42), 3e4),
        (slice(24, 29), slice(22, 27), 5e4),
        (slice(5, 12), slice(28, 36)),
    ),
}


#: case -> configuration and the keys that the sentence about it names
WAYS_OUT: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "01_vds_missing_source": [("config.yaml", {"files.missing_frames": "allow"})],
    "04_ome_pages_missing": [
        (
            "config.yaml",
            {"files.axes": ["angle", "y", "x"], "geometry.angle_stop_deg": 120.0, "tomography.axis_px": 32},
        )
    ],
    "08_numbering_gap": [("config.yaml", {"files.missing_frames": "allow"})],
    "11_flat_exposure": [("config_local.yaml", {"correct.flux": "none", "correct.flat_scale": 3})],
    "15_angles_zero_or_rad": [
        ("config_arcmin.yaml", {"geometry.angles_unit": "arcmin"}),
        ("config_rad.yaml", {"geometry.angles_unit": "rad"}),
    ],
    "17_local_tomography": [("config.yaml", {"correct.flux": "none", "tomography.padding": "edge"})],
    "25_axis_horizontal": [("config.yaml", {"files.transpose": True})],
    "30_nan_pixels": [
        ("config_c.yaml", {"correct.exclude_projections": "41"}),
        ("config_c.yaml", {"correct.bad_frames": "exclude"}),
    ],
    "34_units": [("config_f.yaml", {"geometry.angles_unit": "deg"})],
    "36_lengths": [("config_short.yaml", {"files.frames": "0-118"})],
    "42_mixed_folder": [("config_stray.yaml", {"files.sample": "stray/tomo_????.tif"})],
    "44_cut_files": [("config_holes.yaml", {"files.missing_frames": "allow"})],
    "46_prenormalised": [("config_none.yaml", {"files.flat": "divided"})],
    "b05_flats_moved": [("config.yaml", {"correct.flats": "before_and_after"})],
    "b20_time_series": [
        ("config_many.yaml", {"files.frames": "0-19"}),
        ("config_many.yaml", {"geometry.axis": "both", "geometry.frame_s": 1.0, "tomography.turn_deg": 180}),
    ],
    "b22_tilted_axis": [("config.yaml", {"tomography.axis_tilt_deg": "auto"})],
}

HEAD = """# Raw data that went wrong

`python -m benchmarks.cases > benchmarks/cases.md`: generated scans, each with a known fault and answer,
through the stages up to `volumes.h5`. "Ends in" names the stage that refused the scan, or `volume`. Values:
rotation axis in px; mean in two solids over their truth, less one; mean in air over the larger solid's truth.
The ratio is that of the pixel sizes in 34, 39 and `b10` with a pixel size of its own. Another sample stands
in 17 (local tomography), 20 (solids four times as dense, 300 photons), 21 zoff (half a sample), 33 and 48 (no
sample). A line with keys after the name of the configuration is the way out that the sentence names.

| case | configuration | ends in | sentence, or values | warnings |
|---|---|---|---|---|
"""


class Stopped(Exception):
    """A scan took longer than ``LIMIT``."""


def stop(*_: object) -> None:
    raise Stopped(f"not finished in {LIMIT} s")


def chain(spec: ScanSpec, folder: Path) -> tuple[str, str, list[str]]:
    """Stage that stopped (or 'volume', 'projections'), its sentence or values, and the warnings of the inspection."""
    stage, warnings = "inspect", list[str]()
    manifest = folder / "manifest.json"
    try:
        inspect(spec, output=manifest)
        warnings = list(Manifest.load(manifest).warnings)
        if words := backend_warning(spec.config, Manifest.load(manifest)):
            return "inspect", words, warnings
        plan = plan_scan(spec, manifest)
        stage = "correct"
        correct(spec, manifest=manifest, output=folder / "corrected.h5")
        fields, phases = [], []
        for k, block in enumerate(plan.blocks):
            stage = "retrieve"
            fields.append(folder / f"fields/block_{k:04d}.h5")
            retrieve_block(
                spec,
                manifest=manifest,
                corrected=folder / "corrected.h5",
                projections=block,
                output=fields[-1],
            )
            if spec.config.retrieval.spec.has_phase:
                stage = "integrate"
                phases.append(folder / f"phase/block_{k:04d}.h5")
                integrate_block(spec, manifest=manifest, fields=fields[-1], output=phases[-1])
        stage = "assemble"
        projections = folder / "projections.h5"
        assemble_projections(
            spec,
            manifest=manifest,
            fields=fields,
            phases=phases,
            output=projections,
            tomographic=plan.tomographic,
        )
        if not plan.tomographic:
            return "projections", "no volume: one projection, or less than half a turn", warnings
        stage = "reconstruct"
        slabs = [folder / f"slabs/slab_{k:04d}.h5" for k in range(len(plan.slabs))]
        for rows, path in zip(plan.slabs, slabs, strict=True):
            reconstruct_slab(spec, projections=projections, rows=rows, output=path)
        stage = "volume"
        assemble_volumes(spec, slabs=slabs, output=folder / "volumes.h5")
    except SpeckleflowError as error:
        return stage, str(error), warnings
    except Stopped as error:
        return stage, f"**{error}**", warnings
    except Exception as error:  # a traceback is what the table is to show
        return stage, f"**{type(error).__name__}: {error}**", warnings
    with h5py.File(folder / "volumes.h5") as file:
        warnings += [words for words in read_warnings(file) if words not in warnings]
    return "volume", "", warnings


def values(volumes: Path, case: str) -> str:
    """Axis and mean values at the known places."""
    with h5py.File(volumes) as file:
        mu = file["mu"][file["mu"].shape[0] // 2]
        (y, x, big), (v, u, small), air = PLACES["b" if case.startswith("b") else ""]
        if min(mu.shape) < 60:
            return f"axis {file.attrs['rotation_axis_px']:.2f}, {mu.shape[0]} x {mu.shape[1]} slices"
        parts = (mu[y, x].mean() / big - 1, mu[v, u].mean() / small - 1, mu[air].mean() / big)
        return "axis {:.2f}; {:+.1%}, {:+.1%}, air {:+.1%}".format(
            float(file.attrs["rotation_axis_px"]), *parts
        )


def rows(case: str) -> list[str]:
    """Lines of the table for one case."""
    made = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / case
        folder.mkdir()
        command = [sys.executable, str(CASES / f"{case}.py"), "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            return [f"| {case} | | generator | {done.stderr.strip().splitlines()[-1]} | |"]
        os.chdir(folder)
        if case in BY_HAND:
            made = BY_HAND[case](case)
            os.chdir("/")
            return made
        for path in Path().glob("config*.yaml"):
            rewrite(path)
        named = {path.name: path.name for path in Path().glob("config*.yaml")}
        for name, keys in WAYS_OUT.get(case, []):
            changed = f"config_way{len(named)}.yaml"
            shown_keys = ", ".join(f"{key}: {value}" for key, value in keys.items())
            write_changed(Path(name), Path(changed), keys)
            named[changed] = f"{name}, {shown_keys}"
        for name in sorted(named, key=named.__getitem__):
            signal.alarm(LIMIT)
            try:
                config = load_config(name)
                scans = load_scans(config, ".")
            except SpeckleflowError as error:
                made.append(line(case, named[name], "configuration", str(error), []))
                continue
            except Exception as error:
                made.append(
                    line(case, named[name], "configuration", f"**{type(error).__name__}: {error}**", [])
                )
                continue
            finally:
                signal.alarm(0)
            for scan, settings in scans.items():
                results = Path(config.results) / name.removesuffix(".yaml") / scan
                signal.alarm(LIMIT)
                stage, words, warnings = chain(ScanSpec(scan, settings), results)
                signal.alarm(0)
                if stage == "volume" and not words:
                    words = values(results / "volumes.h5", case)
                shown = f"{named[name]}, {scan}" if len(scans) > 1 else named[name]
                made.append(line(case, shown, stage, words, warnings))
                sys.stderr.write(made[-1][:300] + "\n")
        os.chdir("/")
    return made


def rewrite(path: Path) -> None:
    """Write keys of an earlier version as they are called now; what is no YAML stays as it is."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return
    tomography = config.get("tomography") or {}
    changes: dict[str, Any] = {}
    if (window := tomography.pop("ring_window_px", None)) is not None:
        kind = "sorting" if window else "none"
        changes |= {f"tomography.rings.{contrast}": kind for contrast in ("absorption", "phase", "darkfield")}
        changes |= {"tomography.rings.window_px": window} if window else {}
    for section in ("tomography", "retrieval"):
        if device := (config.get(section) or {}).pop("device", None):
            changes[f"execution.{section}.device"] = device
    if changes:
        path.write_text(yaml.safe_dump(config))
        write_changed(path, path, changes)


def write_changed(path: Path, output: Path, keys: dict[str, Any]) -> None:
    """Write a configuration with other values of some keys, such as ``correct.flux``."""
    config = yaml.safe_load(path.read_text())
    for key, value in keys.items():
        *sections, last = key.split(".")
        place = config
        for section in sections:
            place[section] = place.get(section) or {}
            place = place[section]
        place[last] = value
    output.write_text(yaml.safe_dump(config))


def slices(case: str) -> list[str]:
    """``speckleflow reconstruct`` on sinograms, each with angles of its length where there are some."""
    made = []
    pairs = [
        (path.name, "a.npy") for path in sorted(Path().glob("*")) if path.suffix in (".npy", ".tif", ".csv")
    ]
    pairs = [pair for pair in pairs if not pair[0].startswith(("a", "rad", "neg"))]
    pairs += [("s.npy", name) for name in ("a.txt", "a2.npy", "a71.npy", "ai.npy", "rad.npy", "neg.npy")]
    for sinogram, angles in [*pairs, ("one.npy", "a1.npy")]:
        words, stage = "", "slice"
        try:
            reconstruct_file(sinogram=sinogram, angles_deg=angles, axis_px=35.5, output=Path("o.npy"))
            mu = np.load("o.npy")
            words = f"{mu[38:43, 40:45].mean() / 0.04 - 1:+.1%}, {mu[26:29, 24:27].mean() / 0.08 - 1:+.1%}"
        except SpeckleflowError as error:
            words, stage = str(error), "reconstruct"
        except Exception as error:
            words, stage = f"**{type(error).__name__}: {error}**", "reconstruct"
        made.append(line(case, f"{sinogram}, {angles}", stage, words, []))
    return made


def stacks(case: str) -> list[str]:
    """``speckleflow retrieve`` on stacks, by the case's own check."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where the command is
    done = subprocess.run(
        [sys.executable, "check.py"],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PATH": path},
    )
    told = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()[-1:]
    return [line(case, words.split()[0], "retrieve", " ".join(words.split()[1:]), []) for words in told]


def line(case: str, name: str, stage: str, words: str, warnings: list[str]) -> str:
    cells = (case, name, stage, words, " / ".join(warnings))
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


#: cases of commands that take files by hand
BY_HAND = {"b12_reconstruct_inputs": slices, "27_speckle_stacks": stacks}


def main() -> None:
    if not CASES.is_dir():
        raise SystemExit(f"skipped: no generators in {CASES.name} beside the repository")
    signal.signal(signal.SIGALRM, stop)
    chosen = sys.argv[1:] or sorted(path.stem for path in CASES.glob("*.py"))
    lines = [row for case in chosen for row in rows(case)]
    print(HEAD + "\n".join(lines))


if __name__ == "__main__":
    main()
