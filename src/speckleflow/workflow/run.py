"""The workflow by one command: Snakemake with a line of progress in place of its log, and the batch's table last.

Snakemake does all the work and writes its own log below ``.snakemake/log``; whatever this command does,
``snakemake`` does by itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

from speckleflow.config import load_config, load_scans
from speckleflow.errors import ConfigError
from speckleflow.stages.registry import STAGES
from speckleflow.workflow.batch import batch_outcomes, batch_text

#: Progress is printed line by line where there is no terminal: at each of so many parts of the jobs.
_PARTS = 10
#: lines of Snakemake's that are shown when it ends without a job that failed
_LAST = 12


def run_workflow(
    config: Path,
    *,
    profile: str | None = None,
    until: str | None = None,
    preview: bool = False,
    cores: str = "all",
    dry_run: bool = False,
    root: Path = Path(),
) -> int:
    """Run the workflow for a configuration; returns the exit status.

    Parameters
    ----------
    config : the configuration file.
    profile : Snakemake's profile, e.g. slurm; ``cores`` is then its matter.
    until : last stage that is made.
    preview : whether only the previews are made.
    cores : CPU cores, or all.
    dry_run : whether Snakemake only says what it would do.
    root : folder in which it runs.

    Raises
    ------
    ConfigError
        The configuration cannot be used, there is no such stage, or the workflow is not here.
    """
    settings = load_config(root / config)
    scans = load_scans(settings, root)
    command = snakemake_command(config, profile, until, preview, cores, root)
    if dry_run:
        return subprocess.run([*command, "--dry-run", "--quiet", "rules"], cwd=root).returncode
    progress = Progress(sys.stderr)
    start, last = time.monotonic(), deque[str](maxlen=_LAST)
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line)
                progress.feed(line.rstrip("\n"))
        except (
            KeyboardInterrupt
        ):  # Snakemake was interrupted too; it stops its jobs and gives the folder free
            process.wait()
    progress.end()
    outcomes = batch_outcomes(scans, settings.results, root)
    took = f"{_duration(time.monotonic() - start)}; Snakemake's own log: .snakemake/log"
    if process.returncode and not any(outcome.verdict == "failed" for outcome in outcomes):
        print("".join(last), file=sys.stderr, end="")
    else:
        if process.returncode or not (preview or until):
            print(batch_text(outcomes).strip())
        elif preview:
            print("\n".join(f"{settings.results}/{scan}/preview.png" for scan in scans))
        print(took)
    return process.returncode


def snakemake_command(
    config: Path, profile: str | None, until: str | None, preview: bool, cores: str, root: Path = Path()
) -> list[str]:
    """Snakemake's command line. Targets stand before ``--configfile``, which takes all words after it."""
    snakefile = _snakefile(root)
    if until is not None and until not in STAGES:
        near = get_close_matches(until, STAGES, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(
            f"command line: --until: expected a stage ({', '.join(STAGES)}), found '{until}'{hint}"
        )
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)]
    command += ["previews"] if preview else []
    if profile is None:
        command += ["--cores", cores]
    else:
        known = snakefile.parent / "workflow" / "profiles" / profile
        command += ["--profile", str(known if known.is_dir() else profile)]
    command += ["--until", until] if until else []
    return [*command, "--configfile", str(config)]


def _snakefile(root: Path) -> Path:
    """The workflow of this folder, or of the source tree that the package runs from."""
    for folder in (root.resolve(), Path(__file__).resolve().parents[3]):
        if (folder / "Snakefile").is_file() and (folder / "workflow" / "rules").is_dir():
            return folder / "Snakefile"
    raise ConfigError(
        f"{root.resolve()}: expected the workflow (Snakefile, workflow/), found none; run in a copy of the repository"
    )


class Progress:
    """One line of progress from Snakemake's words: scan, stage, jobs, percent, rate, time left.

    Parameters
    ----------
    stream : where it is written; rewritten in place on a terminal, else a line a tenth of the jobs.
    clock : seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.start = clock()
        self.done = self.total = self.failed = 0
        self._rule = self._scan = ""
        self._terminal = stream.isatty()
        self._shown = -1

    def feed(self, line: str) -> None:
        """Take one line of Snakemake's."""
        if match := re.match(r"(?:local)?rule (\w+):$", line):
            self._rule = match[1]
        elif match := re.match(r"    wildcards: .*\bscan=([^,\s]+)", line):
            self._scan = match[1]
            self._show()
        elif match := re.match(r"(\d+) of (\d+) steps \(", line):
            self.done, self.total = int(match[1]), int(match[2])
            self._show()
        elif re.match(r"Error in rule \w+:$", line):
            self.failed += 1
            self._show()
        elif "cannot be planned." in line:
            self._clear()
            print(line.strip(), file=self.stream)

    def text(self) -> str:
        """What the line says, of at most 79 characters."""
        parts = [f"{self._scan}: {self._rule}" if self._scan else self._rule or "starting"]
        if self.total:
            parts.append(f"{self.done}/{self.total} jobs, {100 * self.done // self.total} %")
            minutes = (self.clock() - self.start) / 60
            if self.done and minutes > 0:
                rate = self.done / minutes
                parts.append(f"{rate:.3g} jobs/min")
                parts.append(f"{_duration(60 * (self.total - self.done) / rate)} left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        text = "  ".join(parts)
        return text if len(text) < 80 else f"{text[: 79 - len(text[-40:]) - 1]}~{text[-40:]}"

    def end(self) -> None:
        """Take the line away."""
        self._clear()

    def _show(self) -> None:
        if self._terminal:
            self._clear()
            width = shutil.get_terminal_size().columns - 1
            print(self.text()[:width], end="", file=self.stream, flush=True)
        elif self.total and (part := self.done * _PARTS // self.total) > self._shown:
            self._shown = part
            print(self.text(), file=self.stream, flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=self.stream, flush=True)


def _duration(seconds: float) -> str:
    """'45 s', '12 min' or '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
