"""A seeded sample of hostile inputs: each ends in one sentence or is read, within seconds and some memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import Worker, failures, run, table
from tests.fuzz.inputs import FORMATS, Task, _good

#: of the 1500 of `make fuzz` every tenth, so that every group is in it
SAMPLE = [10 * n + n % 10 for n in range(150)]


@pytest.mark.slow
def test_damaged_and_hostile_inputs_end_in_a_sentence(tmp_path):
    results = run(SAMPLE, tmp_path)
    assert not failures(results), "\n\n".join(failures(results)) + table(results)
    verdicts = [answer["verdict"] for _, _, answer in results]
    assert 60 < verdicts.count("refused") < 140, table(
        results
    )  # measured: 103; else nothing is spoiled, or all
    assert not list(Path("/").glob("hacked"))
    assert {task.group for _, task, _ in results} > set(FORMATS)


@pytest.mark.slow
def test_the_worker_notices_each_way_to_fail(tmp_path):
    """Good scans are accepted; a hang, a crash, a traceback and a growth of memory are called so."""
    worker = Worker(limit_s=2.0)
    for name in FORMATS:
        answer = worker.attempt(Task("scan", str(_good(name, str(tmp_path / "good"))), name, ""))
        assert answer["verdict"] == "accepted", (name, answer)
    faults = {
        "traceback": "raise KeyError('a')",
        "memory": "bytearray(1_500_000_000)",
        "crash": "os.abort()",
        "hang": "time.sleep(60)",
        "written": "open('left', 'w').close(); sys.exit('sorry')",
        "no sentence": "sys.exit(1)",
    }
    for verdict, code in faults.items():
        folder = tmp_path / verdict
        folder.mkdir()
        answer = worker.attempt(Task(f"import os, sys, time; {code}", str(folder), "", ""))
        assert answer["verdict"] == verdict, answer
    worker.close()
