"""A stale lock is removed only where its owner is known to be gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from speckleflow.workflow.lock import take_over


@pytest.fixture
def state(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.input.lock").write_text("a\n")
    return tmp_path


def owner(state, **changes):
    note = state / "speckleflow-owner.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), **changes}))


def locked(state) -> bool:
    return any((state / "locks").iterdir())


def test_the_lock_of_a_dead_process_is_removed(state):
    code = (
        "from pathlib import Path; from speckleflow.workflow.lock import take_over;"
        f"take_over(Path({str(state)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert locked(state), "a lock without an owner is not ours to remove"
    said = take_over(state)
    assert said is not None
    assert "was killed" in said
    assert not locked(state)


def test_the_lock_of_a_living_process_stays(state):
    take_over(state)
    assert take_over(state) is None
    assert locked(state)


def test_the_lock_of_another_machine_stays(state):
    take_over(state)
    owner(state, host="another-machine")
    assert take_over(state) is None
    assert locked(state)


def test_a_process_number_that_was_given_again_is_another_process(state):
    take_over(state)
    owner(state, pid=os.getpid(), started="an-earlier-boot/1")
    assert take_over(state) is not None
    assert not locked(state)


def test_a_damaged_note_is_no_owner(state):
    (state / "speckleflow-owner.json").write_text("{")
    assert take_over(state) is None
    assert locked(state)
