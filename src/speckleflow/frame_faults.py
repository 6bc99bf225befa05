"""Every raw frame looked at: what makes one useless, and the numbers of those that are.

look = look_at_scan(scan);  look.faults;  look.exclude  -> '3,17-19', ready for correct.exclude_projections
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction import Correction, prepare_correction
from speckleflow.errors import InputError
from speckleflow.io.scan import Scan
from speckleflow.settings import ranges_of

#: Light over dark below this part of the reference's is no sample but a closed shutter.
LEAST_LIGHT = 0.05
#: Share of pixels at the detector's largest count above which a frame is saturated; hot pixels are far fewer.
MOST_SATURATED = 0.01
#: Share of rows of one value above which a frame was read in part; noise makes a single such row impossible.
MOST_CONSTANT_ROWS = 0.01
#: Share of blocks of one value above which a part of the detector was not read, and the fewest of them.
_MOST_CONSTANT_BLOCKS, _FEWEST_BLOCKS = 0.02, 8
#: columns of a block, one row high, and rows that the light is taken from
_BLOCK, _LIGHT_ROWS = 32, 50
#: Counts from which noise makes a block of one value impossible.
_NOISY_COUNTS = 20.0
#: Light that departs by this part from the median of the frames around it is told.
_JUMP, _AROUND = 0.3, 9
#: bytes of raw frames that are read at a time
_BATCH_BYTES = 64e6


@dataclass(frozen=True)
class FrameFault:
    """A frame that cannot be used: its number in the raw files, position, file, angle in degrees, and why."""

    frame: int
    position: int
    where: str
    angle_deg: float
    why: str


@dataclass(frozen=True)
class FrameLook:
    """What was seen of all frames of a scan.

    Attributes
    ----------
    light : (projection, position), mean light over the dark in parts of the reference's; counts without either.
    faults : frames that cannot be used, in order.
    jumps : one sentence for every projection whose light departs from that around it.
    """

    light: NDArray[np.float64] = field(repr=False)
    faults: tuple[FrameFault, ...]
    jumps: tuple[str, ...]

    @property
    def bad(self) -> list[int]:
        """Numbers of the projections with a fault."""
        return sorted({fault.frame for fault in self.faults})

    @property
    def exclude(self) -> str:
        """The bad projections as ``correct.exclude_projections`` lists them."""
        return ranges_of(self.bad)


def look_at_scan(scan: Scan) -> FrameLook:
    """Look at every sample frame of a scan; they are read once, at the speed of the disk.

    Raises
    ------
    InputError
        Frames, darks, flats or references that cannot be read.
    """
    # margins of air are found in sample frames, which may be the bad ones
    plain = scan.config.correct.model_copy(update={"air_px": (0, 0, 0, 0), "flux": "none"})
    correction = prepare_correction(replace(scan, config=scan.config.model_copy(update={"correct": plain})))
    looker = FrameLooker(scan, correction)
    frame_bytes = scan.n_positions * scan.rows * scan.columns * scan.dtype.itemsize
    step = max(1, int(_BATCH_BYTES / frame_bytes))
    starts = range(0, scan.n_projections, step)

    def read(at: int) -> NDArray:
        return scan.read_sample(slice(at, min(at + step, scan.n_projections)))

    faults: list[FrameFault] = []
    light = np.full((scan.n_projections, scan.n_positions), np.nan)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, 0)
        for at in starts:
            raw = coming.result()
            if at + step < scan.n_projections:
                coming = reader.submit(read, at + step)
            found, light[at : at + len(raw)] = looker.look(raw, at)
            faults += found
    bad = {fault.frame for fault in faults}
    return FrameLook(light, tuple(faults), tuple(_jumps(scan, light, bad)))


class FrameLooker:
    """Looks at raw frames in the order of the projections, batch by batch.

    Parameters
    ----------
    scan : whose frames they are.
    correction : of the scan; bad pixels count for nothing.
    """

    def __init__(self, scan: Scan, correction: Correction) -> None:
        self.scan, self.correction = scan, correction
        self.good = ~correction.bad
        self.rows = self.good.mean(1) > 0.5
        self._all_good = bool(self.good.all())
        # what fills more of a frame than an area that matters crosses one of these rows
        self._some = slice(None, None, max(1, int(min(MOST_SATURATED, MOST_CONSTANT_ROWS) * len(self.good))))
        c = correction
        self._dark = 0.0 if c.dark is None else c.dark.mean((1, 2), dtype=np.float64)
        gain = 1.0 if c.gain is None else 1 / np.median(c.gain, axis=(1, 2))
        beam = 1.0 if c.reference is None else c.reference.mean((1, 2), dtype=np.float64)
        self._beam = beam * gain
        self._before: NDArray | None = None

    def look(self, raw: NDArray, first: int) -> tuple[list[FrameFault], NDArray[np.float64]]:
        """Faults, and light (B, N), of raw frames (B, N, y, x) of the projections from ``first`` on."""
        some = np.ascontiguousarray(raw[..., self._some, :])
        light = self._light(some)
        relative = self.correction.reference is not None or self.correction.gain is not None
        faults = []
        for b, n in np.ndindex(*raw.shape[:2]):
            before = raw[b - 1, n] if b else None if self._before is None else self._before[n]
            why = self._fault(raw[b, n], some[b, n], before)
            if why is None and relative and light[b, n] < LEAST_LIGHT:
                why = f"light at {max(light[b, n], 0):.1%} of the reference's"
            if why is not None:
                faults.append(self._named(first + b, n, why))
        self._before = raw[-1].copy() if len(raw) else self._before
        return faults, light

    def _fault(self, frame: NDArray, some: NDArray, before: NDArray | None) -> str | None:
        """What is wrong with a frame by itself or beside the one before it, of which ``some`` rows are given."""
        good, most = self.good, self.scan.config.correct.fill_fraction
        if frame.dtype.kind == "f":
            lost = ~np.isfinite(frame)
            if lost.any() and (lost & good).sum() > most * frame.size:
                return f"{int((lost & good).sum())} pixel(s) that are NaN or infinite"
        level = self.scan.config.correct.saturation_level
        if level is None and frame.dtype.kind != "f":
            level = np.iinfo(frame.dtype).max
        if level is not None and float(np.max(some)) >= level:
            saturated = float((frame[good] >= level).mean())
            if saturated > max(MOST_SATURATED, most):
                what = "the largest count" if level == self.top(frame) else f"{level:g} counts or more"
                return f"{saturated:.0%} of its pixels at {what}"
        read = _constant(frame)[self.rows] if _constant(some).any() else np.zeros(1)
        part = float(read.mean()) if read.size else 0.0
        if part > MOST_CONSTANT_ROWS:
            return f"{part:.0%} of its rows of one value"
        if (part := self._constant_blocks(some)) > 0:
            return f"{part:.0%} of its area in blocks of one value"
        # noise makes a single pair of equal rows impossible
        if before is not None and np.array_equal(frame[0], before[0]) and np.array_equal(frame, before):
            return "the same counts in every pixel as the frame before it"
        return None

    @staticmethod
    def top(frame: NDArray) -> float:
        """The largest value of a frame's type."""
        return float("inf") if frame.dtype.kind == "f" else float(np.iinfo(frame.dtype).max)

    def _constant_blocks(self, some: NDArray) -> float:
        """Share of blocks of one value, of good pixels of some rows, where noise makes them impossible; else 0."""
        width = some.shape[1] // _BLOCK * _BLOCK
        if not width or some.dtype.kind not in "ui":
            return 0.0
        blocks = some[:, :width].reshape(-1, width // _BLOCK, _BLOCK)
        one = _constant(blocks)
        if not one.any():
            return 0.0
        if not self._all_good:
            one &= self.good[self._some, :width].reshape(blocks.shape).all(2)
        # whole rows are counted as rows
        one[one.all(1)] = False
        count = int(one.sum())
        if (
            count < max(_FEWEST_BLOCKS, _MOST_CONSTANT_BLOCKS * one.size)
            or float(blocks.mean()) < _NOISY_COUNTS
        ):
            return 0.0
        return count / one.size

    def _light(self, some: NDArray) -> NDArray[np.float64]:
        """Mean light of each frame (B, N) over that of its reference or flat, by some rows; in counts without both."""
        some = some[..., :: max(1, some.shape[-2] // _LIGHT_ROWS), :]
        finite = np.isfinite(some) if some.dtype.kind == "f" else np.True_
        count = np.broadcast_to(finite, some.shape).sum((2, 3))
        total = np.sum(some, (2, 3), dtype=np.float64, where=finite)
        level = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return np.asarray((level - self._dark) / self._beam)

    def _named(self, projection: int, position: int, why: str) -> FrameFault:
        scan = self.scan
        source = scan.sample[position if len(scan.sample) > 1 else 0]
        number = int(scan.raw_indices[projection])
        return FrameFault(number, position, source.name, float(scan.angles_deg[projection]), why)


def _constant(lines: NDArray) -> NDArray[np.bool_]:
    """Lines (..., x) of one value; only those whose first four values are one are looked at whole."""
    one = np.asarray(lines[..., 1] == lines[..., 0])
    for column in range(2, min(4, lines.shape[-1])):
        one &= lines[..., column] == lines[..., 0]
    if one.any():
        whole = lines[one]
        one[one] = (whole == whole[:, :1]).all(-1)
    return one


def fault_error(scan: Scan, fault: FrameFault, exclude: str = "") -> InputError:
    """The error of a frame that cannot be used; ``exclude``: the projections of all such frames, where known."""
    where = f"{fault.where}, frame {fault.frame}"
    if len(scan.sample) == 1 and scan.n_positions > 1:
        where += f", position {fault.position}"
    exclude = exclude or str(fault.frame)
    if exclude == ranges_of(scan.raw_indices):
        return InputError(
            where,
            expected="frames that can be used",
            found=f"{fault.why}, and none of the others can be used either",
            hint="are the flats or darks those of another exposure? files.flat: divided, if the projections are over "
            "their flat already",
        )
    what = "the projection" if exclude == str(fault.frame) else "it and all others like it"
    return InputError(
        where,
        expected=f"a frame that can be used (angle {fault.angle_deg:g} deg)",
        found=fault.why,
        hint=f"correct.exclude_projections: '{exclude}' leaves {what} out, correct.bad_frames: exclude "
        "every one like it",
    )


def _jumps(scan: Scan, light: NDArray[np.float64], bad: set[int]) -> list[str]:
    """Projections whose light departs from the median of those around them, without the bad ones."""
    used = np.flatnonzero(~np.isin(scan.raw_indices, sorted(bad)))
    sentences = []
    for n in range(light.shape[1]):
        level = light[used, n]
        for i, value in enumerate(level):
            around = level[max(0, i - _AROUND // 2) : i + _AROUND // 2 + 1]
            middle = float(np.median(around))
            if len(around) >= 3 and middle > 0 and abs(value / middle - 1) > _JUMP:
                number = int(scan.raw_indices[used[i]])
                where = f" at position {n}" if scan.n_positions > 1 else ""
                sentences.append(
                    f"frame {number}{where}: light {value / middle - 1:+.0%} beside its neighbours"
                )
    return sentences
