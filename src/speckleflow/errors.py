"""Errors a user can act on: one sentence that names the file, what was expected and what was found."""

from __future__ import annotations

from pathlib import Path


class SpeckleflowError(Exception):
    """Base of every error that is meant for the user; the CLI prints its text alone, without a traceback."""

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """What is wrong and what to do about it (may be empty), once for every problem."""
        return ((" ".join(str(self).split()), ""),)


class ConfigError(SpeckleflowError):
    """A configuration key or value that cannot be used."""


class InputError(SpeckleflowError):
    """Data that cannot be used as they are.

    Built from its parts, so that no message can leave one of them out:
    ``raw/sample_03.h5: expected 13 frames (as in reference_03.h5), found 12; re-export the scan``.
    """

    def __init__(self, where: str | Path, *, expected: str, found: str, hint: str = "") -> None:
        self.where, self.expected, self.found, self.hint = str(where), expected, found, hint
        tail = f"; {hint}" if hint else ""
        super().__init__(f"{where}: expected {expected}, found {found}{tail}")

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        return ((f"{self.where}: expected {self.expected}, found {self.found}", self.hint),)


class OutputError(SpeckleflowError):
    """A result that could not be written (disk full, no permission); no half-written file is left behind."""
