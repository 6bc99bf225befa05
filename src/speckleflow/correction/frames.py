"""From raw counts to frames in units of the empty beam: (I - dark) / (flat - dark), filled, flux taken out.

Without flats the frames stay in counts over the dark: the reference then carries the beam shape, which cancels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.config.models import Correct
from speckleflow.correction.bad_pixels import Image, bad_pixels, unlit
from speckleflow.correction.detector_blur import DetectorBlur
from speckleflow.correction.filling import Filling
from speckleflow.correction.flats import FlatGroups
from speckleflow.correction.references import ReferenceSets
from speckleflow.errors import InputError
from speckleflow.io.repeats import FrameMean, unmeasured
from speckleflow.margins import Margins, air_mask


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
    saturation : counts from which a pixel of a frame is saturated; None: the largest of its type.
    fill_px : largest distance of a pixel that is filled from a measured one; farther ones are lost.
    flats : the beam at several times, in place of ``gain``; None: one gain for all projections.
    blur : the detector's point spread as measured on repeated frames; None: not measured.
    references : the reference at several times, in place of ``reference``, which then is their mean; None: one for all.
    """

    dark: Image | None
    gain: Image | None
    bad: NDArray[np.bool_]
    air: Margins
    flux: bool
    reference: Image | None = None
    saturation: float | None = None
    flats: FlatGroups | None = None
    blur: DetectorBlur | None = None
    fill_px: float = Correct().fill_px
    references: ReferenceSets | None = None
    _filling: Filling = field(init=False, repr=False, compare=False)

    @classmethod
    def from_means(
        cls,
        flat: FrameMean | None,
        dark: FrameMean | None,
        bad: NDArray[np.bool_],
        air: Margins = (0, 0, 0, 0),
        reference: Image | None = None,
    ) -> Correction:
        """Correction by the mean flat and dark, each (1 or N, y, x) or absent; the flux is left alone.

        Parameters
        ----------
        flat, dark : mean frames of the beam without diffuser and without beam.
        bad : (y, x), pixels to fill.
        air : widths (left, right, top, bottom) in pixels of the margins that show the beam.
        reference : (N, y, x), the corrected reference stack.

        Returns
        -------
        Correction
        """
        gain = None
        if flat is not None:
            beam = over_dark(flat.mean, dark)
            # pixels without beam are bad and filled afterwards: any finite factor will do
            gain = np.divide(1, beam, out=np.zeros_like(beam), where=beam > 0)
        return cls(None if dark is None else dark.mean, gain, bad, air, False, reference)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_filling", Filling(self.bad))

    @classmethod
    def from_stacks(
        cls,
        reference: NDArray,
        *,
        flat: NDArray | None = None,
        dark: NDArray | None = None,
        mask: NDArray[np.bool_] | None = None,
        settings: Correct | None = None,
    ) -> Correction:
        """A correction from stacks: raw reference (N, y, x), flat and dark frames (k, y, x).

        Bad pixels are those that flat, dark and reference show or did not measure, and those of the mask; the flux is
        left alone: no margin is known to be air.

        Parameters
        ----------
        reference : raw frames of the diffuser, one a position.
        flat, dark : frames of the beam without diffuser and without beam; None: not recorded, or taken off already.
        mask : (y, x), known bad pixels.
        settings : section ``correct``; None: its defaults.

        Returns
        -------
        Correction

        Raises
        ------
        InputError
            Flat or dark of another size than the reference, or most of their pixels bad.
        """
        settings = settings or Correct()
        size = reference.shape[-2:]
        for what, frames in (("flat", flat), ("dark", dark)):
            if frames is not None and frames.shape[-2:] != size:
                raise InputError(
                    f"{what} frames",
                    expected=f"{size[0]} x {size[1]} pixels as in the reference",
                    found=f"shape {frames.shape}",
                )
        most = settings.saturation_level
        beam, no_beam = measured(None if flat is None else FrameMean.from_frames(flat, saturation=most), size)
        level, no_level = measured(
            None if dark is None else FrameMean.from_frames(dark, spread=True, saturation=most), size
        )
        gone = unmeasured(reference, most)
        raw = reference if gone is None else np.where(gone, reference.dtype.type(0), reference)
        bad = no_beam | no_level | unlit(over_dark(raw.astype(np.float32), level))
        bad |= bad_pixels(
            [] if level is None else [level],
            [] if beam is None else [over_dark(beam.mean, level)],
            settings.bad_pixel_sigma,
            size,
        )
        if gone is not None:
            bad |= gone.any(0)
        if mask is not None:
            bad |= mask
        check_mostly_good(bad, "reference, flat and dark frames")
        plain = replace(cls.from_means(beam, level, bad), saturation=most, fill_px=settings.fill_px)
        return replace(plain, reference=plain.correct_frames(raw))

    def at(self, number: int) -> Correction:
        """The correction of a raw projection, whose reference is that of its time."""
        if self.references is None:
            return self
        here = copy.copy(self)  # with its filling, which takes long to make
        object.__setattr__(here, "reference", self.references.stack(number))
        object.__setattr__(here, "references", None)
        return here

    def correct_frames(self, raw: NDArray, numbers: Sequence[int] | NDArray[np.intp] | None = None) -> Image:
        """Corrected float32 frames of raw sample frames (..., N, y, x), e.g. (B, N, y, x).

        ``numbers`` of the raw projections (B,) choose their flats, where these change during the scan.

        Raises
        ------
        InputError
            The frames do not fit the correction, or the air margins of a frame are dark.
        """
        return self.correct_with_flux(raw, numbers)[0]

    def correct_with_flux(
        self, raw: NDArray, numbers: Sequence[int] | NDArray[np.intp] | None = None
    ) -> tuple[Image, Image | None]:
        """Frames as :meth:`correct_frames` gives them, and the incident flux (..., N) that was divided out: the
        light in the air margins over the paired reference's; None where it is not measured.
        """
        self._check_shape(raw)
        if self.references is not None and self.flux:
            if numbers is None:
                raise TypeError("references that change during the scan need the numbers of the projections")
            parts = [
                self.at(numbers[run.start]).correct_with_flux(raw[run], numbers[run])
                for run in self.references.runs(np.asarray(numbers, np.intp))
            ]
            fluxes = [flux for _, flux in parts if flux is not None]
            return np.concatenate([frames for frames, _ in parts]), np.concatenate(fluxes)
        frames = self._beam_units(raw, numbers)
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

    def _beam_units(self, raw: NDArray, numbers: Sequence[int] | NDArray[np.intp] | None) -> Image:
        frames = raw.astype(np.float32)
        if self.dark is not None:
            frames -= self.dark
        if self.flats is not None:
            if numbers is None:
                raise TypeError("flats that change during the scan need the numbers of the projections")
            for projection, number in zip(frames, numbers, strict=True):
                projection *= self.flats.gain(int(number))
        elif self.gain is not None:
            frames *= self.gain
        self._filling.fill(frames)
        self._fill_unmeasured(raw, frames)
        return frames

    def _fill_unmeasured(self, raw: NDArray, frames: Image) -> None:
        """Fill, frame by frame, the pixels that were not measured in it."""
        lost = unmeasured(raw, self.saturation)
        if lost is None:
            return
        lost &= ~self.bad
        for index in np.argwhere(lost.any((-1, -2))):
            place = tuple(index)
            Filling(lost[place] | self.bad).fill(frames[place])

    def filled(self, raw: NDArray, ux: Image | None = None, uy: Image | None = None) -> NDArray[np.bool_]:
        """Pixels (B, y, x) of projections whose value at any position was filled and not measured.

        Parameters
        ----------
        raw : (B, N, y, x) raw sample frames.
        ux, uy : (B, y, x), where the ray of each pixel lands in them; None: at the pixel.
        """
        return _at_rays(self._unmeasured(raw), ux, uy) | self.bad

    def lost(self, raw: NDArray, ux: Image | None = None, uy: Image | None = None) -> NDArray[np.bool_]:
        """Pixels (B, y, x) of projections that are farther than ``fill_px`` from a measured one, as :meth:`filled`."""
        bad = self._unmeasured(raw)
        far = np.zeros(bad.shape, bool)
        static = _far(self.bad, self.fill_px)
        for image, gone in zip(far, bad, strict=True):
            image[:] = static if np.array_equal(gone, self.bad) else _far(gone, self.fill_px)
        return _at_rays(far, ux, uy) | static

    def _unmeasured(self, raw: NDArray) -> NDArray[np.bool_]:
        """Pixels (B, y, x) that are bad, or were not measured at any position of (B, N, y, x)."""
        lost = unmeasured(raw, self.saturation)
        bad = np.broadcast_to(self.bad, (len(raw), *self.bad.shape))
        return bad if lost is None else bad | lost.any(1)

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


