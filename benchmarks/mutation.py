"""Mutation test: a seeded sample of wrong programs, each run against the tests that reach the changed line.

    python -m benchmarks.mutation            # or `make mutants`; runs on where an earlier run was stopped
    python -m benchmarks.mutation --again    # survivors only, with the tests as they are now

Places of the sources are drawn at random, and at each place one of the changes that cosmic-ray knows. The work is
done in a clone of the committed tree in ``runs/mutation``; its database keeps the results. A test is chosen where
coverage saw it in the changed statement; cheap tests first, dear ones not at all. The figures and the survivors are
written to ``benchmarks/mutation.md``; the last column of its table is written by hand and kept.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import random
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult
from coverage import CoverageData
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "runs" / "mutation"
TREE, SESSION, COVERAGE, JUNIT = WORK / "tree", WORK / "session.sqlite", WORK / "coverage", WORK / "junit.xml"
TABLE = ROOT / "benchmarks" / "mutation.md"
#: folders that are mutated, and tests that are never chosen: real Snakemake, real Slurm, environments
SOURCES = ("src/speckleflow", "scripts")
LEFT_OUT = ("tests/slurm", "tests/envs", "tests/benchmarks")
MARKS = "not workflow and not slurm"
#: seconds of one test function, and of all that are run against one mutant
ONE_TEST_S, ALL_TESTS_S = 10.0, 30.0
#: a mutant that takes this many times as long as the tests usually do, and a minute, runs for ever
PATIENCE, GRACE_S = 4, 90
#: imported once, before a process is forked for each mutant
SLOW_IMPORTS = (
    "torch", "scipy.ndimage", "scipy.optimize", "h5py", "hdf5plugin", "hypothesis", "pydantic", "tifffile",
    "safetensors.torch", "finufft", "typer.testing", "xraylib", "matplotlib.pyplot", "torch.utils.data",
)  # fmt: skip


def annotations(tree: ast.AST) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types stand: they are never evaluated, so that a change there is no other program."""
    spans = []
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.expr):
                spans.append(
                    ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
                )
    return spans


def draw(count: int, seed: int) -> list[WorkItem]:
    """One mutant at each of ``count`` places; a place is where a change begins."""
    places: dict[tuple[str, tuple[int, int]], list[WorkItem]] = defaultdict(list)
    for folder in SOURCES:
        for path in sorted((TREE / folder).rglob("*.py")):
            types = annotations(ast.parse(path.read_text()))
            for item in _all_work_items([path.relative_to(TREE)], {}):
                (mutation,) = item.mutations
                if not any(begin <= mutation.start_pos < end for begin, end in types):
                    places[str(path), mutation.start_pos].append(item)
    rng = random.Random(seed)
    chosen = rng.sample(sorted(places), min(count, len(places)))
    return [rng.choice(places[place]) for place in chosen]


def clone() -> None:
    """The committed tree, as a repository of its own; removed files come back, changes are undone."""
    if TREE.exists():
        subprocess.run(["git", "-C", TREE, "checkout", "-q", "--force", "."], check=True)
        return
    WORK.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "-q", "--shared", ROOT, TREE], check=True)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TREE / "src"), "OMP_NUM_THREADS": "1"}


def cover() -> None:
    """Run the tests once: which lines each reaches, how long it takes, and whether it passes."""
    if JUNIT.exists():
        return
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", TREE / "src"],
        check=True,
    )
    print("Which test reaches which line (all fast tests, once) ...", flush=True)
    settings = WORK / "coverage.ini"
    settings.write_text(f"[run]\nsource = src/speckleflow\ndata_file = {COVERAGE}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", MARKS]
    command += [f"--ignore={folder}" for folder in LEFT_OUT]
    command += ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
    command += [f"--junitxml={JUNIT}", "-o", "junit_family=xunit1"]
    subprocess.run(command, cwd=TREE, env=environment())


class Tests:
    """Which tests reach a place, and what they cost."""

    def __init__(self) -> None:
        self.data = CoverageData(str(COVERAGE))
        self.data.read()
        self.seconds: Counter[str] = Counter()
        failed = set()
        for case in ElementTree.parse(JUNIT).iter("testcase"):
            test = f"{case.get('file')}::{case.get('name', '').split('[')[0]}"
            self.seconds[test] += float(case.get("time", 0))
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(test)
        for test in failed:
            del self.seconds[test]

    def reach(self, mutation: MutationSpec) -> list[str]:
        """Test functions that run the changed statement, those of the module first, cheap ones first."""
        path = mutation.module_path
        by_line = self.data.contexts_by_lineno(str(TREE / path))
        lines = statement(ast.parse((TREE / path).read_text()), mutation.start_pos[0])
        contexts = {c for line, names in by_line.items() if lines is None or line in lines for c in names}
        tests = {test for context in contexts for test in self._of_context(context)}
        package = path.parent.relative_to("src/speckleflow") if path.parts[0] == "src" else Path("workflow")
        of_package = {test for test in self.seconds if test.startswith(f"tests/{package}/")}
        if lines is None:  # run at import only, so that no test is seen to reach it
            tests |= of_package

        def order(test: str) -> tuple[bool, bool, float]:
            own = Path(test.split("::")[0]).name == f"test_{path.stem}.py"
            return not own, test not in of_package, self.seconds[test]

        chosen, total = [], 0.0
        for test in sorted(tests, key=order):
            if self.seconds[test] <= ONE_TEST_S and total + self.seconds[test] <= ALL_TESTS_S:
                chosen.append(test)
                total += self.seconds[test]
        return chosen

    def _of_context(self, context: str) -> Iterable[str]:
        """Tests of a context; what a fixture runs counts for all tests that may share it."""
        test, _, phase = context.partition("|")
        file = test.split("::")[0]
        if phase != "setup":
            return {test.split("[")[0]} & self.seconds.keys()
        shared = str(Path(file).parent) + "/" if (TREE / file).with_name("conftest.py").exists() else file
        shared = file if shared == "tests/" else shared
        return {name for name in self.seconds if name.startswith(shared)}


