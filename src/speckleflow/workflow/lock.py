"""A killed Snakemake leaves its lock behind; here it is told apart from that of a run that goes on.

Snakemake's lock names files, not its owner. So each run notes its process beside the lock, and the next run
removes a lock whose owner, on this same machine, is gone. A lock of another machine, or one that nobody owns,
is left to ``snakemake --unlock``: there it cannot be told from a live one.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from speckleflow.io.atomic import atomic_path


def take_over(state: Path) -> str | None:
    """Note this process as the owner of Snakemake's folder ``state``, unless another one lives.

    Returns a sentence for the user where a dead run's lock was removed, else None.
    """
    note = state / "speckleflow-owner.json"
    owner = _read(note)
    if owner and owner["host"] == socket.gethostname() and _started(owner["pid"]) == owner["started"]:
        return None  # it lives, or it is this very process
    said = None
    if owner and owner["host"] == socket.gethostname():
        locks = list((state / "locks").glob("*.lock"))
        for lock in locks:
            lock.unlink(missing_ok=True)
        if locks:
            said = (
                f"The run before this one was killed (process {owner['pid']} is gone); its lock was removed."
            )
    with atomic_path(note) as private:
        me = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        private.write_text(json.dumps(me))
    return said


def _read(note: Path) -> dict | None:
    try:
        owner = json.loads(note.read_text())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) and {"host", "pid", "started"} <= owner.keys() else None


def _started(pid: int) -> str | None:
    """When a process started (boot and clock ticks): a number that was given again is another process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else f"{boot}/{rest[18]}"
