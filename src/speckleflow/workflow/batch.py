"""The end of a batch: what became of every scan, why one failed, and what to do about it.

    outcomes = batch_outcomes(scans, results, root, log)
    print(batch_text(outcomes));  write_batch(outcomes, path)

What failed follows from Snakemake's own log of the run, why from the logs of its jobs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from speckleflow.io.atomic import atomic_path
from speckleflow.stages import registry
from speckleflow.workflow.job import ERROR, HINT
from speckleflow.workflow.status import read_run

#: scans with a report that are listed one by one; of more only their number
_LISTED = 30
_NO_HINT = "bring it to what was expected, or set the key that says otherwise (docs/raw-data.md)"
_TRACEBACK = "a fault of the program: report it with this log"
_KILLED = "run the same command again; if it is killed again, give it more memory or time (docs/cluster.md)"


@dataclass(frozen=True)
class Outcome:
    """What became of one scan.

    Attributes
    ----------
    verdict : 'report', 'failed', or 'no report'.
    stage : that failed, the first in the order of the data's way; empty where none did.
    why, what_to_do : one sentence each.
    path : the report, or the log of the job that failed.
    """

    scan: str
    verdict: str
    stage: str = ""
    why: str = ""
    what_to_do: str = ""
    path: str = ""


def batch_outcomes(
    scans: Iterable[str], results: str, root: Path = Path(), log: Path | None = None
) -> list[Outcome]:
    """The outcome of every scan.

    Parameters
    ----------
    scans : names, in the order of the scan table.
    results : folder of the results, below ``root``.
    root : folder in which Snakemake runs.
    log : of the run that is meant; None: the latest.

    Returns
    -------
    list of Outcome
        In the order of ``scans``.
    """
    run = read_run(root, log)
    order = list(registry.STAGES)
    outcomes = []
    for scan in scans:
        failed = [(rule, logs) for (name, rule), logs in run.failed.items() if name == scan]
        if failed:
            rule, logs = min(failed, key=lambda found: order.index(found[0]) if found[0] in order else 99)
            path = logs[0].split(", ")[0]
            why, what_to_do = _explained(root / path, run.messages.get(logs[0], ""))
            outcomes.append(Outcome(scan, "failed", rule, why, what_to_do, path))
            continue
        report = f"{results}/{scan}/report.html"
        done = (root / report).exists()
        outcomes.append(Outcome(scan, "report" if done else "no report", path=report if done else ""))
    return outcomes


def _explained(log: Path, message: str) -> tuple[str, str]:
    """Why a job failed and what to do, by its log; ``message``: what the scheduler said."""
    try:
        lines = [line.rstrip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    problems = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
    if problems:
        first = problems[0]
        after = lines[first + 1] if first + 1 < len(lines) else ""
        more = f" (and {len(problems) - 1} more in the log)" if len(problems) > 1 else ""
        hint = after.removeprefix(HINT) if after.startswith(HINT) else _NO_HINT
        return lines[first].removeprefix(ERROR) + more, hint
    if any(line.startswith("Traceback ") for line in lines):
        return lines[-1], _TRACEBACK
    said = f": {message}" if message else ", killed from outside or out of memory"
    return f"the job ended without a word in its log{said}", _KILLED


def batch_text(outcomes: list[Outcome]) -> str:
    """The table for a terminal: scans with a report first, then the failed ones with their sentences, a sum last."""
    by = {
        verdict: [o for o in outcomes if o.verdict == verdict]
        for verdict in ("report", "no report", "failed")
    }
    width = max((len(o.scan) for o in outcomes), default=0)
    lines = [""]
    if len(by["report"]) > _LISTED:
        folder = Path(by["report"][0].path).parents[1]
        lines.append(f"{len(by['report'])} scans have their report: {folder}/SCAN/report.html")
    else:
        lines += [f"{o.scan:{width}}  report      {o.path}" for o in by["report"]]
    lines += [f"{o.scan:{width}}  no report" for o in by["no report"]]
    for o in by["failed"]:
        lines += [
            f"{o.scan:{width}}  failed      in {o.stage}",
            f"{'':{width}}    why         {o.why}",
            f"{'':{width}}    what to do  {o.what_to_do}",
            f"{'':{width}}    log         {o.path}",
        ]
    total = f"{len(by['report'])} of {len(outcomes)} scans have their report"
    if by["failed"]:
        total += (
            f", {len(by['failed'])} failed. Mend them and run the same command again: only they are built."
        )
    return "\n".join([*lines, "", total])


def write_batch(outcomes: list[Outcome], path: Path) -> None:
    """The table as tab-separated text, one scan a row."""
    with atomic_path(path) as private, private.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(field.name for field in fields(Outcome))
        table.writerows(astuple(outcome) for outcome in outcomes)
