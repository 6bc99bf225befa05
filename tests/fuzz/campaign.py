"""Hostile inputs through a few long-lived workers; figures for benchmarks/fuzz.md.

python -m tests.fuzz.campaign 1500        prints the table and every failure
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.inputs import Task, spoil

ROOT = Path(__file__).resolve().parents[2]
#: CPU seconds of one input; by the clock so many times that, since a busy machine is no fault of the reader
LIMIT_S, CLOCK = 10.0, 6.0
#: how an input may end
FINE = {"refused", "accepted"}


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Worker:
    """A process of :mod:`tests.fuzz.worker`, started again after a crash or hang."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self.process: subprocess.Popen[str] | None = None

    def attempt(self, task: Task) -> dict:
        if self.process is None:
            path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", "weights"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/",
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            self._answer('{"kind": "none", "folder": "/nonexistent"}', 120)
        return self._answer(json.dumps(asdict(task)), self.limit_s)

    def _answer(self, line: str, limit: float) -> dict:
        assert self.process is not None
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        start, used = time.monotonic(), _cpu_seconds(process.pid)
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            while not ready.select(0.5):
                if _cpu_seconds(process.pid) - used > limit or time.monotonic() - start > CLOCK * limit:
                    self.close()
                    return {"verdict": "hang", "seconds": limit, "peak_mb": 0.0, "said": "", "trace": ""}
        answer = process.stdout.readline()
        if not answer:
            code = process.wait()
            self.process = None
            return {
                "verdict": "crash",
                "seconds": 0.0,
                "peak_mb": 0.0,
                "said": f"exit status {code}",
                "trace": "",
            }
        found: dict = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def run(cases: Iterable[int], folder: Path, workers: int = 2) -> list[tuple[int, Task, dict]]:
    """Try cases; each with its task and how it ended, in order."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    done: list[tuple[int, Task, dict]] = []
    making = threading.Lock()

    def work() -> None:
        worker = Worker()
        while True:
            try:
                case = waiting.get_nowait()
            except queue.Empty:
                break
            place = folder / f"case_{case}"
            place.mkdir()
            with making:  # HDF5 is written by one thread at a time
                task = spoil(case, place, folder / "good")
            done.append((case, task, worker.attempt(task)))
            shutil.rmtree(place, ignore_errors=True)
        worker.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(done, key=lambda entry: entry[0])


def table(results: list[tuple[int, Task, dict]]) -> str:
    """Counts by group of inputs, as Markdown."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for _, task, answer in results:
        groups[task.group][answer["verdict"]] += 1
    columns = [
        "refused",
        "accepted",
        "traceback",
        "no sentence",
        "hang",
        "memory",
        "crash",
        "status",
        "written",
    ]
    lines = ["| input | cases | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    total: Counter[str] = sum(groups.values(), Counter())
    for name, counts in [*groups.items(), ("**all**", total)]:
        cells = " | ".join(str(counts[column]) for column in columns)
        lines.append(f"| {name} | {counts.total()} | {cells} |")
    slowest = max(answer["seconds"] for _, _, answer in results)
    peak = max(answer["peak_mb"] for _, _, answer in results)
    return "\n".join([*lines, "", f"Slowest {slowest:.1f} s, largest growth of memory {peak:.0f} MB."])


def failures(results: list[tuple[int, Task, dict]]) -> list[str]:
    """One paragraph for every case that ended otherwise than refused or accepted."""
    return [
        f"case {case} ({task.group}, {task.words}): {answer['verdict']} {answer.get('written', '')}\n"
        f"{(answer['trace'] or answer['said'])[-1500:]}"
        for case, task, answer in results
        if answer["verdict"] not in FINE
    ]


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as made:
        results = run(range(first, first + count), Path(made))
    print(table(results))
    print("\n".join(failures(results)))
