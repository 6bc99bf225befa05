"""From raw counts to frames in units of the empty beam: dark, flat, bad pixels, incident flux.

    prepare_correction(scan) -> Correction                    once a scan
    Correction.correct_frames(raw (..., N, y, x)) -> float32  (I - dark) / (flat - dark), filled, flux out
    Correction.reference -> (N, y, x) float32 corrected alike, or None for an absorption scan
    Correction.air -> (left, right, top, bottom) margins that show the beam, for whoever needs an empty region
    Correction.save(path, scan), Correction.load(path)
    Correction.of_stacks(reference, flat=..., dark=...) -> Correction         one stack by hand; flux as it is

Without flats the frames stay in counts over the dark: the reference then carries the beam shape; it cancels.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speckleflow.config.models import Correct
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.images import Images
from speckleflow.io.results import create, open_result, require, result_file, write_provenance
from speckleflow.io.scan import FrameMean, Scan
from speckleflow.pixels import Filling, robust_sigma

_log = logging.getLogger(__name__)

Image = NDArray[np.float32]
Margins = tuple[int, int, int, int]

#: side of the median that says what a pixel's neighbours see: wide enough that two bad ones lose the vote
_NEIGHBOURS = 5
#: A response within a tenth of the neighbours' is what the division by the flat is for; dead pixels, and dust
#: that hides the light, are far beyond.
_RESPONSE = 0.1
#: A dark level within this part of the beam's is taken off like any other; a tenth of it, the most that it
#: drifts with the detector's temperature, then is a thousandth of T, less than the noise.
_OFFSET = 0.01
#: the automatic air margins: this part of the width, at least so many pixels, on the left and right
_AIR_PART, _AIR_LEAST_PX = 0.04, 4
#: A margin that is darker than the other by more than this shows the sample. Less of it shifts the flux by at
#: most half as much, 1 %, as much as the two sides of a real beam drift against each other.
_AIR_CONTRAST = 0.02
#: projections that are looked at to find the margins that the sample never enters
_AIR_PROBES = 8


@dataclass(frozen=True)
class Correction:
    """Everything that turns a scan's raw sample frames into corrected ones.

    Attributes
    ----------
    dark : (1 or N, y, x) counts, or None where the dark was subtracted before.
    gain : (1 or N, y, x), 1 / (flat - dark), or None where no beam without diffuser was recorded.
    bad : (y, x) bool, pixels that are filled from their neighbours.
    air : widths (left, right, top, bottom) in pixels of the margins that show the beam.
    flux : whether each frame is normalised to the light in its air margins.
    reference : (N, y, x) corrected reference stack, or None for an absorption scan.
    """

    dark: Image | None
    gain: Image | None
    bad: NDArray[np.bool_]
    air: Margins
    flux: bool
    reference: Image | None = None
    _filling: Filling = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_filling", Filling(self.bad))

    @classmethod
    def of_stacks(
        cls, reference: NDArray, *, flat: NDArray | None = None, dark: NDArray | None = None
    ) -> Correction:
        """A correction from stacks: raw reference (N, y, x), flat and dark frames (k, y, x).

        Bad pixels are those of the flat and dark; the flux is left alone: no margin is known to be air.

        Raises
        ------
        InputError
            Flat or dark of another size than the reference, or most of their pixels bad.
        """
        size = reference.shape[-2:]
        for what, frames in (("flat", flat), ("dark", dark)):
            if frames is not None and frames.shape[-2:] != size:
                raise InputError(
                    f"{what} frames",
                    expected=f"{size[0]} x {size[1]} pixels as in the reference",
                    found=f"shape {frames.shape}",
                )
        beam = None if flat is None else FrameMean.of(flat)
        level = None if dark is None else FrameMean.of(dark, spread=True)
        found = bad_pixels(
            [] if level is None else [level],
            [] if beam is None else [_over(beam.mean, level)],
            Correct().bad_pixel_sigma,
            size,
        )
        _check_mostly_good(found, "flat and dark frames")
        plain = cls(_mean(level), _gain(beam, level), found, (0, 0, 0, 0), False)
        return replace(plain, reference=plain.correct_frames(reference))

    def correct_frames(self, raw: NDArray) -> Image:
        """Corrected float32 frames of raw sample frames (..., N, y, x), e.g. (B, N, y, x).

        Raises
        ------
        InputError
            The frames do not fit the correction, or the air margins of a frame are dark.
        """
        return self.correct_with_flux(raw)[0]

    def correct_with_flux(self, raw: NDArray) -> tuple[Image, Image | None]:
        """Frames as :meth:`correct_frames` gives them, and the incident flux (..., N) that was divided out: the
        light in the air margins over the paired reference's; None where it is not measured.
        """
        self._check_shape(raw)
        frames = self._beam_units(raw)
        return frames, self._normalise_flux(frames) if self.flux else None

    def _check_shape(self, raw: NDArray) -> None:
        positions = None if self.reference is None else len(self.reference)
        expected = self.bad.shape if positions is None else (positions, *self.bad.shape)
        if raw.shape[-len(expected) :] != expected:
            raise InputError(
                "sample frames",
                expected=f"shape (..., {', '.join(map(str, expected))})",
                found=f"{raw.shape}",
            )

    def _beam_units(self, raw: NDArray) -> Image:
        frames = raw.astype(np.float32)
        if self.dark is not None:
            frames -= self.dark
        if self.gain is not None:
            frames *= self.gain
        self._filling.fill(frames)
        return frames

    def _normalise_flux(self, frames: Image) -> Image:
        """Divide each frame by its air's light over the paired reference's (over 1 where there is none)."""
        light, beam = self.light(frames, self.air)
        if not np.all(light > 0):
            raise InputError(
                f"air margins {self.air}",
                expected="light in every frame",
                found=f"{int((~(light > 0)).sum())} dark of {light.size} frames",
                hint="set correct.air_px to margins that the sample never covers",
            )
        frames *= (beam / light).astype(np.float32)[..., None, None]
        return np.asarray(light / beam, np.float32)

    def light(self, frames: Image, margins: Margins) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean over margins of corrected frames (...) and of the paired references (N,), 1 without any."""
        index = np.flatnonzero(air_mask(self.bad.shape, margins) & ~self.bad)

        def mean(images: Image) -> NDArray[np.float64]:
            # take gives the same memory order, and so the same rounding, for any number of frames
            return np.take(images.reshape(*images.shape[:-2], -1), index, axis=-1).mean(-1, dtype=np.float64)

        return mean(frames), np.ones(1) if self.reference is None else mean(self.reference)

    def save(self, path: str | Path, scan: Scan) -> None:
        """Write ``corrected.h5``: complete or absent (see :mod:`speckleflow.io.results`)."""
        with result_file(path) as file:
            if self.dark is not None:
                create(file, "dark", self.dark, unit="counts", description="mean dark (1 or N, y, x)")
            if self.gain is not None:
                words = "1 / (flat - dark), (1 or N, y, x); 0 where there is no beam"
                create(file, "gain", self.gain, unit="1/counts", description=words)
            create(file, "bad_pixels", self.bad, unit="", description="1: filled (y, x)", dtype=np.uint8)
            if self.reference is not None:
                unit = "counts" if self.gain is None else ""
                words = "corrected reference stack (N, y, x)"
                create(file, "reference", self.reference, unit=unit, description=words)
            file.attrs["air_px"] = self.air
            file.attrs["flux"] = self.flux
            write_provenance(
                file,
                stage="correct",
                settings=scan.config.that_decide("files", "geometry", "correct"),
                raw_files=[source.name for source in (*scan.sample, *scan.reference)],
                packages=("scipy",),
            )

    @classmethod
    def load(cls, path: str | Path) -> Correction:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            Not such a file.
        """
        with open_result(path) as file:
            optional = {
                name: file[name][()] if name in file else None for name in ("dark", "gain", "reference")
            }
            bad = require(file, "bad_pixels")[()].astype(bool)
            left, right, top, bottom = (int(n) for n in file.attrs["air_px"])
            flux = bool(file.attrs["flux"])
        air = (left, right, top, bottom)
        return cls(optional["dark"], optional["gain"], bad, air, flux, optional["reference"])


def prepare_correction(scan: Scan) -> Correction:
    """Dark, flat, bad pixels and the corrected reference stack of a scan.

    Raises
    ------
    InputError
        Darks are missing; an absorption scan has no flats; a frame or mask does not fit; most pixels are bad.
    """
    settings = scan.config.correct
    dark, flat = scan.read_dark("sample"), scan.read_flat("sample")
    if flat is None and not scan.has_reference:
        raise no_flats(scan)
    raw = scan.read_reference() if scan.has_reference else None
    ref_dark, ref_flat = (
        (scan.read_dark("reference"), scan.read_flat("reference")) if scan.has_reference else (None, None)
    )
    size = (scan.rows, scan.columns)
    bad = bad_pixels(
        [d for d in (dark, ref_dark) if d is not None],
        [_over(f.mean, d) for f, d in ((flat, dark), (ref_flat, ref_dark)) if f is not None]
        or [_over(stack, ref_dark) for stack in (raw,) if stack is not None],
        settings.bad_pixel_sigma,
        size,
    )
    if settings.mask is not None:
        bad |= read_mask(scan.root / settings.mask, settings.mask, size)
    _check_mostly_good(bad, scan.sample[0].name)
    air, flux = air_margins(settings, size), settings.flux == "air"
    reference = None
    if raw is not None:
        reference = Correction(_mean(ref_dark), _gain(ref_flat, ref_dark), bad, air, False).correct_frames(
            raw
        )
        if flux:
            # all frames see the same diffuser, so the mean light of each tells the incident flux
            light = reference.mean((1, 2), dtype=np.float64)
            reference *= (light.mean() / light).astype(np.float32)[:, None, None]
    plain = Correction(_mean(dark), _gain(flat, dark), bad, air, False, reference)
    return replace(plain, air=free_margins(scan, plain) if settings.air_px == "auto" else air, flux=flux)


def free_margins(scan: Scan, correction: Correction) -> Margins:
    """The margins of ``correction.air`` without the side that the sample enters, from a few projections.

    Transmission is at most 1, so the darker of two sides is the one with the sample in it. Where both are
    equally bright both are kept: wrong only if the sample covers both alike in every projection looked at.
    """
    left, right = correction.air[:2]
    sides: list[Margins] = [(left, 0, 0, 0), (0, right, 0, 0)]
    probes = np.unique(np.linspace(0, scan.n_projections - 1, _AIR_PROBES).round().astype(int))
    transmission = np.ones((len(probes), 2))
    for i, probe in enumerate(probes):
        frames = correction.correct_frames(scan.read_sample(slice(probe, probe + 1)))
        for side, margin in enumerate(sides):
            light, beam = correction.light(frames, margin)
            transmission[i, side] = np.mean(light / beam)
    contrast = (transmission[:, 0] / transmission[:, 1] - 1).tolist()
    if min(contrast) < -_AIR_CONTRAST and max(contrast) <= _AIR_CONTRAST:
        return sides[1]
    if max(contrast) > _AIR_CONTRAST and min(contrast) >= -_AIR_CONTRAST:
        return sides[0]
    if min(contrast) < -_AIR_CONTRAST:
        _log.warning(
            "%s: the sample enters both air margins (%d and %d px), so the incident flux is uncertain; "
            "set correct.air_px, or correct.flux: none", scan.name, left, right,
        )  # fmt: skip
    return (left, right, 0, 0)


def bad_pixels(
    darks: list[FrameMean], beams: list[Image], sigma: float, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Pixels (y, x) that are hot, noisy or dead: ``sigma`` robust standard deviations from their neighbours,
    and by more than the correction mends.

    Parameters
    ----------
    darks : dark frames; a pixel is bad by its dark level, or by the spread of its frames.
    beams : flats (or references) over the dark, (1 or N, y, x); a pixel is bad by its mean response relative
        to the median of its neighbours': a speckle moves from frame to frame, a bad pixel stays.
    """
    bad = np.zeros(size, bool)
    light = min((float(np.median(beam)) for beam in beams), default=0.0)
    for dark in darks:
        level = dark.mean.mean(0, dtype=np.float64)
        bad |= _outliers(level - _neighbours(level), sigma, _OFFSET * light)
        if dark.spread is not None:
            spread = np.sqrt(np.mean(np.square(dark.spread, dtype=np.float64), 0))
            # an excess that is lost in the noise of the light itself does no harm
            bad |= spread - np.median(spread) > max(sigma * robust_sigma(spread), _OFFSET * light)
    for beam in beams:
        mean = beam.mean(0, dtype=np.float64)
        around = _neighbours(mean)
        lit = around > 0
        bad |= _outliers(np.where(lit, mean / np.where(lit, around, 1) - 1, -1), sigma, _RESPONSE)
        bad |= ~(beam > 0).all(0)
    return bad


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


