"""The weight files that come with the package, and which file a setting means."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from speckleflow.config.models import Retrieval
from speckleflow.errors import ConfigError, InputError

#: method -> its weight file in this folder
SHIPPED = {
    "auto": "espinnet-fast.safetensors",
    "espinnet": "espinnet-fast.safetensors",
    "spinnet": "spinnet.safetensors",
    "cade": "cade.safetensors",
}


def find(method: str, weights: str) -> Path:
    """The weight file that the setting ``weights`` ('shipped' or a path) names for a method.

    Raises
    ------
    ConfigError
        No weights are shipped for this method.
    InputError
        There is no such file, or it cannot be read.
    """
    if weights == "shipped":
        if method not in SHIPPED:
            raise ConfigError(
                f"method '{method}' needs `weights:` (a path), because no weights for it come with the package"
            )
        return Path(__file__).with_name(SHIPPED[method])
    path = Path(weights)
    if not path.is_file():
        hint = "set weights of the method to where they are, or to shipped"
        raise InputError("weights", expected="a file", found=f"no {path}", hint=hint)
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        found = f"that {path} cannot be read ({error.strerror or error})"
        raise InputError("weights", expected="a file", found=found) from error
    return path


def digest(retrieval: Retrieval) -> str | None:
    """SHA-256 of the weights that a retrieval runs with; None for a method without any.

    Raises
    ------
    ConfigError, InputError
        As :func:`find`.
    """
    weights = getattr(retrieval.settings, "weights", None)
    if weights is None:
        return None
    path = find(retrieval.method, weights)
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """Of the content, read anew only where the file is another: hundreds of scans share one."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
