"""Repeated frames of one kind: their mean and spread, and the pixels that a frame did not measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: fewest frames of which the smallest and largest value of a pixel are dropped before averaging (cosmic rays)
_TRIM_FROM = 5


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
        """From frames (k, y, x) or (k, N, y, x); of five and more, a pixel's two extremes are left out.

        ``saturation``: counts from which a pixel is saturated; None: the largest of its type.
        """
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
