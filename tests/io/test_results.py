"""Result files: units, provenance, and the same bytes every time."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.io import results
from speckleflow.io.results import (
    IDENTITY,
    create,
    open_result,
    read_provenance,
    result_file,
    versions,
    write_provenance,
)

WRITE = """
import sys
import numpy as np
from speckleflow.io import results
from speckleflow.io.results import create, result_file, write_provenance
results.git_commit = lambda: "0123456"  # a source tree that is being worked on may change between two runs
with result_file(sys.argv[1]) as file:
    data = create(file, "a", shape=(3, 20, 30), unit="px", description="a stack")
    data[:] = np.arange(1800).reshape(3, 20, 30)
    create(file, "group/b", np.ones(5), unit="", description="numbers", dtype=np.float64)
    file.attrs["air_px"] = (1, 2, 3, 4)
    write_provenance(file, stage="test", settings={"b": 1, "a": [1, 2]}, raw_files=["raw/a.h5"])
"""


def test_same_bytes_in_another_process_second_and_folder(tmp_path: Path):
    """With SOURCE_DATE_EPOCH: no time, no machine, no order of a hash. A resumed run is compared with another."""
    for i, name in enumerate(("one.h5", "other/two.h5")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if i:
            time.sleep(1.1)  # HDF5 stores whole seconds where it stores times
        environment = {**os.environ, "PYTHONHASHSEED": str(i), "TZ": "UTC" if i else "Asia/Tokyo"}
        subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / name)], check=True, env=environment)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other/two.h5").read_bytes()


def test_history_tells_when_and_where_and_is_no_part_of_the_identity(tmp_path: Path, monkeypatch):
    found = {}
    for epoch in ("1700000000", None):
        if epoch is None:
            monkeypatch.delenv("SOURCE_DATE_EPOCH")
        path = tmp_path / f"{epoch}.h5"
        before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        with result_file(path) as file:
            create(file, "a", np.ones(5), unit="", description="")
            earlier = [{"stage": "first", "history": [{"stage": "first", "made": "then", "host": "there"}]}]
            write_provenance(file, stage="second", settings={}, chain=earlier)
        with open_result(path) as file:
            found[epoch] = file.attrs[IDENTITY]
        records = read_provenance(path)["history"]
        assert records[0] == {"stage": "first", "made": "then", "host": "there"}
        assert read_provenance(path)["chain"] == [{"stage": "first"}]
    assert records[1]["stage"] == "second"
    assert (
        before <= datetime.datetime.fromisoformat(records[1]["made"]) <= datetime.datetime.now(datetime.UTC)
    )
    assert "CPUs" in records[1]["host"]
    assert found["1700000000"] == found[None]


def test_units_and_chunks(tmp_path: Path):
    with result_file(tmp_path / "a.h5") as file:
        create(file, "ux", shape=(4, 300, 400), unit="px", description="displacement")
        create(file, "large", shape=(2, 4000, 4000), unit="", description="transmission")
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["ux"].attrs["units"], file["ux"].attrs["description"]) == ("px", "displacement")
        assert file["ux"].dtype == np.float32
        assert file["ux"].chunks == (1, 300, 400)
        depth, rows, columns = file["large"].chunks
        assert (depth, columns) == (1, 4000)
        assert 0.9 < rows * columns * 4 / 2**20 <= 1


def test_provenance(tmp_path: Path):
    def write(name: str, settings: dict) -> dict:
        with result_file(tmp_path / name) as file:
            write_provenance(
                file,
                stage="retrieve",
                settings=settings,
                raw_files=["a", Path("b")],
                packages=("scipy", "none"),
            )
        return read_provenance(tmp_path / name)

    found = write("a.h5", {"x": {"y": 1.5}, "a": None})
    assert found["settings"] == {"x": {"y": 1.5}, "a": None}
    assert found["raw_files"] == ["a", "b"]
    assert found["versions"] == versions(("scipy", "none"))
    assert found["versions"]["none"] == "absent"
    assert "weights_sha256" not in found
    same, other = write("b.h5", {"a": None, "x": {"y": 1.5}}), write("c.h5", {"x": {"y": 1.6}, "a": None})
    assert found["settings_sha256"] == same["settings_sha256"] != other["settings_sha256"]


def test_a_file_without_provenance(tmp_path: Path):
    with result_file(tmp_path / "a.h5") as file:
        create(file, "a", np.ones(3), unit="", description="")
    with pytest.raises(InputError, match="expected a group provenance, found none"):
        read_provenance(tmp_path / "a.h5")


def test_a_dataset_of_an_earlier_version_is_refused_with_its_new_name(tmp_path: Path):
    path = tmp_path / "fields.h5"
    with result_file(path) as file:
        create(file, "quality", np.zeros((1, 4, 5), np.float32), unit="px", description="expected error")
    sentence = (
        r"fields\.h5: expected the dataset 'displacement_std', found 'quality', which it was called before"
    )
    with pytest.raises(InputError, match=sentence), open_result(path):
        pass


def test_an_error_leaves_nothing(tmp_path: Path):
    def fail() -> None:
        with result_file(tmp_path / "a.h5") as file:
            create(file, "a", np.ones(3), unit="", description="")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_commit_of_the_code(tmp_path: Path):
    """That of the package, '-dirty' only where the package itself was changed; none outside a repository."""
    package = tmp_path / "project/src/speckleflow/io"
    package.mkdir(parents=True)
    (package / "results.py").write_text(Path(results.__file__).read_text())
    (tmp_path / "project/config.yaml").write_text("a: 1")
    project = tmp_path / "project"
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('copy', sys.argv[1])\n"
        "copy = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(copy)\n"
        "print(copy.git_commit())\n"
    )

    def found() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, str(package / "results.py")],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(project), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert found() == "None"
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "another project")
    assert found() == "None"
    git("add", "-A")
    git("commit", "-q", "-m", "all")
    commit = git("rev-parse", "HEAD")
    (project / "config.yaml").write_text("a: 2")
    assert found() == commit
    (package / "results.py").write_text((package / "results.py").read_text() + "\n")
    assert found() == f"{commit}-dirty"
    git("add", "-A")  # staged is changed, too
    assert found() == f"{commit}-dirty"
    git("commit", "-q", "-m", "change")
    assert found() == git("rev-parse", "HEAD") != commit
    (project / "config.yaml").write_text("a: 3")
    git("add", "-A")
    assert found() == git("rev-parse", "HEAD")


def test_a_file_that_is_open_with_locks_is_not_called_damaged(tmp_path):
    """HDF5 refuses it; the file is sound, and nobody should delete it."""
    with result_file(tmp_path / "a.h5") as file:
        create(file, "a", [1.0], unit="", description="")
    with (
        h5py.File(tmp_path / "a.h5", locking=True),
        pytest.raises(InputError, match=r"holds open with HDF5's locks; close it first") as refused,
        open_result(tmp_path / "a.h5"),
    ):
        pass
    assert "delete" not in str(refused.value)
