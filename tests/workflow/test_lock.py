"""A stale lock is removed only where its owner is known to be gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from speckleflow.workflow.lock import note_owner, release_dead_lock


@pytest.fixture
def state(tmp_path):
    (tmp_path / "locks").mkdir()
    for name in ("0.input.lock", "0.output.lock"):  # Snakemake writes one of each
        (tmp_path / "locks" / name).write_text("a\n")
    (tmp_path / "locks" / "notes.txt").write_text("of somebody else\n")
    return tmp_path


def owner(state, **changes):
    note = state / "speckleflow-owner.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), **changes}))


def locked(state) -> bool:
    """Whether both locks are there; one alone would be neither."""
    there = {path.name for path in (state / "locks").iterdir()}
    assert there in ({"notes.txt"}, {"notes.txt", "0.input.lock", "0.output.lock"}), there
    return len(there) == 3


def test_the_lock_of_a_dead_process_is_removed(state):
    code = (
        "from pathlib import Path; from speckleflow.workflow.lock import note_owner;"
        f"note_owner(Path({str(state)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert locked(state), "a lock without an owner is not ours to remove"
    sentence = release_dead_lock(state)
    assert sentence is not None
    assert "was killed" in sentence
    assert not locked(state)


def test_the_lock_of_a_living_process_stays(state):
    note_owner(state)
    assert release_dead_lock(state) is None
    assert locked(state)


def test_the_lock_of_another_machine_stays(state):
    note_owner(state)
    owner(state, host="another-machine")
    assert release_dead_lock(state) is None
    assert locked(state)


def test_a_process_number_that_was_given_again_is_another_process(state):
    note_owner(state)
    owner(state, pid=os.getpid(), started="an-earlier-boot/1")
    assert release_dead_lock(state) is not None
    assert not locked(state)


def test_the_lock_of_a_zombie_is_removed(state):
    """A killed run whose parent has not yet asked for its exit status has a number, but runs no more."""
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    try:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # it ended, and is not collected
        note_owner(state)
        stat = Path(f"/proc/{dead.pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert stat[0] == "Z"
        owner(state, pid=dead.pid, started=f"{boot}/{stat[19]}")
        said = release_dead_lock(state)
        assert said is not None
        assert f"process {dead.pid} is gone" in said
        assert not locked(state)
    finally:
        dead.wait()


def test_the_note_names_the_process_that_holds_the_lock(state):
    note_owner(state)
    owner(state, pid=2**22 + 1, started="gone")
    assert release_dead_lock(state) is not None
    note_owner(state)
    note = json.loads((state / "speckleflow-owner.json").read_text())
    assert (note["pid"], note["host"]) == (os.getpid(), socket.gethostname())
    assert release_dead_lock(state) is None


def test_no_lock_is_no_news(state):
    note_owner(state)
    owner(state, started="gone")
    for lock in (state / "locks").glob("*.lock"):
        lock.unlink()
    assert release_dead_lock(state) is None


def test_a_damaged_note_is_no_owner(state):
    (state / "speckleflow-owner.json").write_text("{")
    assert release_dead_lock(state) is None
    assert locked(state)


def test_a_run_that_looks_but_holds_no_lock_is_no_owner(state):
    """A dry run beside a live run: it notes nothing, so that the note stays that of the run."""
    note_owner(state)
    before = (state / "speckleflow-owner.json").read_bytes()
    code = (
        "from pathlib import Path; from speckleflow.workflow.lock import release_dead_lock;"
        f"assert release_dead_lock(Path({str(state)!r})) is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (state / "speckleflow-owner.json").read_bytes() == before
    assert locked(state)