def statement(tree: ast.AST, line: int) -> range | None:
    """Lines of the statement at a line; of the whole function where it is its head; None outside functions."""
    inside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and first(node) <= line <= (node.end_lineno or 0)
    ]
    if not any(isinstance(node, ast.FunctionDef) for node in inside):
        return None
    node = max(inside, key=first)
    if isinstance(node, ast.FunctionDef):
        return range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    body = getattr(node, "body", None)
    return range(node.lineno, body[0].lineno if body else (node.end_lineno or 0) + 1)


def first(node: ast.stmt) -> int:
    return min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", []))])


def test(item: WorkItem, tests: Tests) -> WorkResult:
    """Result of one mutant; a run that ends without a failed test is no kill."""
    (mutation,) = item.mutations
    names = tests.reach(mutation)
    limit = GRACE_S + PATIENCE * sum(tests.seconds[name] for name in names)
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
        code, output = pytest_in_a_child(names, limit) if names else (0, "no test reaches this place")
    diff = "\n".join(difflib.unified_diff(before.split("\n"), after.split("\n"), lineterm=""))
    outcome = {0: TestOutcome.SURVIVED, 1: TestOutcome.KILLED}.get(code, TestOutcome.INCOMPETENT)
    return WorkResult(WorkerOutcome.NORMAL, output, outcome, diff)


def pytest_in_a_child(names: list[str], limit: float) -> tuple[int, str]:
    """Exit status and output of pytest in a fork of this process, which has the slow imports behind it.

    The status is 1 where a test fails or the limit (s) passes; other than 0 and 1 where tests cannot be run.
    """
    log = WORK / "output.txt"
    child = os.fork()
    if not child:
        os.setsid()
        with log.open("w") as stream:
            for target in (1, 2):
                os.dup2(stream.fileno(), target)
        code = pytest.main(["-x", "-q", "--tb=line", "-p", "no:cacheprovider", *names])
        sys.stdout.flush()
        os._exit(int(code))
    end = time.monotonic() + limit
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 1, "timeout"
        time.sleep(0.05)
    output = log.read_text(errors="replace")
    code = os.waitstatus_to_exitcode(ended[1])
    if code < 0:  # a crash, such as a segmentation fault
        return 1, f"FAILED signal {-code}\n{output}"
    # status 2 to 4: the mutated module cannot be imported, so that no test is collected
    return (1 if code == 2 and "ERROR tests/" in output else code), output


def killer(result: WorkResult) -> str:
    """The test that failed; 'timeout' where the mutant never ends; empty if there is none."""
    if result.output == "timeout":
        return "timeout"
    lines = re.findall(r"^(?:FAILED|ERROR) (\S+)", result.output or "", re.M)
    return lines[0] if lines else ""


def run(db: WorkDB, items: list[WorkItem]) -> None:
    """Test mutants one by one; each result is on disk before the next begins."""
    tests = Tests()
    os.environ.update(environment(), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(TREE / "src"))
    os.chdir(TREE)
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    with Progress(auto_refresh=False) as progress:
        task = progress.add_task("mutants", total=len(items))
        for item in items:
            (mutation,) = item.mutations
            result = test(item, tests)
            db.set_result(item.job_id, result)
            place = f"{mutation.module_path}:{mutation.start_pos[0]}"
            progress.console.print(
                f"{result.test_outcome.value:11} {place} {killer(result)}", highlight=False
            )
            progress.advance(task)
            progress.refresh()


def change(result: WorkResult) -> str:
    """The changed line, before and after."""
    lines = (result.diff or "").splitlines()[2:]
    before = next((line[1:].strip() for line in lines if line.startswith("-")), "")
    after = next((line[1:].strip() for line in lines if line.startswith("+")), "")
    return f"`{before}` → `{after}`".replace("|", "\\|")


def key(item: WorkItem) -> str:
    (mutation,) = item.mutations
    line, column = mutation.start_pos
    operator = mutation.operator_name.removeprefix("core/")
    return f"{str(mutation.module_path).removeprefix('src/speckleflow/')}:{line}:{column} {operator}"