def _far(bad: NDArray[np.bool_], limit: float) -> NDArray[np.bool_]:
    """Pixels (y, x) farther than a limit from a good one."""
    if not bad.any():
        return np.zeros(bad.shape, bool)
    if bad.all():
        return np.ones(bad.shape, bool)
    return np.asarray(scipy.ndimage.distance_transform_edt(bad) > limit)


def _at_rays(mask: NDArray[np.bool_], ux: Image | None, uy: Image | None) -> NDArray[np.bool_]:
    """A mask (B, y, x) of detector pixels where the ray of each pixel lands; without displacement at the pixel."""
    if ux is None or uy is None or not mask.any():
        return mask
    count, height, width = mask.shape
    rows, columns = np.indices((height, width))
    y = np.clip(np.rint(rows + uy), 0, height - 1).astype(np.intp)
    x = np.clip(np.rint(columns + ux), 0, width - 1).astype(np.intp)
    return mask[np.arange(count)[:, None, None], y, x]


def check_mostly_good(bad: NDArray[np.bool_], where: str) -> None:
    """Raise an InputError named ``where`` if more than half of the pixels are bad."""
    if bad.mean() > 0.5:
        raise InputError(
            where,
            expected="mostly good pixels",
            found=f"{100 * bad.mean():.0f} % bad ones by dark, flat and mask",
        )


def measured(frames: FrameMean | None, size: tuple[int, int]) -> tuple[FrameMean | None, NDArray[np.bool_]]:
    """Mean frames whose pixels that were not measured have the median in their place, and those pixels (y, x)."""
    if frames is None:
        return None, np.zeros(size, bool)
    lost = ~np.isfinite(frames.mean)
    if not lost.any():
        return frames, np.zeros(size, bool)
    # most of them lost: said by check_mostly_good
    median = np.nanmedian(frames.mean) if not lost.all() else 0.0
    spread = None if frames.spread is None else np.where(lost, np.float32(0), frames.spread)
    return replace(frames, mean=np.where(lost, np.float32(median), frames.mean), spread=spread), np.asarray(
        lost.any(0)
    )


def over_dark(image: Image, dark: FrameMean | None) -> Image:
    """``image`` minus the mean dark, where there is one."""
    return image if dark is None else image - dark.mean
