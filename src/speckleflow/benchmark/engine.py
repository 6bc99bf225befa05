"""Runs the parts of the benchmark one after the other, keeps what is finished, and writes the tables.

A part leaves ``<name>.csv``, ``<name>.png`` where it has a picture, and last ``<name>.json`` with the hash of its
inputs: the sources that decide its numbers, the conditions, the data and the versions. A part whose hash is still the
same is not run again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from speckleflow.benchmark import tables
from speckleflow.benchmark.part import Conditions, Part
from speckleflow.errors import ConfigError, SpeckleflowError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.results import git_commit, versions

log = logging.getLogger(__name__)

#: packages of this project whose sources decide numbers
_NUMERICS = ("benchmark", "correction", "evaluate", "phase", "retrieval", "simulate", "tomo", "weights")
_LIBRARIES = ("numpy", "scipy", "torch", "finufft")


@dataclass(frozen=True)
class Result:
    """What became of a part: its state (done, kept, skipped, failed), and its record or the reason."""

    part: Part
    state: str
    record: dict[str, Any]
    reason: str = ""


def check_paths(data: Path | None, peer_python: Path, out: Path) -> None:
    """Refuse paths of the wrong kind before hours are spent; the names are those of the command line.

    Raises
    ------
    ConfigError
        The data are no folder, the Python of the peers cannot be run, or the results' folder cannot be made.
    """
    try:
        if data is not None and not data.is_dir():
            raise ConfigError(f"--data {data}: expected the folder of the measured data sets, found none")
        if not (peer_python.is_file() and os.access(peer_python, os.X_OK)):
            raise ConfigError(f"--peer-python {peer_python}: expected a Python that can be run, found none")
        above = next(place for place in (out, *out.absolute().parents) if place.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise ConfigError(
                f"--output {out}: expected a folder that can be made and written, found {above}, which is "
                + ("not writable" if above.is_dir() else "no folder")
            )
    except OSError as error:  # a folder that may not be entered, a name too long, a link to itself
        raise ConfigError(f"{error.filename}: {error.strerror}") from None


def run_parts(parts: Sequence[Part], conditions: Conditions, out: Path) -> list[Result]:
    """Run the parts that are not finished, and write ``README.md`` of all that are there.

    Parameters
    ----------
    parts : in the order in which they are run.
    conditions : how.
    out : folder of the results; made where there is none.

    Raises
    ------
    SpeckleflowError
        Parts that failed, when all others are done; the trace of each stands in ``<name>.log``.
    """
    import torch

    torch.set_num_threads(conditions.threads)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for part in parts:
        results.append(_one(part, conditions, out))
        tables.write_index(results, conditions, out)
    failed = [result for result in results if result.state == "failed"]
    if failed:
        raise SpeckleflowError(
            f"{out}: expected every part to end, found {len(failed)} that failed: "
            + "; ".join(f"{r.part.name} ({r.reason}, see {r.part.name}.log)" for r in failed)
        )
    return results


def _one(part: Part, conditions: Conditions, out: Path) -> Result:
    reason = part.missing(conditions)
    if reason is not None:
        log.info("%s: skipped, %s", part.name, reason)
        return Result(part, "skipped", {}, reason)
    inputs = inputs_hash(part, conditions)
    path = out / f"{part.name}.json"
    record = _read(path)
    if record is not None and record["inputs"] == inputs and (out / f"{part.name}.csv").exists():
        log.info("%s: finished before, kept", part.name)
        return Result(part, "kept", record)
    log.info("%s: about %.0f s", part.name, part.quick_seconds if conditions.quick else part.seconds)
    start = time.perf_counter()
    try:
        outcome = part.make(conditions)
    except Exception as error:  # the other parts are run all the same
        (out / f"{part.name}.log").write_text(traceback.format_exc())
        path.unlink(missing_ok=True)
        log.info("%s: failed", part.name)
        return Result(part, "failed", {}, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    picture = out / f"{part.name}.png"
    if outcome.figure is not None:
        outcome.figure(picture)
    tables.write_csv(outcome.rows, out / f"{part.name}.csv")
    record = {
        "inputs": inputs,
        "rows": outcome.rows,
        "notes": list(outcome.notes),
        "picture": outcome.figure is not None,
        "seconds": round(time.perf_counter() - start, 1),
        "quick": conditions.quick,
        "threads": conditions.threads,
        **about(),
    }
    with atomic_path(path) as private:
        private.write_text(json.dumps(record, indent=1))
    (out / f"{part.name}.log").unlink(missing_ok=True)
    log.info("%s: %.0f s", part.name, record["seconds"])
    return Result(part, "done", record)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "inputs" in record else None


def about() -> dict[str, Any]:
    """Machine, versions and commit."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*: (.*)", cpuinfo.read_text())):
        model = found[1]
    commit = git_commit()
    return {
        "machine": f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": versions(_LIBRARIES),
        "commit": commit or "not a checkout",
    }


def inputs_hash(part: Part, conditions: Conditions) -> str:
    """SHA-256 of all that decides the numbers of a part."""
    digest = hashlib.sha256()
    quick = (conditions.quick, conditions.threads, conditions.peer_python if part.peer else "")
    digest.update(repr((part.name, quick, _sources(), sorted(versions(_LIBRARIES).items()))).encode())
    if part.data is not None and conditions.data is not None:
        root = conditions.data / part.data
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        sizes = [(str(f.relative_to(conditions.data)), f.stat().st_size) for f in files if f.is_file()]
        digest.update(repr(sizes).encode())
    return digest.hexdigest()


@cache
def _sources() -> str:
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for package in _NUMERICS:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".safetensors"):
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def choose(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """The parts of these names, or all.

    Raises
    ------
    ConfigError
        A name that no part has.
    """
    known = {part.name: part for part in parts}
    for name in names:
        if name not in known:
            raise ConfigError(f"command line: --only: expected one of {', '.join(known)}, found '{name}'")
    return [known[name] for name in names] if names else list(parts)
