"""File-name patterns: {scan} and {position:02d} filled in, or found again on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from speckleflow.errors import ConfigError

#: {scan}, {position}, {position:02d}, and {position-1:04d} for references numbered beside their samples
_FIELD = re.compile(r"\{(?:(?P<scan>scan)|position(?P<shift>[+-]\d+)?(?::0?(?P<width>\d*)d?)?)\}")


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

    @property
    def has_position(self) -> bool:
        """Whether each diffuser position has files of its own."""
        return any(match["scan"] is None for match in _FIELD.finditer(self.text))

    def fill(self, scan: str, position: int) -> str:
        """The path of one position."""
        return _FIELD.sub(lambda match: scan if match["scan"] else _number(match, position), self.text)

    def find(self, scan: str, root: Path) -> list[int]:
        """The positions whose files are on disk, ascending."""
        glob = "".join(_translate(self.text, scan, lambda match: "*"))
        shown = re.compile("".join(_translate(self.text, scan, lambda match: r"(\d+)", escape=True)))
        base = Path(glob).anchor or root
        found = set()
        for path in Path(base).glob(str(Path(glob).relative_to(Path(glob).anchor))):
            relative = path if Path(glob).is_absolute() else path.relative_to(root)
            if match := shown.fullmatch(relative.as_posix()):
                fields = [field for field in _FIELD.finditer(self.text) if field["scan"] is None]
                positions = {
                    int(digits) - int(field["shift"] or 0)
                    for digits, field in zip(match.groups(), fields, strict=True)
                }
                exact = all(
                    _number(field, int(digits) - int(field["shift"] or 0)) == digits
                    for digits, field in zip(match.groups(), fields, strict=True)
                )
                if len(positions) == 1 and exact:
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
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise ConfigError(f"{key}: expected 'auto' or a list such as '1-13' or '1,2,5-8', found '{text}'")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) != len(found):
        raise ConfigError(f"{key}: expected each position once, found '{text}'")
    return found


def _number(match: re.Match[str], position: int) -> str:
    return str(position + int(match["shift"] or 0)).zfill(int(match["width"] or 0))


def _translate(text: str, scan: str, number, *, escape: bool = False) -> list[str]:  # type: ignore[no-untyped-def]
    """The pattern with its fields replaced: as a glob, or (``escape``) as a regular expression."""

    def literal(part: str) -> str:
        if not escape:
            return part
        return re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")

    parts, end = [], 0
    for match in _FIELD.finditer(text):
        parts += [
            literal(text[end : match.start()]),
            (re.escape(scan) if escape else scan) if match["scan"] else number(match),
        ]
        end = match.end()
    return [*parts, literal(text[end:])]
