"""Projections that are not used: excluded by the user, or lost in the raw files."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.patterns import parse_positions
from speckleflow.scan.spec import ScanSpec


def exclusions(config: ScanConfig) -> list[int]:
    """The projections that ``correct.exclude_projections`` names, in order."""
    text = config.correct.exclude_projections
    return sorted(parse_positions(text, "correct.exclude_projections")) if text else []


def lost_frames(sources: list[FrameSource], projections: int) -> tuple[int, ...]:
    """Projections that one of the positions lacks."""
    lost = {int(frame) for source in sources if source.shape[0] == projections for frame in source.lost()[0]}
    return tuple(sorted(lost))


def missing_frames(spec: ScanSpec, sources: list[FrameSource], projections: int) -> list[InputError]:
    """Sample files that announce frames they do not hold."""
    problems = []
    excluded = exclusions(spec.config)
    for source in sources:
        numbers, why = source.lost()
        if source.shape[0] == projections:
            numbers = np.setdiff1d(numbers, excluded)
        if not len(numbers):
            continue
        shown = ", ".join(map(str, numbers[:4])) + (" ..." if len(numbers) > 4 else "")
        problems.append(
            InputError(
                source.name,
                expected=f"{source.shape[0]} frames",
                found=f"{len(numbers)} of them missing, frame {shown}: {why}",
                hint="files.missing_frames: allow leaves them out and keeps the angles of the others",
            )
        )
    return problems


def used_projections(config: ScanConfig, projections: int, lost: tuple[int, ...] = ()) -> NDArray[np.intp]:
    """Numbers of the projections that are used: neither excluded nor ``lost``.

    Raises
    ------
    InputError
        One that is excluded is not in the scan, or none is left.
    """
    named = re.findall(r"\d+", config.correct.exclude_projections or "")
    if beyond := [int(n) for n in named if int(n) >= projections]:
        raise InputError(
            "correct.exclude_projections",
            expected=f"numbers from 0 to {projections - 1}",
            found=f"{beyond[0]}",
        )
    used = np.setdiff1d(np.arange(projections), np.asarray([*exclusions(config), *lost], int))
    if not len(used):
        raise InputError(
            "correct.exclude_projections", expected="at least one projection to use", found="none left"
        )
    return used
