"""A real Slurm on one machine: two nodes, two pretended GPUs, loopback only, everything in one folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

T = TypeVar("T")

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "srun", "scancel")
NODES = ("node1", "node2")
GPUS = 2  # of node2

CONF = """\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
# both, or the controller listens on every interface
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/%n.pid
SlurmctldLogFile={home}/log/slurmctld.log
SlurmdLogFile={home}/log/%n.log
# no cgroups: processes are found by their parents, memory is looked at every second
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
# the tests look back at all their jobs
MinJobAge=7200
KillWait=2
SlurmdTimeout=15
SlurmctldTimeout=10
# the nodes pretend to be larger than the machine; the first is soon full, the second has CPUs to spare per GPU
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node1} CPUs=2 RealMemory=10000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={node2} CPUs=4 RealMemory=10000 Gres=gpu:{gpus}
PartitionName=cpu Nodes=node1,node2 Default=YES MaxTime=60 State=UP
"""


class CannotStart(Exception):
    """Why there can be no Slurm here."""


class MiniSlurm:
    """The cluster in folder ``home``; ``env`` is the environment in which its commands work."""

    #: what was waited for in vain, if anything was
    stuck: ClassVar[str] = ""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = os.environ | {
            "SLURM_CONF": str(home / "slurm.conf"),
            "PATH": os.pathsep.join(
                [str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
        }

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until both nodes are idle.

        Raises
        ------
        CannotStart
            Slurm is not installed, this is not root, or a daemon refuses.
        """
        if missing := [name for name in PROGRAMS if shutil.which(name, path=_system_path()) is None]:
            raise CannotStart(f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)")
        if os.geteuid() != 0:
            raise CannotStart("needs root, to make devices that stand for GPUs")
        for folder in ("state", "log", "bin", *(f"spool/{node}" for node in NODES)):
            (self.home / folder).mkdir(parents=True)
        self._write_configuration()
        self._start("munged", "--force", *self._munge())
        self._start("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        try:
            self.wait(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), 15, "both nodes idle")
        except TimeoutError as error:
            raise CannotStart(f"{error}: {self.node_states()}") from error

    def _write_configuration(self) -> None:
        home = self.home
        controller, node1, node2 = _free_ports(3)
        (home / "slurm.conf").write_text(
            CONF.format(
                home=home,
                host=socket.gethostname().split(".")[0],
                controller=controller,
                node1=node1,
                node2=node2,
                gpus=GPUS,
            )
        )
        (home / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=node2 Name=gpu File={home}/gpu[0-{GPUS - 1}] Flags=nvidia_gpu_env\n"
        )
        for i in range(GPUS):
            # a character device is needed: with a regular file CUDA_VISIBLE_DEVICES stays empty
            try:
                os.mknod(home / f"gpu{i}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            except PermissionError as error:
                raise CannotStart("devices that stand for GPUs cannot be made here") from error
        (home / "munge.key").write_bytes(os.urandom(128))
        (home / "munge.key").chmod(0o600)
        # Snakemake's executor takes SLURM_* away from the step it starts, and with it the way to this cluster
        wrapper = home / "bin" / "srun"
        wrapper.write_text(
            f'#!/bin/sh\nSLURM_CONF={home}/slurm.conf exec {shutil.which("srun", path=_system_path())} "$@"\n'
        )
        wrapper.chmod(0o755)

    def _munge(self) -> list[str]:
        home = self.home
        return [
            f"--key-file={home}/munge.key",
            f"--socket={home}/munge.socket",
            f"--pid-file={home}/munged.pid",
            f"--log-file={home}/log/munged.log",
            f"--seed-file={home}/munged.seed",
            "--num-threads=2",
        ]

    def _start(self, *command: str) -> None:
        done = subprocess.run(
            command, env=self.env | {"PATH": _system_path()}, capture_output=True, text=True
        )
        if done.returncode:
            raise CannotStart(f"{command[0]}: {done.stderr.strip()}")

    def start_node(self, node: str) -> None:
        self._start("slurmd", "-N", node)

    def stop(self) -> None:
        """End every job and every daemon that was started here."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self("scancel", "--quiet", f"--user={os.geteuid()}", check=False)
            self.wait(lambda: not self.steps(), 10, "jobs ended")
        for pid in self.steps():
            _kill(pid, signal.SIGKILL)
        pids = [pid for name in (*NODES, "slurmctld", "munged") if (pid := self._pid(name))]
        for pid in pids:
            _kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in pids:
            _kill(pid, signal.SIGKILL)

    # -- accidents -------------------------------------------------------------------------------------------

    def kill_node(self, node: str) -> None:
        """The node's daemon and the keepers of its jobs die at once; the jobs' processes go on as orphans."""
        mine = self.steps(node)
        if pid := self._pid(node):
            _kill(pid, signal.SIGKILL)
        for step in mine:
            _kill(step, signal.SIGKILL)

    def steps(self, node: str | None = None) -> list[int]:
        """Process numbers of this cluster's slurmstepd (of one node)."""
        # a step leaves a socket NODE_JOB.STEP in the node's spool folder; its title: "slurmstepd: [JOB.STEP]"
        spool = [path.name for path in (self.home / "spool").glob(f"{node or '*'}/*_*.*")]
        here = {name.split("_")[1].split(".")[0] for name in spool}
        found = []
        for pid, words in processes():
            title = re.match(r"slurmstepd: \[(\d+)\.", words[0]) if words else None
            if title and title[1] in here:
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.home):
                        found.append(pid)
        return found

    def _pid(self, name: str) -> int | None:
        try:
            return int((self.home / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None

    # -- questions -------------------------------------------------------------------------------------------

    def __call__(self, *command: str, check: bool = True) -> str:
        """Run a command of Slurm, give what it prints."""
        done = subprocess.run(command, env=self.env, check=check, capture_output=True, text=True, timeout=30)
        return done.stdout

    def node_states(self) -> dict[str, str]:
        lines = self("sinfo", "-h", "-N", "-o", "%N %T", check=False).split("\n")
        return dict(line.split() for line in lines if line)

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """All jobs the controller remembers, or those in the given states, oldest first."""
        lines = self("squeue", "-h", "--states=all", "-o", "%i|%T|%k|%N|%m|%l").splitlines()
        keys = ("id", "state", "rule", "node", "memory", "limit")
        jobs = [dict(zip(keys, line.split("|"), strict=True)) for line in lines]
        for job in jobs:
            job["rule"], _, job["wildcards"] = job["rule"].removeprefix("rule_").partition("_wildcards_")
        jobs.sort(
            key=lambda job: [int(number) for number in re.findall(r"\d+", job["id"])]
        )  # 7, 7_1, 7_[2-3]
        return [job for job in jobs if not states or job["state"] in states]

    @staticmethod
    def wait(ready: Callable[[], T], seconds: float, what: str) -> T:
        """Ask until the answer is true; give the answer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := ready():
                return answer
            time.sleep(0.2)
        MiniSlurm.stuck = f"waited {seconds} s for {what}"
        raise TimeoutError(MiniSlurm.stuck)


def _system_path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def job_of(pid: int) -> str:
    """The job that a process belongs to."""
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return next(word.removeprefix("SLURM_JOB_ID=") for word in words if word.startswith("SLURM_JOB_ID="))


def processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(folder.name), (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _kill(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
