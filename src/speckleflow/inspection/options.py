"""Settings that only the data can contradict: masks, angles, excluded projections, weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction import air_margins, read_mask
from speckleflow.errors import InputError
from speckleflow.io.scan import Scan
from speckleflow.scan.acquisition import CONFIG_KEYS, Acquisition
from speckleflow.weights import digest

#: a mask of bad pixels marks less
_MOST_BAD = 0.5


def settings_problems(scan: Scan) -> list[InputError]:
    """Settings of correction and retrieval that do not fit the frames."""
    size, settings = (scan.rows, scan.columns), scan.config.correct
    method = scan.config.retrieval.spec
    problems = []
    if not method.takes(scan.n_positions):
        problems.append(
            InputError(
                scan.sample[0].name,
                expected=f"{method.positions} diffuser position(s) for retrieval.method {method.name}",
                found=f"{scan.n_positions}",
                hint=method.positions_hint,
            )
        )
    if min(size) < method.min_side:
        problems.append(
            InputError(
                scan.sample[0].name,
                expected=f"frames of at least {method.min_side} x {method.min_side} pixels for method {method.name}",
                found=f"{size[0]} x {size[1]}",
            )
        )
    try:
        Acquisition.of_geometry(scan.geometry, angles_deg=scan.angles_deg).require(
            [entry for entry in method.needs if CONFIG_KEYS[entry]], method.name
        )
    except InputError as problem:
        problems.append(problem)
    try:
        digest(scan.config.retrieval)
    except InputError as problem:
        problems.append(problem)
    try:
        air_margins(settings, size)
        if settings.mask is not None:
            problems += _mask_problems(
                read_mask(scan.root / settings.mask, settings.mask, size), settings.mask
            )
    except InputError as problem:
        problems.append(problem)
    return problems


def _mask_problems(bad: NDArray[np.bool_], name: str) -> list[InputError]:
    """A mask in the other convention."""
    if bad.mean() <= _MOST_BAD:
        return []
    return [
        InputError(
            name,
            expected="a mask of bad pixels, 0 where a pixel is good",
            found=f"{100 * bad.mean():.0f} % of the pixels marked",
            hint="is it a mask of good pixels? store 1 - mask",
        )
    ]
