"""Repeated frames of one kind: their mean and spread, and the pixels that a frame did not measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: fewest frames of which the smallest and largest value of a pixel are dropped before averaging (cosmic rays)
_TRIM_FROM = 5
#: A frame whose level departs by more than this part from that of the others, which agree to within the second, was
#: taken with a closed shutter, or saturated.
_ODD, _ALIKE = 0.5, 0.1
#: pixels of a frame that its level is taken from
_LEVEL_PIXELS = 100_000


def unmeasured(frames: NDArray, level: float | None = None) -> NDArray[np.bool_] | None:
    """Pixels that are not finite, or saturated: at ``level`` or more (None: at the largest count of their type).

    None where there are none.
    """
    if frames.dtype.kind not in "uif" or not frames.size:
        return None
    if frames.dtype.kind == "f":
        lost = ~np.isfinite(frames)
        if level is not None:
            lost |= frames >= level
        return lost if lost.any() else None
    most = np.iinfo(frames.dtype).max if level is None else level
    return frames >= most if frames.max() >= most else None


def odd_frame(frames: NDArray) -> int | None:
    """The one of five and more repeated frames (k, ..., y, x) whose level is far from that of all others; None: none.

    It is left out of their mean.
    """
    count = len(frames)
    if count < _TRIM_FROM or frames.dtype.kind not in "uif":
        return None
    step = max(1, frames[0].size // _LEVEL_PIXELS)
    some = frames.reshape(count, -1)[:, ::step]
    if some.dtype.kind == "f":
        some = np.where(np.isfinite(some), some, np.nan)
    measured = np.mean(np.isfinite(some), axis=1) > _ODD
    levels = np.full(count, np.nan)
    levels[measured] = np.nanmedian(some[measured], axis=1)
    middle = float(np.nanmedian(levels)) if measured.any() else 0.0
    away = np.nan_to_num(np.abs(levels - middle), nan=np.inf)
    odd = int(away.argmax())
    others = np.delete(away, odd)
    return odd if middle > 0 and away[odd] > _ODD * middle and others.max() < _ALIKE * middle else None


@dataclass(frozen=True)
class FrameMean:
    """Mean and standard deviation (None: too few, or not asked) of repeated frames, each (1 or N, y, x).

    A pixel that one of the frames did not measure (see :func:`unmeasured`) is NaN in the mean.
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32] | None
    count: int

    @classmethod
    def from_frames(
        cls, frames: NDArray, *, spread: bool = False, saturation: float | None = None
    ) -> FrameMean:
        """From frames (k, y, x) or (k, N, y, x); of five and more, a pixel's extremes and an odd frame are left out.

        ``saturation``: counts from which a pixel is saturated; None: the largest of its type.
        """
        if (odd := odd_frame(frames)) is not None:
            frames = np.delete(frames, odd, axis=0)
        count = len(frames)
        total = frames.sum(0, dtype=np.float64)
        mean, deviation, trim = total / count, None, count >= _TRIM_FROM
        if trim:
            mean = (total - frames.min(0) - frames.max(0)) / (count - 2)
        if trim and spread:
            squares = np.zeros_like(mean)
            for frame in frames:  # one at a time: a copy of the whole stack would be as large as the raw data
                squares += np.square(frame - mean)
            deviation = np.sqrt(squares / count).astype(np.float32)
            deviation = deviation if deviation.ndim == 3 else deviation[None]
        if (lost := unmeasured(frames, saturation)) is not None:
            mean[lost.any(0)] = np.nan
        return cls((mean if mean.ndim == 3 else mean[None]).astype(np.float32), deviation, count)

    @classmethod
    def stack(cls, parts: list[FrameMean]) -> FrameMean:
        """One after the other along the diffuser positions."""
        spreads = [part.spread for part in parts if part.spread is not None]
        return cls(
            np.concatenate([part.mean for part in parts]),
            np.concatenate(spreads) if len(spreads) == len(parts) else None,
            min(part.count for part in parts),
        )
