"""JSON files closed by the hash of what they hold, complete or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speckleflow.errors import InputError
from speckleflow.io.atomic import atomic_path

_KEY = "sha256"


def write_sealed(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a mapping with its hash under the key ``sha256``; the same bytes for the same values."""
    sealed = {**values, _KEY: json_digest(values)}
    with atomic_path(path) as private:
        private.write_text(json.dumps(sealed, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_sealed(path: str | Path, what: str, hint: str) -> dict[str, Any]:
    """Read what :func:`write_sealed` wrote; ``what`` and ``hint`` are words of the message.

    Raises
    ------
    InputError
        Absent, damaged or edited.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        stated = values.pop(_KEY, None)
    except FileNotFoundError as error:
        raise InputError(path, expected=what, found="no such file", hint=hint) from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(path, expected=what, found=f"damage ({error})", hint=hint) from error
    if stated != json_digest(values):
        raise InputError(
            path, expected=f"{what} as it was written", found="one changed or damaged since", hint=hint
        )
    return dict(values)


def json_digest(value: Any) -> str:
    """Hash of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
