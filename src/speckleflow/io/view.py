"""A source seen upright: stored frames turned and mirrored, and some of them left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.io.base import ALL, Angles, FrameSource, Metadata, Orientation, frame_range


@dataclass(frozen=True)
class FrameView:
    """Frames of another source (see :class:`~speckleflow.io.base.FrameSource`).

    Attributes
    ----------
    source : as the file stores it.
    orientation : how its frames, flats and darks become upright.
    frames : numbers of the frames that are used; None: all of them.
    """

    source: FrameSource
    orientation: Orientation = field(default_factory=Orientation)
    frames: NDArray[np.intp] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def files(self) -> tuple[Path, ...]:
        return self.source.files

    @property
    def shape(self) -> tuple[int, ...]:
        count = self.source.shape[0] if self.frames is None else len(self.frames)
        return (count, *self.source.shape[1:-2], *self.orientation.size(*self.source.shape[-2:]))

    @property
    def dtype(self) -> np.dtype:
        return self.source.dtype

    @property
    def n_flats(self) -> int:
        return self.source.n_flats

    @property
    def n_darks(self) -> int:
        return self.source.n_darks

    @property
    def metadata(self) -> Metadata:
        stated = self.source.metadata
        if self.orientation.transpose and stated.pixel_size_y_um is not None:
            return replace(stated, pixel_size_um=stated.pixel_size_y_um, pixel_size_y_um=stated.pixel_size_um)
        return stated

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        chosen = np.asarray(frame_range(frames, self.shape[0]), np.intp)
        if self.frames is not None:
            chosen = self.frames[chosen]
        whole = self.orientation.transpose or self.orientation.flip_y
        runs = np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1) if len(chosen) else []
        parts = [
            self.source.read(slice(int(run[0]), int(run[-1]) + 1), ALL if whole else rows) for run in runs
        ]
        read = parts[0] if len(parts) == 1 else np.concatenate(parts or [self.source.read(slice(0, 0))])
        upright = self.orientation.apply(read)
        return np.ascontiguousarray(upright[..., rows, :] if whole else upright)

    def angles(self) -> Angles | None:
        recorded = self.source.angles()
        if recorded is None or self.frames is None or len(recorded.values) <= int(self.frames.max()):
            return recorded  # too few: for the caller to judge
        return Angles(recorded.values[self.frames], recorded.unit)

    def flats(self) -> NDArray | None:
        return self._upright(self.source.flats())

    def flat_places(self) -> NDArray[np.intp] | None:
        places = self.source.flat_places()
        if places is None or self.frames is None:
            return places
        first, last = int(self.frames.min()), int(self.frames.max())
        inside = np.searchsorted(np.sort(self.frames), places)
        # those before the first and after the last frame keep their distance in time
        return inside + np.minimum(places - first, 0) + np.maximum(places - last - 1, 0)

    def darks(self) -> NDArray | None:
        return self._upright(self.source.darks())

    def lost(self) -> tuple[NDArray[np.intp], str]:
        numbers, why = self.source.lost()
        if self.frames is not None:
            numbers = np.flatnonzero(np.isin(self.frames, numbers))
        return numbers, why

    def _upright(self, frames: NDArray | None) -> NDArray | None:
        return None if frames is None else np.ascontiguousarray(self.orientation.apply(frames))
