"""The correction of a scan, from its files."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction.air import air_margins, sides_without_sample
from speckleflow.correction.bad_pixels import Image, bad_pixels
from speckleflow.correction.detector_blur import DetectorBlur, measure_detector_blur
from speckleflow.correction.flats import flat_groups
from speckleflow.correction.frames import Correction, check_mostly_good, measured, over_dark
from speckleflow.correction.references import FoundSets, find_sets, make_sets
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.images import Images
from speckleflow.io.layout import DIVIDED
from speckleflow.io.repeats import FrameMean
from speckleflow.io.roles import reference_frames
from speckleflow.io.scan import Scan
from speckleflow.margins import Margins

_log = logging.getLogger(__name__)

#: projections that are looked at to find the margins that the sample never enters
_AIR_PROBES = 8
#: Air as bright as the beam without sample to within this part needs no word: beams decay and are refilled.
_EXPOSURE = 0.15
#: Margins as bright as the beam to within this part are air.
_AIR = 0.05
#: Light that falls by this part from the outer to the inner half of both margins is behind the sample.
_FALLS = 0.01

#: Light that falls by more than this part is refused: a value of the sample would be taken off everywhere.
_FALLS_FAR = 0.015

#: stacks of repeated frames in which the detector's point spread is looked for
_BLUR_STACKS = 3


def prepare_correction(scan: Scan) -> Correction:
    """Dark, flat, bad pixels and the corrected reference stack of a scan.

    Raises
    ------
    InputError
        Darks are missing; an absorption scan has no flats; a frame or mask does not fit; most pixels are bad.
    """
    settings = scan.config.correct
    size = (scan.rows, scan.columns)
    dark, no_dark = measured(scan.read_dark("sample"), size)
    flat, no_flat = measured(scan.read_flat("sample"), size)
    lost = no_dark | no_flat
    if flat is not None and settings.flat_scale != 1:
        flat = _scaled(flat, dark, settings.flat_scale)
    if flat is None and not scan.has_reference and scan.config.files.flat != DIVIDED:
        raise missing_flats_error(scan)
    raw = scan.read_reference() if scan.has_reference else None
    ref_dark = ref_flat = None
    if raw is not None:
        ref_dark, no_dark = measured(scan.read_dark("reference"), size)
        ref_flat, no_flat = measured(scan.read_flat("reference"), size)
        lost |= no_dark | no_flat | ~np.isfinite(raw).all(0)
        raw = np.where(np.isfinite(raw), raw, np.float32(0))
    bad = lost | bad_pixels(
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
    found = find_sets(scan)
    reference = references = None
    if raw is not None:
        beam = Correction.from_means(ref_flat, ref_dark, bad, air)
        reference = beam.correct_frames(raw)
        level = float(reference.mean(dtype=np.float64)) if flux else None
        _level_light(reference, level)
        if found is not None and settings.references != "mean":

            def read(number: int) -> Image:
                stack = beam.correct_frames(scan.read_reference(found.of(number)))
                _level_light(stack, level)
                return stack

            references = make_sets(scan, found, read)
    plain = Correction.from_means(flat, dark, bad, air, reference)
    flats = None if flat is None else flat_groups(scan, dark, settings.flat_scale)
    plain = replace(
        plain,
        blur=_detector_blur(scan, found),
        references=references,
        saturation=settings.saturation_level,
        flats=flats,
        fill_px=settings.fill_px,
    )
    return replace(plain, air=free_margins(scan, plain) if settings.air_px == "auto" else air, flux=flux)


def _level_light(reference: Image, level: float | None) -> None:
    """Reference frames (N, y, x) at the light ``level`` (None: as they are).

    All frames see the same diffuser, so the mean light of each tells the incident flux.
    """
    if level is not None:
        light = reference.mean((1, 2), dtype=np.float64)
        reference *= (level / light).astype(np.float32)[:, None, None]


def _detector_blur(scan: Scan, found: FoundSets | None) -> DetectorBlur | None:
    """The detector's point spread from the first of the flats, else of the reference frames, that are repeated."""
    readers = [read for _, read in scan.flat_stacks()]
    if len(scan.reference) > 1 or scan.n_positions == 1:
        first = [None] * len(scan.reference) if found is None else found.of(0)
        readers += [
            partial(reference_frames, source, scan.config, some)
            for source, some in zip(scan.reference, first, strict=True)
        ]
    for read in readers[:_BLUR_STACKS]:
        frames = read()
        if (blur := measure_detector_blur(frames[:, 0] if frames.ndim == 4 else frames)) is not None:
            return blur
    return None


def _scaled(flat: FrameMean, dark: FrameMean | None, scale: float) -> FrameMean:
    """The flat as it would be at the exposure of the sample frames."""
    level = np.float32(0) if dark is None else dark.mean
    return replace(flat, mean=np.asarray(level + scale * (flat.mean - level), np.float32))


