"""A killed Snakemake leaves its lock behind; here it is told apart from that of a run that goes on.

Snakemake's lock names files, not its owner. So each run notes its process beside the lock once it holds it (a
dry run never does), and the next run removes a lock whose owner, on this same machine, is gone. A lock of another
machine, or one that nobody owns, is left to ``snakemake --unlock``: there it cannot be told from a live one.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from speckleflow.io.atomic import atomic_path

_NOTE = "speckleflow-owner.json"


def release_dead_lock(state: Path) -> str | None:
    """Remove the lock in Snakemake's folder ``state`` if the run that held it is gone.

    Returns a sentence for the user where a lock was removed, else None.
    """
    owner = _read(state / _NOTE)
    if not owner or owner["host"] != socket.gethostname() or _started(owner["pid"]) == owner["started"]:
        return None  # nobody's, another machine's, or of a run that lives
    locks = list((state / "locks").glob("*.lock"))
    for lock in locks:
        lock.unlink(missing_ok=True)
    if not locks:
        return None
    return f"The run before this one was killed (process {owner['pid']} is gone); its lock was removed."


def note_owner(state: Path) -> None:
    """Note this process, which holds Snakemake's lock, as its owner."""
    with atomic_path(state / _NOTE) as private:
        me = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        private.write_text(json.dumps(me))


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