def air_margins(settings: Correct, size: tuple[int, int]) -> Margins:
    """Widths (left, right, top, bottom) in pixels of the margins that the settings call air.

    Raises
    ------
    InputError
        The margins cover the whole image, or nothing although the flux is to be measured there.
    """
    rows, columns = size
    if settings.air_px == "auto":
        side = max(_AIR_LEAST_PX, round(_AIR_PART * columns))
        return (side, side, 0, 0)
    left, right, top, bottom = settings.air_px
    empty = left + right + top + bottom == 0 and settings.flux == "air"
    if empty or left + right >= columns or top + bottom >= rows:
        raise InputError(
            "correct.air_px",
            expected=f"margins inside {columns} columns and {rows} rows",
            found=f"{list(settings.air_px)}",
            hint="correct.flux: none, if no margin is free of the sample",
        )
    return (left, right, top, bottom)


def air_mask(size: tuple[int, ...], air: Margins) -> NDArray[np.bool_]:
    """Pixels (y, x) of the margins (left, right, top, bottom)."""
    left, right, top, bottom = air
    rows, columns = size
    mask = np.zeros(size, bool)
    mask[:, :left] = mask[:, columns - right :] = True
    mask[:top] = mask[rows - bottom :] = True
    return mask


def no_flats(scan: Scan) -> InputError:
    """The error of an absorption scan without flats."""
    return InputError(
        scan.sample[0].name,
        expected="flat frames in the raw file or in files.flat (an absorption scan: T = sample / flat)",
        found="none",
    )


def _check_mostly_good(bad: NDArray[np.bool_], where: str) -> None:
    if bad.mean() > 0.5:
        raise InputError(
            where,
            expected="mostly good pixels",
            found=f"{100 * bad.mean():.0f} % bad ones by dark, flat and mask",
        )


def _mean(frames: FrameMean | None) -> Image | None:
    return None if frames is None else frames.mean


def _gain(flat: FrameMean | None, dark: FrameMean | None) -> Image | None:
    if flat is None:
        return None
    beam = _over(flat.mean, dark)
    # pixels without beam are bad and filled afterwards: any finite factor will do
    return np.divide(1, beam, out=np.zeros_like(beam), where=beam > 0)


def _over(image: Image, dark: FrameMean | None) -> Image:
    return image if dark is None else image - dark.mean


def _neighbours(image: NDArray) -> NDArray:
    """Median of the neighbourhood, the pixel itself included (it cannot win the vote)."""
    return ndimage.median_filter(image, _NEIGHBOURS, mode="nearest")


def _outliers(deviation: NDArray, sigma: float, least: float) -> NDArray[np.bool_]:
    away = np.abs(deviation - np.median(deviation))
    return (away > sigma * robust_sigma(deviation)) & (away > least)
