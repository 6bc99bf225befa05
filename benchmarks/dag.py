"""How long Snakemake thinks about a whole beamtime: a dry run of 200 scans with 901 projections each.

    python benchmarks/dag.py [--scans 200] [--projections 901] [--pixels 2048] [--positions 20]

Prints a table. Nothing is computed: the scans are simulated ones, whose shape is known without a file.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]


def dry_run(scans: int, projections: int, pixels: int, positions: int) -> tuple[list[float], dict[str, int]]:
    """Seconds until the DAG of a scan table stands, those of a CPU, seconds of the whole dry run; jobs by rule."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        simulate = {"enabled": True, "projections": projections, "positions": positions}
        simulate |= {"rows": pixels, "columns": pixels}
        (here / "config.yaml").write_text(yaml.safe_dump({"scans": "scans.tsv", "simulate": simulate}))
        names = [f"scan_{i:04d}" for i in range(scans)]
        (here / "scans.tsv").write_text("\n".join(["scan", *names]) + "\n")
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "reason"]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        command += ["--configfile", str(here / "config.yaml")]
        start, seconds, lines = time.perf_counter(), [], []
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            for line in running.stdout or ():
                if not seconds and line.startswith("Job stats"):
                    used = psutil.Process(running.pid).cpu_times()
                    seconds = [time.perf_counter() - start, used.user + used.system]
                lines.append(line)
        seconds.append(time.perf_counter() - start)
        if running.returncode:
            sys.exit("".join(lines))
    counts = re.findall(r"^(\w+) +(\d+)$", "".join(lines), flags=re.MULTILINE)
    return seconds, {rule: int(count) for rule, count in counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--projections", type=int, default=901)
    parser.add_argument("--pixels", type=int, default=2048)
    parser.add_argument("--positions", type=int, default=20)
    given = parser.parse_args()
    (built, cpu, seconds), jobs = dry_run(given.scans, given.projections, given.pixels, given.positions)
    total = jobs.pop("total")
    print(
        f"{given.scans} scans of {given.projections} projections, {given.pixels} x {given.pixels} pixels, "
        f"{given.positions} positions; {os.cpu_count()} CPUs"
    )
    for rule, count in jobs.items():
        print(f"{rule:12} {count:7}")
    print(f"{'total':12} {total:7}")
    print(
        f"DAG built {built:.1f} s after the start, with {cpu:.1f} s of one CPU: {60 * total / cpu:.0f} jobs a minute"
    )
    print(f"whole dry run, its listing included: {seconds:.1f} s")


if __name__ == "__main__":
    main()
