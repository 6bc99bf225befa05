"""File-name patterns: {scan} and {position:02d} filled in, or found again on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speckleflow.errors import ConfigError

#: {scan}, {position}, {position:02d}, and {position-1:04d} for references numbered beside their samples
_FIELD = re.compile(r"\{(?:(?P<scan>scan)|position(?P<shift>[+-]\d+)?(?::0?(?P<width>\d*)d?)?)\}")


#: more digits than a file name has room for, and more positions than a scan can have
_MOST_DIGITS, _MOST_POSITIONS = 20, 100_000


@dataclass(frozen=True)
class Pattern:
    """A pattern of the configuration (``key`` names it in messages), relative to the project's folder.

    Raises
    ------
    ConfigError
        A field in braces that is none of {scan}, {position}, {position:02d}, {position-1:04d}.
    """

    text: str
    key: str

    def __post_init__(self) -> None:
        rest = _FIELD.sub("", self.text)
        if "{" in rest or "}" in rest:
            raise ConfigError(
                f"{self.key}: expected only {{scan}} and {{position}} (or {{position:02d}}) in braces, "
                f"found '{self.text}'"
            )
        widths = [(field["width"] or "0").lstrip("0") for field in _FIELD.finditer(self.text)]
        if any(len(width) > 3 or int(width or 0) > _MOST_DIGITS for width in widths):
            raise ConfigError(
                f"{self.key}: expected at most {_MOST_DIGITS} digits of a position, found '{self.text}'"
            )
        if "**" in self.text:
            raise ConfigError(
                f"{self.key}: expected no '**' (it searches every folder below), found '{self.text}'"
            )

    @property
    def has_position(self) -> bool:
        """Whether each diffuser position has files of its own."""
        return any(match["scan"] is None for match in _FIELD.finditer(self.text))

    def fill(self, scan: str, position: int) -> str:
        """The path of one position."""
        return _FIELD.sub(lambda match: scan if match["scan"] else _number(match, position), self.text)

    def find(self, scan: str, root: Path) -> list[int]:
        """The positions whose files are on disk, ascending."""
        text = Path(self.text).as_posix()
        fields = [field for field in _FIELD.finditer(text) if field["scan"] is None]
        wild = Path(_translate(text, scan, "*", _as_it_is))
        shown = re.compile(_translate(text, scan, r"(\d+)", _as_expression))
        base = Path(wild.anchor) if wild.is_absolute() else root
        found = set()
        for path in base.glob(str(wild.relative_to(wild.anchor))):
            name = path if wild.is_absolute() else path.relative_to(root)
            if match := shown.fullmatch(name.as_posix()):
                positions = {int(n) - _shift(field) for n, field in zip(match.groups(), fields, strict=True)}
                # several numbers in a name must agree, and be written as the pattern would write them
                if len(positions) == 1 and all(
                    _number(field, *positions) == n for n, field in zip(match.groups(), fields, strict=True)
                ):
                    found |= positions
        return sorted(found)


def parse_positions(text: str, key: str = "files.positions") -> list[int]:
    """The positions that '1-13' or '1,2,5-8' lists, in that order.

    Raises
    ------
    ConfigError
        Not such a list, a range that runs backwards, or a position twice.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise ConfigError(f"{key}: expected 'auto' or a list such as '1-13' or '1,2,5-8', found '{text}'")
        first, last = int(match[1]), int(match[2] or match[1])
        if len(found) + last - first >= _MOST_POSITIONS:
            raise ConfigError(f"{key}: expected at most {_MOST_POSITIONS} positions, found '{text}'")
        found += range(first, last + 1)
    if len(set(found)) != len(found):
        raise ConfigError(f"{key}: expected each position once, found '{text}'")
    return found


def _shift(field: re.Match[str]) -> int:
    return int(field["shift"] or 0)


def _number(field: re.Match[str], position: int) -> str:
    return str(position + _shift(field)).zfill(int(field["width"] or 0))


def _as_it_is(literal: str) -> str:
    return literal


def _as_expression(literal: str) -> str:
    return re.escape(literal).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _translate(text: str, scan: str, number: str, literal: Callable[[str], str]) -> str:
    """The pattern with ``number`` in place of each position, its other parts through ``literal``."""
    parts, end = [], 0
    for field in _FIELD.finditer(text):
        parts += [literal(text[end : field.start()]), literal(scan) if field["scan"] else number]
        end = field.end()
    return "".join([*parts, literal(text[end:])])
