"""The correction of a scan, from its files."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction.air import air_margins, sides_without_sample
from speckleflow.correction.bad_pixels import bad_pixels
from speckleflow.correction.frames import Correction, check_mostly_good, over_dark
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.images import Images
from speckleflow.io.layout import DIVIDED
from speckleflow.io.scan import Scan
from speckleflow.margins import Margins

_log = logging.getLogger(__name__)

#: projections that are looked at to find the margins that the sample never enters
_AIR_PROBES = 8


def prepare_correction(scan: Scan) -> Correction:
    """Dark, flat, bad pixels and the corrected reference stack of a scan.

    Raises
    ------
    InputError
        Darks are missing; an absorption scan has no flats; a frame or mask does not fit; most pixels are bad.
    """
    settings = scan.config.correct
    dark, flat = scan.read_dark("sample"), scan.read_flat("sample")
    if flat is None and not scan.has_reference and scan.config.files.flat != DIVIDED:
        raise no_flats(scan)
    raw = scan.read_reference() if scan.has_reference else None
    ref_dark, ref_flat = (
        (scan.read_dark("reference"), scan.read_flat("reference")) if scan.has_reference else (None, None)
    )
    size = (scan.rows, scan.columns)
    bad = bad_pixels(
        [d for d in (dark, ref_dark) if d is not None],
        [over_dark(f.mean, d) for f, d in ((flat, dark), (ref_flat, ref_dark)) if f is not None]
        or [over_dark(stack, ref_dark) for stack in (raw,) if stack is not None],
        settings.bad_pixel_sigma,
        size,
    )
    if settings.mask is not None:
        bad |= read_mask(scan.root / settings.mask, settings.mask, size)
    check_mostly_good(bad, scan.sample[0].name)
    air, flux = air_margins(settings, size), settings.flux == "air"
    reference = None
    if raw is not None:
        reference = Correction.from_means(ref_flat, ref_dark, bad, air).correct_frames(raw)
        if flux:
            # all frames see the same diffuser, so the mean light of each tells the incident flux
            light = reference.mean((1, 2), dtype=np.float64)
            reference *= (light.mean() / light).astype(np.float32)[:, None, None]
    plain = Correction.from_means(flat, dark, bad, air, reference)
    return replace(plain, air=free_margins(scan, plain) if settings.air_px == "auto" else air, flux=flux)


def free_margins(scan: Scan, correction: Correction) -> Margins:
    """The margins of ``correction.air`` without the side that the sample enters, from a few projections."""
    left, right = correction.air[:2]
    sides: list[Margins] = [(left, 0, 0, 0), (0, right, 0, 0)]
    probes = np.unique(np.linspace(0, scan.n_projections - 1, _AIR_PROBES).round().astype(int))
    transmission = np.ones((len(probes), 2))
    for i, probe in enumerate(probes):
        frames = correction.correct_frames(scan.read_sample(slice(probe, probe + 1)))
        for side, margin in enumerate(sides):
            light, beam = correction.light(frames, margin)
            transmission[i, side] = np.mean(light / beam)
    air, both = sides_without_sample(transmission, correction.air)
    if both:
        _log.warning(
            "%s: the sample enters both air margins (%d and %d px), so the incident flux is uncertain; "
            "set correct.air_px, or correct.flux: none", scan.name, left, right,
        )  # fmt: skip
    return air


def read_mask(path: Path, name: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask image (y, x) of known bad pixels, non-zero: bad.

    Raises
    ------
    InputError
        Not one image of the detector's size.
    """
    source: FrameSource = Images.open(path, name)
    if source.shape != (1, *size):
        raise InputError(
            name, expected=f"one image of {size[0]} x {size[1]} pixels", found=f"shape {source.shape}"
        )
    return source.read()[0] != 0


def no_flats(scan: Scan) -> InputError:
    """The error of an absorption scan without flats."""
    return InputError(
        scan.sample[0].name,
        expected="flat frames in the raw file or in files.flat (an absorption scan: T = sample / flat)",
        found="none",
    )
