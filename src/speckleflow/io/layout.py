"""Which files belong to a scan: patterns resolved, diffuser positions found, reference and sample paired."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speckleflow.errors import InputError
from speckleflow.io.angle_file import angle_file
from speckleflow.io.atomic import may_read
from speckleflow.io.base import InputProblems
from speckleflow.io.images import SUFFIXES, find_images, is_pattern
from speckleflow.io.patterns import Pattern, parse_positions
from speckleflow.scan.spec import ScanSpec
from speckleflow.settings import ranges_of

SUBTRACTED = "subtracted"  #: value of files.dark for frames whose dark was taken off already
DIVIDED = "divided"  #: value of files.flat for frames that are over their flat, and so over their dark


@dataclass(frozen=True)
class Layout:
    """Names of a scan's files as messages show them, relative to the project's folder.

    Attributes
    ----------
    positions : diffuser positions that have files of their own; empty where a single file holds them all.
    sample, reference, flat, dark : one name, or one a position; empty: none given.
    missing : those of sample and reference that are not there.
    """

    positions: tuple[int, ...]
    sample: tuple[str, ...]
    reference: tuple[str, ...]
    flat: tuple[str, ...]
    dark: tuple[str, ...]
    missing: frozenset[str] = frozenset()


def find_layout(spec: ScanSpec) -> tuple[Layout, list[InputError]]:
    """The files of a scan, and a problem for every one that is missing or has no partner."""
    files, scan, root = spec.config.files, spec.name, spec.root
    sample, reference = Pattern(files.sample, "files.sample"), files.reference
    patterns = {"sample": sample}
    if reference is not None:
        patterns["reference"] = Pattern(reference, "files.reference")
    numbered = {role: pattern.find(scan, root) for role, pattern in patterns.items() if pattern.has_position}
    listed = None if files.positions == "auto" else parse_positions(files.positions)
    wanted = listed if listed is not None else sorted({n for found in numbered.values() for n in found})
    problems: list[InputError] = []
    absent: set[str] = set()
    if listed is None and (shifted := _shifted(patterns, numbered, scan)):
        problems.append(shifted)
        absent |= {
            patterns[role].fill(scan, n) for role, found in numbered.items() for n in wanted if n not in found
        }
        numbered = {}
    for role, found in numbered.items():
        if missing := [n for n in wanted if n not in found] if wanted else [0]:
            problems.append(_missing(role, patterns[role], scan, root, wanted, missing, listed is not None))
            absent |= {patterns[role].fill(scan, n) for n in missing}

    positions = tuple(wanted) if any(pattern.has_position for pattern in patterns.values()) else ()
    names = {role: _names(pattern, scan, positions) for role, pattern in patterns.items()}
    for key in ("flat", "dark"):
        text = getattr(files, key)
        if text is not None and text != {"flat": DIVIDED, "dark": SUBTRACTED}[key]:
            names[key] = _names(Pattern(text, f"files.{key}"), scan, positions)
    layout = Layout(
        positions,
        names["sample"],
        names.get("reference", ()),
        names.get("flat", ()),
        names.get("dark", ()),
        frozenset(absent),
    )
    return layout, problems


def _shifted(patterns: dict[str, Pattern], numbered: dict[str, list[int]], scan: str) -> InputError | None:
    """The error of references whose numbers are all those of the samples and a constant; None: they are not."""
    sample, reference = (numbered.get(role, []) for role in ("sample", "reference"))
    steps = {ours - theirs for ours, theirs in zip(sample, reference, strict=False)}
    if len(sample) != len(reference) or len(steps) != 1 or steps == {0}:
        return None
    step = steps.pop()
    hint = "list the positions that are complete in files.positions"
    text = patterns["reference"].text
    if re.search(r"\{position[+-]", text) is None:
        text = text.replace("{position", f"{{position{-step:+d}")
        hint = f"files.reference: {text}, if each belongs to the other; else {hint}"
    return InputError(
        patterns["sample"].fill(scan, sample[0]),
        expected="sample and reference files of the same positions",
        found=f"samples {ranges_of(sample)} and references {ranges_of(reference)}",
        hint=hint,
    )


def raw_files(spec: ScanSpec) -> list[Path]:
    """Every raw file of a scan, its mask of bad pixels and its list of angles, in a fixed order; opens none.

    Raises
    ------
    InputProblems
        Files are missing or unpaired.
    """
    layout, problems = find_layout(spec)
    found: list[Path] = []
    mask, angles = spec.config.correct.mask, angle_file(spec.config.files.angles, spec.name)
    beside = [*([mask] if mask else []), *([angles[0]] if angles else [])]
    for name in (*layout.sample, *layout.reference, *layout.flat, *layout.dark, *beside):
        path = spec.root / name
        try:
            if is_pattern(path) or (path.is_dir() and path.suffix.lower() not in SUFFIXES):
                found += find_images(path, name)
            elif not path.exists() and name not in layout.missing:
                raise InputError(
                    name,
                    expected="a raw file",
                    found="no such file",
                    hint="copy it there, or set the key under files that names it",
                )
            else:
                found.append(path)
        except InputError as problem:
            problems.append(problem)
    if problems:
        raise InputProblems(problems)
    return list(dict.fromkeys(found))


def _names(pattern: Pattern, scan: str, positions: Sequence[int]) -> tuple[str, ...]:
    if not pattern.has_position:
        return (pattern.fill(scan, 0),)
    return tuple(pattern.fill(scan, position) for position in positions)


def _missing(
    role: str,
    pattern: Pattern,
    scan: str,
    root: Path,
    wanted: Sequence[int],
    missing: Sequence[int],
    listed: bool,
) -> InputError:
    """One sentence for all files of a role that are missing."""
    if not wanted:
        folder = (root / pattern.fill(scan, 0)).parent
        while not folder.exists():
            folder = folder.parent
        if not may_read(folder):
            return InputError(
                str(folder), expected=f"a folder with {role} files", found="no permission to look into it"
            )
        return InputError(
            pattern.text.replace("{scan}", scan),
            expected=f"at least one {role} file",
            found=f"none of that name in {folder}",
            hint=f"copy the data there, or set files.{role} to where they are",
        )
    why = "as files.positions lists" if listed else "one for each diffuser position"
    shown = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
    return InputError(
        pattern.fill(scan, missing[0]),
        expected=f"{len(wanted)} {role} files, {why}",
        found=f"{len(wanted) - len(missing)}, none for position {shown}",
        hint="copy it there, or list the positions that are complete in files.positions",
    )
