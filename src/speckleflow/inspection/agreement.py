"""Whether frames agree: repeated ones with each other, sample positions with their references.

All of it from frames that are read anyway, or from one projection: seconds for a scan.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.errors import InputError

Image = NDArray[np.float64]

#: Two halves of repeated frames disagree when their means differ by more than this many times their own noise ...
_TIMES_NOISE = 5.0
#: ... and by this part of their light (pattern, brightness): less is far below the noise of one projection.
_PATTERN, _BRIGHTNESS = 0.005, 0.02
#: Repeated frames correlated less than this are of different diffuser positions.
_SAME_PATTERN = 0.3
#: side of the part of the frames that is correlated, and the largest displacement that is looked for, in pixels
_CROP, _REACH = 256, 16
#: frames are compared after what is wider than this was taken off (standard deviation in pixels)
_SMOOTH = 6.0
#: A correlation above this is no chance: that of unrelated patterns of this size stays below 0.1.
_RELATED = 0.2
#: In small frames chance goes further: by so many times the root of a speckle's area (px^2) over that of the frame.
_CHANCE, _CELL_PX = 3.0, 18.0
#: Another partner is the right one when its correlation is this many times that of the named one.
_BETTER = 2.0
#: The pattern of one position is displaced by more than this, in px, against that of the others: it was moved; and of
#: all positions by more than the second: the region of the detector was another.
_MOVED_PX, _FAR_PX = 2.0, 6.0
#: A projection brighter than its reference by more than this part, over so many pixels, and nowhere darker.
_BRIGHTER, _BRIGHT_PX = 0.08, 9


def repeat_warnings(frames: NDArray, what: str, where: str, used: str = "their mean is used") -> list[str]:
    """What differs between the first and the second half of repeated frames (k, y, x), beyond their noise.

    Parameters
    ----------
    frames : (k, y, x).
    what, where : name of the frames, e.g. 'flat frames', and of their file.
    used : how they are used all the same.

    Returns
    -------
    list of str
        No sentence or one.
    """
    count = len(frames)
    if count < 4 or frames.ndim != 3:
        return []
    first, second = (
        np.asarray(half, np.float64) for half in (frames[: count // 2], frames[count - count // 2 :])
    )
    a, b = first.mean(0), second.mean(0)
    level = float(np.median(a))
    if level <= 0:
        return []
    found = []
    scale = float(np.median(b) / level)
    spread = float(np.std(np.median(frames.reshape(count, -1), axis=1), dtype=np.float64) / level)
    if abs(scale - 1) > max(_BRIGHTNESS, _TIMES_NOISE * spread / np.sqrt(count)):
        found.append(f"their brightness by {100 * (scale - 1):+.1f} %")
    difference = b / scale - a
    noise = float(np.sqrt(np.mean(first.var(0, ddof=1) + second.var(0, ddof=1)) / (count // 2)))
    away = _bulk(difference)
    if away > _TIMES_NOISE * noise / np.sqrt(2) and away > _PATTERN * level:
        dy, dx = _shift(a, b)
        moved = f", as if moved by {np.hypot(dy, dx):.1f} px" if 0.3 < np.hypot(dy, dx) < _REACH else ""
        found.append(
            f"their pattern by {100 * away / level:.1f} % (noise {100 * noise / level:.2f} %){moved}"
        )
    if not found:
        return []
    return [f"{where}: the first and the second half of the {what} differ, {' and '.join(found)}; {used}"]


def pattern_change(first: NDArray, second: NDArray) -> tuple[float, float] | None:
    """Change of the fine pattern between two sets of flats (k, y, x), and the correlation of the two patterns.

    The change is a standard deviation over the light. Scale and what is wider than ``_SMOOTH`` do not count; None where
    the sets agree to within their noise, or to within ``_PATTERN``.
    """
    means = [np.asarray(part, np.float64).mean(0) for part in (first, second)]
    smooth = [np.maximum(scipy.ndimage.gaussian_filter(mean, _SMOOTH), 1e-9) for mean in means]
    fine = [mean / level - 1 for mean, level in zip(means, smooth, strict=True)]
    away = _bulk(fine[1] - fine[0])
    noise = np.sqrt(
        sum(
            float(np.mean(np.asarray(part, np.float64).var(0, ddof=1) / level**2)) / len(part)
            if len(part) > 1
            else 0.0
            for part, level in zip((first, second), smooth, strict=True)
        )
    )
    if away <= max(_TIMES_NOISE * noise, _PATTERN):
        return None
    a, b = (part - part.mean() for part in fine)
    return away, float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def coarse_match(first: NDArray, second: NDArray) -> tuple[float, tuple[float, float]]:
    """Largest correlation of the fine patterns of two frames (y, x), over what noise leaves of it, and the displacement
    (y, x) in whole pixels from the first to the second."""
    score, shift = _correlate(_pattern(first), _pattern(second))
    most = np.sqrt(np.prod([max(_self_correlation(frame[None]), 1e-3) for frame in (first, second)]))
    return float(score / most), shift


def repeat_problems(frames: NDArray, what: str, where: str) -> list[InputError]:
    """Repeated reference frames (k, y, x) that show different patterns."""
    if len(frames) < 2 or frames.ndim != 3:
        return []
    first, *others = (_pattern(frames[k]) for k in np.unique(np.linspace(0, len(frames) - 1, 4).astype(int)))
    itself = _self_correlation(frames)
    if itself < _RELATED:  # frames of noise: nothing can be said
        return []
    scores = [_correlate(first, other)[0] for other in others]
    # neighbouring frames agree, so their noise allows it; those far apart do not
    if min(scores) > _SAME_PATTERN * itself:
        return []
    return [
        InputError(
            where,
            expected=f"{what} of one diffuser position, which are averaged",
            found=f"patterns that correlate by {min(scores):.2f} only",
            hint="name the stored order in files.axes and the positions in files.positions",
        )
    ]


def _self_correlation(frames: NDArray) -> float:
    """Correlation that two frames of one pattern would have, from the power of the pattern over the noise."""
    frame = np.asarray(frames[0], np.float64)
    pattern = _crop(frame / np.maximum(scipy.ndimage.gaussian_filter(frame, _SMOOTH), 1e-9) - 1)
    total = float(pattern.var())
    # noise is what neighbouring pixels do not share
    beside = float(np.mean((pattern[:, 1:] - pattern.mean()) * (pattern[:, :-1] - pattern.mean())))
    return max(beside, 0.0) / total if total > 0 else 0.0


def pairing_problems(
    sample: NDArray, reference: NDArray, names: list[str], partners: list[str]
) -> tuple[list[InputError], list[str]]:
    """Positions of a projection (N, y, x) that fit another reference, or a mirrored one; and warnings.

    Parameters
    ----------
    sample, reference : (N, y, x), corrected.
    names, partners : how messages call the frames of each position.
    """
    count = len(sample)
    if min(sample.shape[-2:]) < 16:
        return [], []
    shown = [_pattern(frame) for frame in sample]
    known = [_pattern(frame) for frame in reference]
    scores = np.zeros((count, count))
    shifts = np.zeros((count, 2))
    for n in range(count):
        scores[n, n], shifts[n] = _correlate(known[n], shown[n])
        if scores[n, n] < _RELATED * 2:
            for m in range(count):
                scores[n, m] = _correlate(known[m], shown[n])[0]
    problems = []
    cropped = float(np.prod([min(side, _CROP) for side in sample.shape[-2:]]))
    related = max(_RELATED, _CHANCE * np.sqrt(_CELL_PX / cropped))
    for n in range(count):
        own, best = scores[n, n], int(scores[n].argmax())
        if scores[n, best] > max(related, _BETTER * own) and best != n:
            problems.append(
                InputError(
                    names[n],
                    expected=f"the pattern of {partners[n]} behind the sample",
                    found=f"that of {partners[best]} (correlation {scores[n, best]:.2f}, with its own {own:.2f})",
                    hint="pair the files by files.positions or by {position-1} in a pattern",
                )
            )
        elif own < _RELATED:
            turned = {
                "mirrored left to right": sample[n][:, ::-1],
                "mirrored top to bottom": sample[n][::-1],
                "turned by 180 degrees": sample[n][::-1, ::-1],
            }
            for how, frame in turned.items():
                if (score := _correlate(known[n], _pattern(frame))[0]) > max(related, _BETTER * own):
                    problems.append(
                        InputError(
                            names[n],
                            expected=f"the pattern of {partners[n]} behind the sample",
                            found=f"it {how} (correlation {score:.2f}, as it is {own:.2f})",
                            hint="store sample and reference frames the same way up",
                        )
                    )
                    break
    warnings = []
    weak = [names[n] for n in range(count) if scores[n].max() < _RELATED]
    if weak and not problems:
        more = f" and {len(weak) - 1} more" if len(weak) > 1 else ""
        warnings.append(
            f"{weak[0]}{more}: the pattern of its reference is hardly seen behind the sample "
            f"(correlation {min(scores[n, n] for n in range(count)):.2f}): are they paired rightly?"
        )
    if not problems:
        seen = np.flatnonzero(scores.diagonal() >= related)
        warnings += _moved_patterns(shifts, seen, names)
    return problems, warnings


def _moved_patterns(shifts: NDArray, seen: NDArray[np.intp], names: list[str]) -> list[str]:
    """Positions whose pattern is displaced (y, x) by another amount than that of the others, or all by a large one."""
    if not len(seen):
        return []
    usual = np.median(shifts[seen], axis=0)
    warnings = [
        f"{names[n]}: the pattern of its reference lies {_words(shifts[n])} away behind the sample, that of the other "
        f"positions {_words(usual)}: did the diffuser move, or the region of the detector? files.positions leaves the "
        "position out"
        for n in seen.tolist()
        if np.abs(shifts[n] - usual).max() > _MOVED_PX
    ]
    if np.abs(usual).max() > _FAR_PX:
        warnings.append(
            f"the patterns of the references lie {_words(usual)} away behind the sample: were they recorded with "
            "another region of the detector?"
        )
    return warnings


def _words(shift: NDArray) -> str:
    return f"{shift[0]:+.0f} px along y and {shift[1]:+.0f} px along x"


def brightness_warning(sample: NDArray, reference: NDArray, where: str, partner: str) -> str | None:
    """A projection (N, y, x) that is brighter than its reference, and nowhere darker: they may be exchanged."""
    size = (1, *(min(_BRIGHT_PX, side) for side in sample.shape[-2:]))
    light = [
        scipy.ndimage.uniform_filter(np.asarray(part, np.float64), size).mean(0)
        for part in (sample, reference)
    ]
    ratio = light[0] / np.maximum(light[1], 1e-3 * float(light[1].mean()))
    low, high = np.nanpercentile(ratio, (2, 98))
    if not (high > 1 + _BRIGHTER and 1 - low < 0.2 * (high - 1)):
        return None
    return (
        f"{where} is up to {high:.2f} times as bright as {partner}, and nowhere darker; are sample and reference "
        "exchanged?"
    )


def duplicate_frames(frames: NDArray) -> Iterator[tuple[int, int]]:
    """Pairs of neighbours in (k, y, x) that are equal pixel by pixel: noise never is."""
    for k in range(1, len(frames)):
        if np.array_equal(frames[k], frames[k - 1]):
            yield k - 1, k


def _pattern(frame: NDArray) -> Image:
    """What is finer than ``_SMOOTH`` in the middle of a frame, of unit power."""
    image = np.asarray(frame, np.float64)
    image = np.where(np.isfinite(image), image, np.nanmedian(image))
    smooth = np.maximum(
        scipy.ndimage.gaussian_filter(image, _SMOOTH), 1e-9 * max(float(np.abs(image).max()), 1e-9)
    )
    fine = _crop(image / smooth - 1)
    limit = 5 * _bulk(fine)  # single pixels do not decide
    fine = np.clip(fine, -limit, limit) if limit > 0 else fine
    fine = fine - fine.mean()
    power = float(np.sqrt(np.square(fine).sum()))
    return fine / power if power > 0 else fine


def _crop(image: Image) -> Image:
    rows, columns = (min(n, _CROP) for n in image.shape)
    top, left = ((n - m) // 2 for n, m in zip(image.shape, (rows, columns), strict=True))
    return image[top : top + rows, left : left + columns]


def _correlate(a: Image, b: Image) -> tuple[float, tuple[float, float]]:
    """Largest correlation of two patterns within the reach, and the displacement (y, x) from ``a`` to ``b``."""
    size = [scipy.fft.next_fast_len(n + _REACH) for n in a.shape]
    product = scipy.fft.irfft2(scipy.fft.rfft2(b, size) * np.conj(scipy.fft.rfft2(a, size)), size)
    reach = [min(_REACH, n // 2) for n in a.shape]
    near = np.roll(product, reach, (0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    return float(near[y, x]), (float(y - reach[0]), float(x - reach[1]))


def _shift(a: Image, b: Image) -> tuple[float, float]:
    """Displacement (y, x) from one mean to the other in pixels, to about a tenth (least squares of the gradient)."""
    fine_a, fine_b = (_crop(scipy.ndimage.gaussian_filter(image, 1.0)) for image in (a, b))
    fine_b = fine_b * (fine_a.mean() / fine_b.mean())
    gy, gx = np.gradient(fine_a)
    normal = np.array([[np.sum(gy * gy), np.sum(gy * gx)], [np.sum(gy * gx), np.sum(gx * gx)]])
    right = -np.array([np.sum(gy * (fine_b - fine_a)), np.sum(gx * (fine_b - fine_a))])
    dy, dx = np.linalg.lstsq(normal, right, rcond=None)[0]
    return float(dy), float(dx)


def _bulk(values: Image) -> float:
    """Standard deviation of the bulk (1.4826 times the median absolute deviation)."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
