"""A real Slurm once a session, and projects whose Snakemake submits to it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import h5py
import pytest

from tests.slurm.mini import NODES, CannotStart, MiniSlurm, processes
from tests.workflow.conftest import ROOT, Project, environment, finished, tiny_config

__all__ = ["finished"]  # the local run, shared with the tests of the workflow

#: the site's values for a cluster that is done with a job in seconds: look at once, submit without pause
HASTE = (
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1", "--max-status-checks-per-second", "2"),
    *("--max-jobs-per-timespan", "100/1s", "--latency-wait", "10"),
)
#: a stuck run fails its test after this many seconds, and every later one at once
PATIENCE = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniSlurm]:
    """Two nodes of four CPUs, two pretended GPUs; skips with the reason where there can be none."""
    cluster = MiniSlurm(tmp_path_factory.mktemp("slurm") / "s")
    try:
        cluster.start()
        yield cluster
    except CannotStart as reason:
        pytest.skip(f"no Slurm here: {reason}")
    finally:
        cluster.stop()


class ClusterProject(Project):
    """A project that is run with ``snakemake --profile slurm`` from the repository's root."""

    def __init__(self, cluster: MiniSlurm, folder: Path, config: dict, table: str) -> None:
        super().__init__(folder, config, table)
        self.cluster = cluster
        self.env = environment() | cluster.env
        self.running: Running | None = None

    def submitting(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, str(Path(__file__).with_name("hasty.py"))),
            *("--profile", "slurm", "--directory", str(self.folder)),
            *("--configfile", str(self.folder / "config.yaml")),
            *HASTE,
            *arguments,
        ]

    def submit(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        running = self.start(*arguments)
        try:
            return running.finish(check)
        finally:
            running.kill()

    def scripts(self, rule: str) -> list[int]:
        """Process numbers of the running scripts of a rule."""
        return [
            pid
            for pid, words in processes()
            if any(re.fullmatch(rf".*{self.folder}/.*\.{rule}\.py", word) for word in words)
            and "python" in words[0]
        ]

    def wait_for_script(self, rule: str, *, but: tuple[int, ...] = ()) -> int:
        """The process number of a script of a rule, once one runs that is not among those named."""

        def others() -> list[int]:
            if self.running is not None and self.running.process.poll() is not None:
                pytest.fail(f"the run ended before a script of {rule} was seen:\n{self.running.said[-6000:]}")
            return [pid for pid in self.scripts(rule) if pid not in but]

        return self.cluster.wait(others, PATIENCE, f"a script of {rule}")[0]

    def start(self, *arguments: str) -> Running:
        """Run in the background; end it with ``finish`` or ``kill``."""
        self.running = Running(self.submitting(*arguments), self.env, self.folder)
        return self.running


class Running:
    """A Snakemake in the background, its words in a file."""

    all: ClassVar[list[Running]] = []

    def __init__(self, command: list[str], env: dict[str, str], folder: Path) -> None:
        Running.all.append(self)
        self.file = folder / f"run{len(Running.all)}.txt"
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=self.file.open("w"), stderr=subprocess.STDOUT
        )

    @property
    def said(self) -> str:
        return self.file.read_text()

    def finish(self, check: bool = True) -> subprocess.CompletedProcess[str]:
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            MiniSlurm.stuck = f"a run was not done after {PATIENCE} s"
            raise AssertionError(f"{MiniSlurm.stuck}:\n{self.said[-6000:]}") from None
        if check:
            assert code == 0, self.said[-8000:]
        return subprocess.CompletedProcess(self.process.args, code, self.said)

    def kill(self) -> None:
        """kill -9, as a person or a crashing login node would: no farewell, no clean-up."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def submitted(slurm: MiniSlurm, finished: Project, tmp_path: Path) -> Iterator[Callable[..., ClusterProject]]:
    """Make a project for the cluster with the raw files of the local run: ``submitted(table=..., ...)``.

    ``keep`` names results of the local run that are there already, so that a test pays for its own jobs only.
    """
    if MiniSlurm.stuck:
        pytest.fail(f"the cluster stood still in an earlier test: {MiniSlurm.stuck}")
    slurm.wait(lambda: slurm.node_states() == dict.fromkeys(NODES, "idle"), 60, "both nodes idle")

    def make(
        table: str = "scan\ntiny\n", keep: tuple[str, ...] = ("manifest.json", "corrected.h5"), **sections
    ) -> ClusterProject:
        project = ClusterProject(slurm, tmp_path / "project", tiny_config(**sections), table)
        shutil.copytree(finished.folder / "raw", project.folder / "raw")
        project.results().mkdir(parents=True)
        for name in keep:
            shutil.copy2(finished.results() / name, project.results() / name)
        return project

    yield make
    for running in Running.all:
        running.kill()
    for pid, words in processes():
        if any(word.startswith(str(tmp_path)) for word in words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    slurm("scancel", "--quiet", f"--user={os.geteuid()}", check=False)
    slurm.wait(lambda: not slurm.jobs("RUNNING", "PENDING", "COMPLETING"), 60, "the cluster empty again")


class Watcher:
    """Opens every HDF5 file with a final name when it appears or changes, and notes those that are not whole."""

    def __init__(self, *folders: Path) -> None:
        self.folders, self.broken, self.looks = folders, set(), 0
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for folder in self.folders:
                for path in folder.rglob("[!.]*.h5"):
                    self._look(path)

    def _look(self, path: Path) -> None:
        try:
            status = path.stat()
            state = status.st_ino, status.st_size, status.st_mtime_ns
            if self._seen.get(path) == state:
                return
            with h5py.File(path, "r", locking=False) as file:
                file.visititems(lambda _, item: item.shape if isinstance(item, h5py.Dataset) else None)
            self._seen[path] = state
            self.looks += 1
        except FileNotFoundError:  # taken away between the listing and the look
            return
        except OSError as error:
            if path.exists():
                self.broken.add(f"{path}: {error}")

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def same_results(one: Path, other: Path) -> list[str]:
    """Names of the HDF5 results in ``one``; each is bit-identical in ``other``."""
    names = sorted(str(path.relative_to(one)) for path in one.rglob("[!.]*.h5"))
    assert names
    different = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    assert not different
    return names
