"""Files and folders that are either complete or absent.

Two jobs may write the same output at once (a restarted workflow beside an orphaned cluster job), a disk may
fill up, a job may be killed: a result is therefore written under a private name in the same folder,
then renamed.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speckleflow.errors import OutputError


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a private path beside ``target``; on success it is flushed to disk and renamed to ``target``.

    On any error the private file is removed and ``target`` is left as it was.

    Raises
    ------
    OutputError
        The folder cannot be made or written to, the disk is full, or the name is that of a device or pipe, which a
        rename would remove from the system.
    """
    target = Path(target)
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise OutputError(f"{target}: expected the name of a file, found a device or pipe")
    with _private(target) as private:
        yield private
        _flush(private)
        private.replace(target)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield a private, empty folder beside ``target``; on success all below it is flushed, and it becomes ``target``.

    On any error the private folder is removed and ``target`` is left as it was. An earlier folder of that name is
    moved aside and removed: between these two renames there is none for a moment.

    Raises
    ------
    OutputError
        As :func:`atomic_path`.
    """
    target = Path(target)
    with _private(target) as private:
        private.mkdir()
        yield private
        for path in private.rglob("*"):
            if path.is_file():
                _flush(path)
        if target.is_dir() and not target.is_symlink():
            with _private(target) as before:
                target.replace(before)
                private.replace(target)
        else:
            private.replace(target)


@contextmanager
def _private(target: Path) -> Iterator[Path]:
    """A private name beside ``target``; what has it afterwards is removed."""
    private = target.with_name(
        f".{target.name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}.part"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(target)
        yield private
    except (OSError, RuntimeError, ValueError) as error:
        if reason := _reason(error, target):
            raise OutputError(f"{target}: could not be written, {reason}; nothing was left behind") from error
        raise
    finally:
        with suppress(NotADirectoryError):  # a file in place of a folder above has nothing under it to remove
            _remove(private)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; none there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_writable(folder: str | Path, key: str) -> None:
    """Refuse, before a run, a folder of results in which nothing can be made.

    Parameters
    ----------
    folder : which need not be there yet.
    key : of the configuration, or whatever else names it.

    Raises
    ------
    OutputError
        No permission, or a file where the folder is to be.
    """
    place = Path(folder).absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if place.exists() and not place.is_dir():
        raise OutputError(f"{key}: expected a folder, found a file {place}")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise OutputError(
            f"{key}: expected a folder that can be written, found no permission in {place}; choose another one, or ask "
            "its owner for the permission"
        )


def may_read(path: str | Path) -> bool:
    """Whether this user may read a file, or look into a folder."""
    mode = os.R_OK | os.X_OK if Path(path).is_dir() else os.R_OK
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


#: Age in seconds from which a private file of another machine counts as dead: a living job writes more often.
_DEAD_AFTER = 86400.0


def _remove_dead(target: Path) -> None:
    """Remove the private files of killed jobs that were to become ``target``; those of living jobs stay."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with suppress(OSError):  # another job was faster, or it is not ours to remove
            if is_left_over(path, target.name):
                _remove(path)


def is_left_over(path: Path, name: str = "") -> bool:
    """Whether a private file or folder was left by a killed job that wrote ``name`` (any, where it is empty).

    On this machine a job lives while its process does. Of another machine's nothing is known but the time at which
    it last wrote.
    """
    match = re.fullmatch(rf"\.{re.escape(name) or '.+'}\.(.+)-(\d+)-[0-9a-f]+\.part", path.name)
    if match is None:
        return False
    if f".{socket.gethostname()}-{match[2]}-" in path.name:
        return not Path(f"/proc/{match[2]}").exists() and Path("/proc/self").exists()
    newest = max(part.stat().st_mtime for part in (path, *path.rglob("*")))
    return time.time() - newest > _DEAD_AFTER


def _reason(error: BaseException | None, target: Path) -> str | None:
    """The user's words for an error of the file system; None for one that has nothing to do with writing.

    HDF5 reports a full disk as OSError at a write, or as RuntimeError or ValueError when it closes, often
    with the first error as its context and the cause in its text only: so the whole chain is looked at.
    """
    while error is not None:
        code, text = getattr(error, "errno", None), str(error).lower()
        if code == errno.ENOSPC or "no space left" in text:
            return f"the disk of {target.parent} is full"
        if code == errno.EDQUOT or "quota exceeded" in text:
            return f"the quota of {target.parent} is used up"
        if code in (errno.EACCES, errno.EROFS, errno.EPERM) and _is_ours(error, target):
            return f"no permission to write in {target.parent}"
        if code in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR) and _is_ours(error, target):
            return "a folder has its name" if target.is_dir() else f"{target.parent} is no folder"
        error = error.__cause__ or error.__context__
    return None


def _is_ours(error: BaseException, target: Path) -> bool:
    """Whether an error names the target or no file; a raw file without permission is another matter."""
    named = [getattr(error, key, None) for key in ("filename", "filename2")]
    paths = [Path(os.fsdecode(name)) for name in named if isinstance(name, str | bytes)]
    ours = (target, *target.parents)
    return not paths or any(path.parent == target.parent or path in ours for path in paths)