def write_table(db: WorkDB) -> None:
    """Figures and survivors; what was written about a survivor by hand is kept."""
    kept = {}
    if TABLE.exists():
        rows = (row.split(" | ") for row in TABLE.read_text().splitlines() if row.startswith("| "))
        kept = {
            cells[0].removeprefix("| "): cells[-1].removesuffix(" |") for cells in rows if len(cells) == 3
        }
    done = sorted(db.completed_work_items, key=lambda pair: key(pair[0]))
    survivors = [(i, r) for i, r in done if r.test_outcome == TestOutcome.SURVIVED]
    invalid = sum(r.test_outcome == TestOutcome.INCOMPETENT for _, r in done)
    commit = subprocess.run(
        ["git", "-C", TREE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    killed = len(done) - len(survivors) - invalid
    verdicts = Counter(kept.get(key(i), "left").split(":")[0].split(" by ")[0] for i, _ in survivors)
    since, same = verdicts["killed since"], verdicts["equivalent"]
    packages: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for item, result in done:
        parts = item.mutations[0].module_path.parts
        package = parts[2] if len(parts) > 3 else "(top)"
        packages[package][0] += result.test_outcome == TestOutcome.KILLED
        packages[package][1] += 1
    real = max(len(done) - invalid - same, 1)
    text = [
        "# Mutation test",
        "",
        f"`make mutants`: {len(done)} of {db.num_work_items} mutants of `src/speckleflow` and `scripts` at {commit}, "
        "one at each of as many places drawn at random (cosmic-ray's operators, types left out; see "
        "`benchmarks/mutation.py`), each against the tests that reach the place and take at most "
        f"{ALL_TESTS_S:.0f} s together (no Snakemake, no Slurm).",
        "",
        "| | mutants |",
        "|---|---|",
        f"| killed when first run | {killed} ({100 * killed / max(len(done) - invalid, 1):.1f} %) |",
        f"| survived, killed since by a new test | {since} |",
        f"| survived, equivalent | {same} |",
        f"| survived, left | {len(survivors) - since - same} |",
        f"| no valid run | {invalid} |",
        "| **killed now, of those that are not equivalent** | "
        f"**{killed + since} of {real} ({100 * (killed + since) / real:.1f} %)** |",
        "",
        "| package | killed when first run | mutants |",
        "|---|---|---|",
        *(f"| {name} | {n[0]} | {n[1]} |" for name, n in sorted(packages.items())),
        "",
        "## Survivors of the first run",
        "",
        "| place | change | verdict |",
        "|---|---|---|",
        *(f"| {key(i)} | {change(r)} | {kept.get(key(i), 'left')} |" for i, r in survivors),
    ]
    TABLE.write_text("\n".join(text) + "\n")


def again(db: WorkDB) -> None:
    """Put each surviving change into the present sources and run the test that its verdict names."""
    rows = [row.split(" | ") for row in TABLE.read_text().splitlines() if row.startswith("| ")]
    verdicts = {
        cells[0][2:]: match[1]
        for cells in rows
        if len(cells) == 3 and (match := re.search(r"killed since by `([^`]+)`", cells[2]))
    }
    fresh = WORK / "present"
    if not fresh.exists():
        subprocess.run(["git", "clone", "-q", "--shared", ROOT, fresh], check=True)
    subprocess.run(["git", "-C", fresh, "pull", "-q"], check=True)
    for item, result in db.completed_work_items:
        if key(item) not in verdicts:
            continue
        path = item.mutations[0].module_path
        patch = f"--- a/{path}\n+++ b/{path}\n" + "\n".join((result.diff or "").splitlines()[2:]) + "\n"
        subprocess.run(["git", "-C", fresh, "checkout", "-q", "--force", "."], check=True)
        applied = subprocess.run(
            ["git", "-C", fresh, "apply", "-C1", "--recount"], input=patch, text=True
        ).returncode
        if applied:
            print(f"moved      {key(item)}", flush=True)
            continue
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", verdicts[key(item)]]
        code = subprocess.run(
            command,
            cwd=fresh,
            env={**environment(), "PYTHONPATH": str(fresh / "src")},
            stdout=subprocess.DEVNULL,
        ).returncode
        print(f"{'killed' if code == 1 else 'NOT KILLED':10} {key(item)}", flush=True)
    subprocess.run(["git", "-C", fresh, "checkout", "-q", "--force", "."], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="number of mutants (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample (default: 1)")
    parser.add_argument("--again", action="store_true", help="run the tests named in mutation.md only")
    parser.add_argument("--table", action="store_true", help="write mutation.md from the results there are")
    options = parser.parse_args()
    clone()
    with use_db(SESSION) as db:
        if options.again:
            again(db)
            return
        if not options.table:
            cover()
            if not db.num_work_items:
                os.chdir(TREE)
                db.add_work_items(draw(options.count, options.seed))
            run(db, sorted(db.pending_work_items, key=lambda item: item.job_id))
        write_table(db)


if __name__ == "__main__":
    main()
