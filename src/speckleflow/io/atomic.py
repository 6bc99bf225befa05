"""Files that are either complete or absent.

Two jobs may write the same output at once (a restarted workflow beside an orphaned cluster job), a disk may
fill up, a job may be killed: a result is therefore written under a private name in the same folder, then
renamed.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speckleflow.errors import OutputError


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a private path beside ``target``; on success it is flushed to disk and renamed to ``target``.

    On any error the private file is removed and ``target`` is left as it was.

    Raises
    ------
    OutputError
        The folder cannot be made, or the disk is full.
    """
    target = Path(target)
    private = target.with_name(
        f".{target.name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}.part"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield private
        with private.open("rb") as stream:
            os.fsync(stream.fileno())
        private.replace(target)
    except OSError as error:
        if reason := _reason(error, target):
            raise OutputError(f"{target}: could not be written, {reason}; nothing was left behind") from error
        raise
    finally:
        private.unlink(missing_ok=True)


def _reason(error: OSError, target: Path) -> str | None:
    """The user's words for an error of the file system; None for one that has nothing to do with writing."""
    text = str(error).lower()
    if error.errno == errno.ENOSPC or "no space left" in text:
        return f"the disk of {target.parent} is full"
    if error.errno == errno.EDQUOT or "quota exceeded" in text:
        return f"the quota of {target.parent} is used up"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no permission to write in {target.parent}"
    return None
