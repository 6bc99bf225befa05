"""A file is complete or absent, whatever goes wrong while it is written."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from speckleflow.errors import OutputError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.results import create, result_file


def write(target: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_path(target) as private:
        private.write_text(text)
        if error is not None:
            raise error


def test_success_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path):
    target = tmp_path / "new" / "a.txt"
    for text in ("old", "new"):
        write(target, text)
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path):
    target = tmp_path / "a.txt"
    write(target, "old")
    with atomic_path(target) as private:
        private.write_text("new")
        assert target.read_text() == "old"


def test_an_error_leaves_the_old_file_as_it_was(tmp_path: Path):
    target = tmp_path / "a.txt"
    write(target, "old")
    with pytest.raises(KeyboardInterrupt):
        write(target, "half", KeyboardInterrupt())
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After a power cut a name must not lead to an empty file: fsync of the whole content, then the rename."""
    steps: list[tuple[str, int, int]] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        steps.append(("sync", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        sync(handle)

    def rename(path: Path, target: Path) -> Path:
        steps.append(("rename", path.stat().st_ino, path.stat().st_size))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    target = tmp_path / "two" / "levels" / "a.txt"
    write(target, "complete")
    inode = target.stat().st_ino
    assert steps == [("sync", inode, 8), ("rename", inode, 8)]


def test_the_private_name_says_whose_it_is(tmp_path: Path):
    """Beside the target (a rename across file systems is no rename), hidden, with machine and process."""
    with atomic_path(tmp_path / "a.h5") as private:
        private.touch()
        assert private.parent == tmp_path
        assert re.fullmatch(
            rf"\.a\.h5\.{re.escape(socket.gethostname())}-{os.getpid()}-[0-9a-f]{{6}}\.part", private.name
        )


def test_two_writers_do_not_disturb_each_other(tmp_path: Path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the last to finish


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (OSError("Can't write data (file write failed: errno = 28, 'No space left on device')"), "is full"),
        (RuntimeError("Can't decrement id ref count (... 'No space left on device')"), "is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (OSError("HDF5: Quota exceeded, errno = 122"), "quota"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission"),
        (PermissionError(errno.EPERM, "Operation not permitted"), "permission"),
        (OSError(errno.EROFS, "Read-only file system"), "permission"),
    ],
)
def test_file_system_errors_are_told_in_one_sentence(tmp_path: Path, raised: Exception, said: str):
    target = tmp_path / "a.h5"
    with pytest.raises(OutputError, match=said) as caught:
        write(target, "half", raised)
    assert str(target) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_behind_the_error_that_hides_it(tmp_path: Path):
    """h5py's close raises an error of its own while the first one is on its way."""
    hiding = RuntimeError("Unable to close file")
    hiding.__context__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match="is full"):
        write(tmp_path / "a.h5", "half", hiding)


@pytest.mark.parametrize(
    "raised",
    [PermissionError(errno.EACCES, "Permission denied", "/somewhere/raw/sample_01.h5"), ValueError("shape")],
)
def test_an_error_that_is_not_about_writing_stays_what_it_is(tmp_path: Path, raised: Exception):
    """A raw file without permission must not be reported as a forbidden results folder."""
    with pytest.raises(type(raised)) as caught:
        write(tmp_path / "a.h5", "half", raised)
    assert caught.value is raised


def test_a_file_in_place_of_the_folder(tmp_path: Path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match="is no folder"):
        write(tmp_path / "results" / "a.h5", "half")


@pytest.mark.parametrize("name", ["results/demo/a.h5", "results/demo/fields/a.h5"])
def test_a_file_in_place_of_a_folder_above(tmp_path: Path, name: str):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match="is no folder"):
        write(tmp_path / name, "half")
    assert (tmp_path / "results").read_text() == "a file"


def test_a_rename_that_is_forbidden_names_the_target(tmp_path: Path):
    """The error of a rename names two files; the second is ours."""
    target = tmp_path / "a.h5"
    error = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/x", None, str(target))
    with pytest.raises(OutputError, match=f"no permission to write in {tmp_path}"):
        write(target, "half", error)


def test_a_folder_in_place_of_the_file(tmp_path: Path):
    (tmp_path / "a.h5").mkdir()
    with pytest.raises(OutputError, match="a folder has its name"):
        write(tmp_path / "a.h5", "half")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A real file system of 256 kB; only root can mount one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize(
    "body",
    [
        # many images into a chunked stack, one large contiguous dataset, and metadata alone
        "d = create(file, 'a', shape=(64, 64, 64), unit='', description='')\n"
        "        for i in range(64): d[i] = np.random.default_rng(i).random((64, 64))",
        "create(file, 'a', np.ones((1024, 1024)), unit='', description='')",
        "for i in range(3000): create(file, f'a{i}', np.ones(4), unit='', description='x' * 100)",
    ],
)
def test_a_disk_that_is_really_full(tiny_disk: Path, body: str):
    """HDF5 on a full disk: one sentence, nothing left, the old result untouched, the process alive."""
    target = tiny_disk / "a.h5"
    with result_file(target) as file:
        create(file, "a", np.arange(4), unit="", description="fits")
    before = target.read_bytes()
    code = (
        "import sys, numpy as np\n"
        "from speckleflow.errors import OutputError\n"
        "from speckleflow.io.results import create, result_file\n"
        "try:\n"
        "    with result_file(sys.argv[1]) as file:\n"
        f"        {body}\n"
        "except OutputError as error:\n"
        "    print(error)\n"
        "    sys.exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3, done.stderr
    assert "is full" in done.stdout
    assert target.read_bytes() == before
    assert [p.name for p in tiny_disk.iterdir()] == ["a.h5"]
    with h5py.File(target) as file:
        assert file["a"][...].tolist() == [0, 1, 2, 3]


def test_private_files_of_dead_jobs_go_and_those_of_living_ones_stay(tmp_path: Path):
    """By process on this machine, by age (a day) on others; files of other targets are not touched."""
    target, host = tmp_path / "block[1].h5", socket.gethostname()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old = time.time() - 2 * 86400

    def private(name: str, owner: str, age: float | None = None) -> Path:
        path = tmp_path / f".{name}.{owner}-a1b2c3.part"
        path.write_text("half")
        if age is not None:
            os.utime(path, (age, age))
        return path

    gone = [private(target.name, f"{host}-{dead.pid}"), private(target.name, "node-7-12", old)]
    kept = [
        private(target.name, f"{host}-{os.getpid()}"),
        private(target.name, "node-7-13"),
        private("block[2].h5", f"{host}-{dead.pid}"),
        private("block1.h5", f"{host}-{dead.pid}"),
    ]
    with atomic_path(target) as path:
        path.write_text("whole")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    assert target.read_text() == "whole"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device, and remove one by a rename")
def test_a_device_is_never_replaced(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(OutputError, match="found a device or pipe"), atomic_path(device) as private:
        private.write_text("a")
    assert device.is_char_device()
    assert list(tmp_path.iterdir()) == [device]


def test_a_pipe_is_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="found a device or pipe"), atomic_path(pipe) as private:
        private.write_text("a")
    assert pipe.is_fifo()
