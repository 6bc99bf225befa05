"""How far a batch of scans is: what is done, running and failed, and where the last failure is explained.

What is done follows from the results (a file that exists is complete); what runs or failed, from the log that
the latest Snakemake keeps. Nothing is opened but that log and the headers that the plan needs.
"""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from speckleflow.config import load_config, load_scans
from speckleflow.errors import SpeckleflowError
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages import registry
from speckleflow.workflow.plan import Plan, plan_scan

#: the stages in their order, and where each leaves its results ({results}/{scan}/ before all but the first)
STAGES = {
    name: "raw/{scan}/truth.h5" if name == "simulate" else stage.output
    for name, stage in registry.STAGES.items()
    if name != "preview"
}


#: characters of a scan's name in a row; a longer one goes on in the next
_NAME = 24


@dataclass
class Run:
    """What the latest Snakemake said: jobs by (scan, rule), and the logs of those that failed for good."""

    log: Path | None = None
    running: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    last_failure: str | None = None
    over: bool = True
    #: what the scheduler said of a failed job, by the name of its log
    messages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Jobs of one stage of one scan."""

    jobs: int
    done: int
    running: int
    failed: int

    def text(self) -> Text:
        """'12/38, 3 running, 1 failed' (a queued job counts as running)."""
        text = Text(f"{self.done}/{self.jobs}")
        if self.running:
            text.append(f", {self.running} running", style="yellow")
        if self.failed:
            text.append(f", {self.failed} failed", style="red")
        return text


def status(config_path: str | Path, root: Path = Path()) -> RenderableType:
    """Done, running and failed jobs of every scan of a configuration, for a terminal.

    Parameters
    ----------
    config_path : the configuration file.
    root : folder in which Snakemake runs.

    Raises
    ------
    ConfigError
        The configuration or its scan table cannot be used.
    """
    config = load_config(config_path)
    run = read_run(root)
    table = Table(title=f"{config.results}/", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("scan", overflow="fold", max_width=_NAME, no_wrap=False)
    table.add_column("jobs", justify="right", no_wrap=True)
    table.add_column("not finished")
    notes: list[str] = []
    for scan, settings in load_scans(config, root).items():
        try:
            stages = scan_status(ScanSpec(scan, settings, root), run, config.results)
        except SpeckleflowError as error:
            table.add_row(scan, "-", Text("cannot be planned", style="red"))
            notes.append(f"{scan}: {error}")
            continue
        done, jobs = (sum(getattr(stage, key) for stage in stages.values()) for key in ("done", "jobs"))
        open_ = [Text(f"{name} ").append_text(s.text()) for name, s in stages.items() if s.done < s.jobs]
        table.add_row(scan, f"{done}/{jobs}", Text("; ").join(open_) or Text("all done", style="green"))
        notes += [f"{scan}: warning: {words}" for words in _warnings(root / config.results / scan)]
    return Group(table, *(Text(line) for line in [*notes, *_footer(run, root)]))


def scan_status(spec: ScanSpec, run: Run, results: str = "results") -> dict[str, Stage]:
    """The stages of one scan.

    Raises
    ------
    InputError
        The raw data are not there, so that nobody knows how many jobs the scan has.
    """
    scan, folder = spec.name, spec.root / results / spec.name
    plan = plan_scan(spec, folder / STAGES["inspect"])
    wanted = _jobs(plan, spec.config.simulate.enabled, spec.config.geometry.axis == "time")
    found = {}
    for stage, pattern in STAGES.items():
        here = spec.root if stage == "simulate" else folder
        done = sum(1 for _ in here.glob(pattern.format(scan=scan)))
        if stage == "reconstruct" and (folder / STAGES["volume"]).exists():
            done = wanted[stage]  # slabs are taken away once they are in the volume
        failed = len(run.failed.get((scan, stage), ()))
        done = min(done, wanted[stage])
        running = min(run.running[scan, stage], wanted[stage] - done)
        found[stage] = Stage(wanted[stage], done, running, min(failed, wanted[stage] - done))
    return found


def _warnings(folder: Path) -> list[str]:
    """Warnings of a finished scan, from its summary; those of the manifest where there is no summary yet."""
    for name in ("summary.json", "manifest.json"):
        try:
            return list(json.loads((folder / name).read_text(encoding="utf-8"))["warnings"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return []


def _jobs(plan: Plan, simulated: bool, series: bool) -> dict[str, int]:
    """Jobs of each stage."""
    counts = dict.fromkeys(STAGES, 1)
    counts["simulate"] = int(simulated)
    counts["retrieve"] = len(plan.blocks)
    counts["integrate"] = len(plan.blocks) if plan.has_phase else 0
    counts["reconstruct"] = len(plan.slabs)
    counts["volume"] = int(plan.tomographic)
    counts["film"] = int(series)
    counts["export"] = len(plan.outputs)
    return counts


_JOB = re.compile(r"^(?:local)?rule (?P<rule>\w+):$(?P<body>(?:\n    .*)+)", re.MULTILINE)
_EVENT = re.compile(
    _JOB.pattern
    + r"|^Finished jobid: (?P<finished>\d+)"
    + r"|^Error in rule \w+:$(?P<error>(?:\n    .*)+)"
    + r"|^Trying to restart job (?P<again>\d+)"
    + r"|^(?P<over>Complete log\(s\):|Exiting because a job execution failed)",
    re.MULTILINE,
)


def read_run(root: Path = Path(), log: Path | None = None) -> Run:
    """The state of the Snakemake run of one ``log``; None: of the latest in a folder, empty if none."""
    folder = root / ".snakemake" / "log"
    logs = [log] if log else sorted(folder.glob("*.snakemake.log"), key=lambda p: p.stat().st_mtime_ns)
    if not logs:
        return Run()
    run = Run(logs[-1], over=False)
    jobs: dict[str, tuple[str, str]] = {}
    active: set[str] = set()
    failures: dict[str, str] = {}
    for event in _EVENT.finditer(logs[-1].read_text(errors="replace")):
        if event["rule"]:
            number, scan = _line("jobid", event["body"]), re.search(r"\bscan=([^,\n]+)", event["body"])
            if number and scan:
                jobs[number] = (scan[1], event["rule"])
                active.add(number)
                failures.pop(number, None)
        elif event["finished"]:
            active.discard(event["finished"])
        elif event["error"] and (number := _line("jobid", event["error"])) in jobs:
            active.discard(number)
            failures[number] = _line("log", event["error"]).split(" (check")[0]
            if message := _line("message", event["error"]):
                run.messages[failures[number]] = message
        elif event["again"] in jobs:
            failures.pop(event["again"], None)
            active.add(event["again"])
        elif event["over"]:
            run.over = True
    run.running = Counter(jobs[number] for number in active if not run.over)
    for number, job_log in failures.items():
        run.failed.setdefault(jobs[number], []).append(job_log)
        run.last_failure = job_log
    return run


def _line(key: str, body: str) -> str:
    found = re.search(rf"^    {key}: (.*)$", body, re.MULTILINE)
    return found[1] if found else ""


def _footer(run: Run, root: Path) -> Iterator[str]:
    if run.last_failure:
        yield f"Last failure: {run.last_failure}"
        yield from (f"  {line}" for line in _tail(root / run.last_failure.split(", ")[0]))
    if run.log and not run.over:
        if (owner := _owner(root)) is False:
            yield (
                "The run was killed; its cluster jobs may go on (squeue shows them). Start it again as "
                "before. Should it say that the folder is locked, run: snakemake --profile slurm --unlock"
            )
        else:
            yield f"Running{owner}; its own words: {run.log}"


def is_running(root: Path = Path()) -> bool:
    """Whether the latest run in a folder goes on, as far as can be known: of another machine's it is assumed."""
    run = read_run(root)
    return bool(run.log and not run.over and _owner(root) is not False)


def _owner(root: Path) -> str | bool:
    """' as process 12 on host' of the latest run; '' where nobody noted it, False where it is dead."""
    try:
        owner = json.loads((root / ".snakemake" / "speckleflow-owner.json").read_text())
        here, pid = owner["host"] == socket.gethostname(), int(owner["pid"])
    except (OSError, ValueError, KeyError):
        return ""
    if here and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
        return False
    return f" as process {pid} on {owner['host']}"


def _tail(log: Path, lines: int = 5) -> list[str]:
    try:
        return log.read_text(errors="replace").rstrip().splitlines()[-lines:]
    except OSError:
        return [
            "(its log is not there: the job did not start; see the log of the cluster, named by Snakemake)"
        ]
