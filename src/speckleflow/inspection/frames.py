"""What can be wrong with frames: values, size, light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

#: A larger part of a frame at the detector's highest value is light, not hot pixels: of these, good detectors
#: have less than one in a thousand.
_SATURATED_PART = 1e-3


#: highest values of detectors of 8 to 16 bits, whatever type the file stores them in
_FULL_SCALE = frozenset(2**bits - 1 for bits in (8, 10, 12, 14, 16))


#: No image has one value, its highest, in a larger part of its pixels, but few counts have.
_CLIPPED_PART, _FEW_COUNTS = 0.01, 255


#: and not in so many pixels: in a small frame a single one is the highest by chance
_CLIPPED_PIXELS = 8


#: Pixels that are enough to tell the step between counts.
_SOME_PIXELS = 100_000


#: Counts that wrapped below zero lie in this top part of an unsigned type's range, with none in the part below it.
_WRAPPED, _EMPTY = 0.98, 0.5


#: detectors mark gaps and dead pixels by -1 and -2; together these are less than a fifth
_NEGATIVE_PART = 0.2


def frame_problems(
    frames: NDArray,
    what: str,
    where: str,
    *,
    dark: bool = False,
    filled: float = 0.0,
    saturation: float | None = None,
) -> list[InputError]:
    """NaN, saturated and empty frames in (k, ..., y, x).

    Parameters
    ----------
    what, where : name of the frames, e.g. 'flat frames', and of their file.
    dark : whether frames of one value are right.
    filled : share of a frame's pixels that may be NaN or saturated.
    saturation : counts from which a pixel is saturated; None: the largest of the type, or of detectors of fewer bits.

    Returns
    -------
    list of InputError
    """
    problems = []
    axes = tuple(range(1, frames.ndim))

    def which(frame: int) -> str:
        return f" in frame {frame}" if len(frames) > 1 else ""

    if frames.dtype.kind == "f":
        bad = (~np.isfinite(frames)).sum(axes)
        if bad.max(initial=0) > filled * frames[0].size:
            first = int(np.flatnonzero(bad)[0])
            return [
                InputError(
                    where,
                    expected=f"finite values in the {what}",
                    found=f"{int(bad.sum())} NaN or infinite pixel(s){which(first)}",
                )
            ]

    def saturated(part: NDArray, level: str, hint: str) -> InputError:
        """``part`` of each frame's pixels are at one level; the worst frame is told."""
        worst = int(part.argmax())
        found = f"{100 * part[worst]:.1f} % of the pixels at {level}{which(worst)}"
        return InputError(where, expected=f"{what} below saturation", found=found, hint=hint)

    top = int(frames.max()) if frames.dtype.kind in "ui" else 0
    if frames.dtype.kind == "u" and (wrapped := _wrapped(frames)):
        problems.append(
            InputError(
                where,
                expected=f"counts of at least 0 in the {what}",
                found=f"{wrapped} pixels near {np.iinfo(frames.dtype).max} beside others near 0: counts that wrapped "
                "below zero",
                hint="subtract the dark in signed numbers, or give the frames before it was subtracted",
            )
        )
    elif saturation is not None:
        part = (frames >= saturation).mean(axes)
        if part.max() > max(_SATURATED_PART, filled):
            problems.append(saturated(part, f"{saturation:g} or more", "shorten the exposure"))
    elif top in _FULL_SCALE:
        part = (frames == top).mean(axes)
        most = max(_SATURATED_PART, filled if top == np.iinfo(frames.dtype).max else 0.0)
        if part.max() > most:
            key = f"; correct.saturation_level: {top} masks them, where they are few"
            hint = f"shorten the exposure{'' if top == np.iinfo(frames.dtype).max else key}"
            problems.append(saturated(part, f"{top}", hint))
    elif (
        top > _FEW_COUNTS * _count_step(frames)
        and _CLIPPED_PART < (part := (frames == top).mean(axes)).max() < 1
        and (frames == top).sum(axes).max() >= _CLIPPED_PIXELS
    ):
        hint = (
            "a detector that clips there? shorten the exposure, or set correct.saturation_level, which masks few "
            "such pixels"
        )
        problems.append(saturated(part, f"their highest value {top}", hint))
    if frames.dtype.kind == "i" and (part := (frames < 0).mean(axes)).max() > _NEGATIVE_PART:
        worst = int(part.argmax())
        problems.append(
            InputError(
                where,
                expected=f"counts of at least 0 in the {what}",
                found=f"{100 * part[worst]:.0f} % negative pixels{which(worst)}",
                hint="unsigned counts stored as signed ones?",
            )
        )
    if not dark and (empty := frames.max(axes) == frames.min(axes)).any():
        first = int(np.flatnonzero(empty)[0])
        value = frames[first].flat[0]
        problems.append(
            InputError(
                where,
                expected=f"an image in the {what}",
                found=f"only {value:g}{which(first)}",
                hint="files.flat: divided, if the projections are over their flat already"
                if what == "flat frames" and value != 0
                else "",
            )
        )
    return problems


def _count_step(frames: NDArray) -> int:
    """Step of counts whose lowest bits are empty, as those of 12 bits that are stored as the highest of 16."""
    if frames.dtype.kind not in "ui":
        return 1
    return max(1, int(np.gcd.reduce(frames.ravel()[:_SOME_PIXELS])))


def _wrapped(frames: NDArray) -> int:
    """Pixels of unsigned frames just below the largest number, where none lie between them and the image."""
    most = float(np.iinfo(frames.dtype).max)
    high = frames > _WRAPPED * most
    count = int(high.sum())
    # light that saturates leaves pixels of every count below it, and stands at one value
    values = np.unique(frames[high]) if count else np.empty(0)
    if len(values) < 2 or ((frames > _EMPTY * most) & ~high).any() or float(frames.min()) > 0.01 * most:
        return 0
    return count


def size_problems(frames: NDArray, size: tuple[int, int], what: str, where: str) -> list[InputError]:
    """Frames of another size than the sample's (y, x)."""
    if frames.shape[-2:] == size:
        return []
    shown, found = (f"{y} x {x} pixels" for y, x in (size, frames.shape[-2:]))
    return [InputError(where, expected=f"{what} of {shown} as the sample's", found=found)]


def light_problems(light: float, dark: float, what: str, where: str) -> list[InputError]:
    """Frames (median ``light``) that are not brighter than the dark (median ``dark``)."""
    if light > dark:
        return []
    return [
        InputError(
            where,
            expected=f"{what} brighter than the dark ({dark:g} counts)",
            found=f"{light:g}",
            hint="are flats and darks exchanged?" if what == "flat frames" else "",
        )
    ]