def free_margins(scan: Scan, correction: Correction) -> Margins:
    """The margins of ``correction.air`` without the side that the sample enters, from a few projections.

    Raises
    ------
    InputError
        Both margins show the sample: they are darker than the beam, and the light in them falls towards the sample.
    """
    left, right = correction.air[:2]
    sides: list[Margins] = [(left, 0, 0, 0), (0, right, 0, 0)]
    probes = np.unique(np.linspace(0, scan.n_projections - 1, _AIR_PROBES).round().astype(int))
    transmission = np.ones((len(probes), 2))
    profiles = np.zeros((len(probes), left + right), np.float32)
    above = np.ones(len(probes))
    height = min(scan.rows // 8, left)
    for i, probe in enumerate(probes):
        here = correction.at(scan.raw_indices[probe])
        frames = here.correct_frames(
            scan.read_sample(slice(probe, probe + 1)), scan.raw_indices[probe : probe + 1]
        )
        for side, margin in enumerate(sides):
            light, beam = here.light(frames, margin)
            transmission[i, side] = np.mean(light / beam)
        profiles[i] = _profile(frames, here, left, right)
        if height:
            light, beam = here.light(frames, (0, 0, height, height))
            above[i] = np.mean(light / beam)
    air, both = sides_without_sample(transmission, correction.air)
    if both:
        _log.warning(
            "%s: the sample enters both air margins (%d and %d px), so the incident flux is uncertain; "
            "set correct.air_px, or correct.flux: none", scan.name, left, right,
        )  # fmt: skip
    kept = [width > 0 for width in air[:2]]
    level = float(np.median(transmission[:, kept] if any(kept) else transmission))
    if height and level < 1 - _EXPOSURE and abs(float(np.median(above)) - 1) < _AIR:
        _log.warning(
            "%s: the light in the left and right margins is %.0f %% of the beam's, that at the top and bottom %.0f %%: "
            "does the rotation axis lie along the rows? files.transpose: true turns the frames",
            scan.name, 100 * level, 100 * float(np.median(above)),
        )  # fmt: skip
    elif scan.config.correct.flux == "air":
        _check_air(scan, level, profiles, left, right)
    return air


def _profile(frames: Image, correction: Correction, left: int, right: int) -> Image:
    """Light of each column of both margins over the beam's, mean over rows and positions."""
    good = ~correction.bad
    beam = correction.reference if correction.reference is not None else np.ones(frames.shape[1:], np.float32)
    columns = [*range(left), *range(good.shape[1] - right, good.shape[1])]
    light = (frames[0] * good).sum((0, 1), dtype=np.float64)[columns]
    return np.asarray(
        light / np.maximum((beam * good).sum((0, 1), dtype=np.float64)[columns], 1e-9), np.float32
    )


def _check_air(scan: Scan, level: float, profiles: Image, left: int, right: int) -> None:
    """Refuse margins that show the sample on both sides, warn of flats of another exposure."""
    shapes = profiles / np.maximum(profiles.mean(1, keepdims=True), 1e-9)  # the flux wavers
    mean = shapes.mean(0, dtype=np.float64)
    scatter = float(shapes.std(0).mean()) / np.sqrt(max(len(profiles) / 2, 1))
    # outer over inner half of each margin: the light of a beam is as even as its flat
    falls = []
    for outward in (mean[:left], mean[left:][::-1]):
        half = len(outward) // 2
        falls.append(
            float(outward[:half].mean() / outward[len(outward) - half :].mean()) - 1 if half else 0.0
        )
    towards = min(falls) > max(_FALLS, 3 * scatter / np.sqrt(max(left // 2, 1)))
    about = f"{abs(level - 1):.0%} {'darker' if level < 1 else 'brighter'} than the beam without sample"
    if towards and (abs(level - 1) > _EXPOSURE or min(falls) > _FALLS_FAR):
        raise InputError(
            scan.sample[0].name,
            expected="air in both margins, to measure the incident flux in",
            found=f"margins {about}, whose light falls by {min(falls):.1%} or more towards the sample",
            hint="correct.flux: none if sample and flats have one exposure (else with correct.flat_scale), or "
            f"correct.air_px: [{left}, {right}, 0, 0] if these or others are air all the same",
        )
    if towards:
        _log.warning(
            "%s: the light falls by %.1f %% or more towards the sample in both air margins (%d and %d px): if there is "
            "no air, set correct.flux: none, with correct.flat_scale where the flats have another exposure",
            scan.name, 100 * min(falls), left, right,
        )  # fmt: skip
    elif abs(level - 1) > _EXPOSURE:
        _log.warning(
            "%s: the air margins are %s (another exposure?); their light is divided out", scan.name, about
        )


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


def missing_flats_error(scan: Scan) -> InputError:
    """The error of an absorption scan without flats."""
    return InputError(
        scan.sample[0].name,
        expected="flat frames in the raw file or in files.flat (an absorption scan: T = sample / flat)",
        found="none",
        hint="files.flat: divided, if the projections are over their flat already",
    )
