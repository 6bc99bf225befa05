"""A process that tries one hostile input after the other under limits, and says how each ended.

Reads tasks as JSON lines, answers one JSON line each. Time is limited by the campaign, which ends a worker that does
not answer; memory by the address space, which may grow by LIMIT_MB during a task.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import sys
import time
import traceback
from pathlib import Path

LIMIT_MB = 1000
_MEMORY = re.compile(
    r"enough memory|unable to allocate|out of memory|cannot allocate|memoryerror", re.IGNORECASE
)


def _status_kb(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]


def _command(*words: str) -> int:
    from speckleflow import cli

    sys.argv = ["speckleflow", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _read_all() -> int:
    """All that the stages after inspection read, beside what `retrieve` by hand and `scans` do."""
    from speckleflow.config import load_config, load_scans
    from speckleflow.correction import prepare_correction
    from speckleflow.errors import SpeckleflowError
    from speckleflow.io.discover import propose_scans
    from speckleflow.io.scan import open_scan
    from speckleflow.io.stack import read_stack
    from speckleflow.scan.spec import ScanSpec
    from speckleflow.stages.frames import check_frames

    with contextlib.suppress(SpeckleflowError):
        propose_scans(".").text()
    for name, config in load_scans(load_config("config.yaml")).items():
        with contextlib.suppress(SpeckleflowError):
            read_stack(config.files.sample)
        try:
            scan = open_scan(ScanSpec(name, config))
            correction = prepare_correction(scan)
            raw = scan.read_sample()
            check_frames(raw, scan, correction, 0)
            correction.correct_frames(raw, scan.raw_indices)
        except SpeckleflowError as error:
            print(f"speckleflow: {error}", file=sys.stderr)
            return 1
    return 0


def _weights() -> int:
    from speckleflow.config import parse_config
    from speckleflow.errors import SpeckleflowError
    from speckleflow.retrieval import registry

    path = str(next(Path().glob("w.*")))
    config = parse_config({"retrieval": {"method": "espinnet", "espinnet": {"weights": path}}}, "fuzz")
    try:
        registry.get("espinnet")(config.retrieval.settings)
    except SpeckleflowError as error:
        print(f"speckleflow: {error}", file=sys.stderr)
        return 1
    return 0


def attempt(task: dict) -> dict:
    """Status, error stream, traceback and cost of one task."""
    os.chdir(task["folder"])
    before = _listing()
    out, err = io.StringIO(), io.StringIO()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start, held = time.process_time(), _status_kb("VmRSS")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1024 * _status_kb("VmSize") + LIMIT_MB * 10**6, hard))
    status, trace = 1, ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            if task["kind"] == "weights":
                status = _weights()
            elif task["kind"].startswith("import "):  # a fault, to try the campaign itself
                exec(task["kind"])
            else:
                status = _command("inspect", "config.yaml")
                if status == 0:
                    status = _read_all()
                elif task["kind"] == "config":
                    second = _command("status", "config.yaml")
                    status = status if second in (0, 1, 2) else second
    except SystemExit as end:
        status = int(end.code is not None)
        err.write("" if isinstance(end.code, int) else str(end.code))
    except BaseException:
        trace = traceback.format_exc()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    seconds, peak = time.process_time() - start, (_status_kb("VmHWM") - held) / 1000
    said = err.getvalue()
    written = sorted(_listing() ^ before)
    os.chdir("/")
    verdict = "accepted" if status == 0 else "refused"
    if trace:
        verdict = "memory" if _MEMORY.search(trace) else "traceback"
    elif _MEMORY.search(said) or peak > LIMIT_MB:
        verdict = "memory"
    elif status not in (0, 1, 2):
        verdict = "status"
    elif status and (not said.strip() or "Traceback" in said):
        verdict = "no sentence"
    elif written:
        verdict = "written"
    return {
        "verdict": verdict,
        "status": status,
        "said": said[-600:],
        "trace": trace[-3000:],
        "seconds": seconds,
        "peak_mb": peak,
        "written": [str(w) for w in written][:5],
    }


def _listing() -> set[tuple[str, int]]:
    return {(str(p), p.lstat().st_mtime_ns) for p in Path().rglob("*")}


def main() -> None:
    """Answer tasks until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    if "weights" in sys.argv[1:]:
        pass
    for line in sys.stdin:
        task = json.loads(line)
        answer = {"verdict": "ready"} if task["kind"] == "none" else attempt(task)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
