"""Contents of a report. Every part is optional: a part that a scan does not have is left out."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speckleflow.report.embed import binned
from speckleflow.report.numbers import percent
from speckleflow.report.truth import TruthTable

Array = NDArray[Any]

#: Shares of pixels and other figures above which the user is warned, each with its reason.
FOLD_LIMIT = (
    1e-3  #: crossing rays are a line along an edge: 0.1 % is a closed contour, fewer are single pixels
)
BOUND_LIMIT = 1e-2  #: a search range that is too small clips whole regions; noise alone stays well below 1 %
MISFIT_LIMIT = (
    5e-2  #: walls are a few per cent of a foam's pixels; more is not the sample that was trained for
)
BAD_PIXEL_LIMIT = 1e-2  #: scientific cameras have under 0.1 %; 1 % means a wrong dark or flat
FLUX_LIMIT = 0.1  #: top-up keeps a storage ring within 1 %; 10 % is a shutter, a beam dump or a wrong margin
CURL_FACTOR = 3.0  #: curl over expected error, both root mean squares of the same noise

FOLD_WORDS = (
    "Rays cross in {} of the pixels: the displacement has no single value there, and delta comes out too low "
    "next to steep edges. A shorter propagation distance removes it."
)
BOUND_WORDS = (
    "{} of the pixels stopped at the edge of the search range. If the sample refracts that strongly, "
    "allow a larger displacement; if not, check that sample and reference frames belong together."
)
MISFIT_WORDS = (
    "In {} of the pixels the frame simulated again from the fields is not the measured one. Beside steep edges "
    "rays cross or windows are too wide; elsewhere the fields may show what is not there, as networks can. Look at "
    "the misfit; try another method, or train the network on such a sample."
)
BAD_PIXEL_WORDS = (
    "{} of the detector pixels are bad and were filled from their neighbours. Check the dark and flat frames."
)
FLUX_WORDS = "The incident flux changed by {} during the scan; the frames were normalised to the air margins."
CURL_WORDS = (
    "The displacement is inconsistent with any phase by {:.3f} px, more than its expected error of {:.3f} px "
    "explains: look for a moving sample, mismatched frames or crossing rays."
)


class VolumeLike(Protocol):
    """A (z, y, x) array or HDF5 dataset: only what is shown is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class OneTime:
    """The volume (z, y, x) of one time of volumes (t, z, y, x)."""

    volumes: VolumeLike
    time: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.volumes.shape[1:]

    def __getitem__(self, index: Any) -> Any:
        rest = index if isinstance(index, tuple) else (index,)
        return self.volumes[(self.time, *rest)]


@dataclass(frozen=True)
class Picture:
    """One image (y, x) and what it is, e.g. ``Picture(ux, "42.0 deg")``."""

    image: Array
    label: str = ""


@dataclass(frozen=True)
class Slices:
    """Orthogonal slices through a volume (z, y, x): axial (y, x), coronal (z, x), sagittal (z, y), and
    where."""

    axial: Array
    coronal: Array
    sagittal: Array
    centre: tuple[int, int, int]


@dataclass(frozen=True)
class Sinogram:
    """One sinogram (angle, x) of detector row ``row``; angles from first to last row of the image."""

    image: Array
    row: int
    angles_deg: tuple[float, float]


@dataclass(frozen=True)
class AxisSearch:
    """The rotation axis in pixels (centres at integers).

    Where it was searched for, also the cost over trials, the votes (method, axis, error in px), and the tilt in
    degrees with its error; ``tilt_deg`` is the tilt taken off.
    """

    value_px: float
    image_centre_px: float
    method: str
    trials_px: Array | None = None
    cost: Array | None = None
    votes: Sequence[tuple[str, float, float]] = ()
    tilt_deg: float = 0.0
    tilt_measured: tuple[float, float] | None = None

    def text(self) -> str:
        """The axis and what every method says, in a line."""
        words = f"{self.value_px:.2f} px, {self.method}"
        if self.votes:
            words += "; " + ", ".join(f"{name} {px:.2f} \u00b1 {error:.2f}" for name, px, error in self.votes)
        if self.tilt_measured is not None:
            words += f"; tilt {self.tilt_measured[0]:.2f} \u00b1 {self.tilt_measured[1]:.2f} degrees"
        return words + (f", {self.tilt_deg:.2f} degrees taken off" if self.tilt_deg else "")


@dataclass(frozen=True)
class Resolution:
    """Correlation of two halves of the data over the shells, and the thresholds by name.

    ``frequency`` in cycles per voxel; ``stated`` is the resolution by each threshold in words, ``marked`` the frequency
    of the first one (None: no shell agrees).
    """

    frequency: Array
    correlation: Array
    thresholds: Mapping[str, Array]
    stated: Mapping[str, str]
    marked: float | None = None


@dataclass(frozen=True)
class Timing:
    """Cost of one rule: number of jobs, their seconds together and at most, and the largest memory in
    MB."""

    rule: str
    jobs: int
    seconds: float
    longest_s: float
    memory_mb: float | None


@dataclass(frozen=True)
class Quality:
    """Figures of merit of a scan; shares are of all pixels of all projections. None: not known.

    ``expected_error_px`` is the median of the expected error of the displacement, what a typical pixel has;
    ``expected_rms_px`` its root mean square, which the curl (also a root mean square) is compared with.
    ``voxel_std`` is the median standard deviation of the noise of a voxel of each volume, and its unit.
    """

    fold_share: float | None = None
    bound_share: float | None = None
    bad_pixel_share: float | None = None
    flux_range: float | None = None
    expected_error_px: float | None = None
    expected_rms_px: float | None = None
    curl_px: float | None = None
    drift_px: tuple[float, float] | None = None
    misfit_share: float | None = None
    voxel_std: Mapping[str, tuple[float, str]] = field(default_factory=dict)

    def figures(self) -> list[tuple[str, str]]:
        """The known figures, as (name, value with unit)."""
        rows: list[tuple[str, str]] = []
        if self.expected_error_px is not None:
            rows.append(("Expected error of the displacement (median)", f"{self.expected_error_px:.3f} px"))
        if self.curl_px is not None:
            rows.append(
                ("Part of the displacement that is no gradient (curl, RMS)", f"{self.curl_px:.3f} px")
            )
        if self.drift_px is not None:
            rows.append(
                (
                    "Drift between reference and sample (x, y)",
                    f"{self.drift_px[0]:.3f}, {self.drift_px[1]:.3f} px".replace("-", "\u2212"),
                )
            )
        for name, share in (
            ("Pixels where rays cross", self.fold_share),
            ("Pixels at a bound of the search", self.bound_share),
            ("Pixels whose simulated frame is not the measured one", self.misfit_share),
            ("Bad detector pixels", self.bad_pixel_share),
            ("Change of the incident flux", self.flux_range),
        ):
            if share is not None:
                rows.append((name, percent(share)))
        for name, (std, unit) in self.voxel_std.items():
            rows.append((f"Noise of a voxel of {name} (median)", f"{std:.2g} {unit}".strip()))
        return rows

    def warnings(self) -> list[str]:
        """Warnings in plain words; empty when nothing is wrong."""
        warnings: list[str] = []
        if self.fold_share is not None and self.fold_share > FOLD_LIMIT:
            warnings.append(FOLD_WORDS.format(percent(self.fold_share)))
        if self.bound_share is not None and self.bound_share > BOUND_LIMIT:
            warnings.append(BOUND_WORDS.format(percent(self.bound_share)))
        if self.misfit_share is not None and self.misfit_share > MISFIT_LIMIT:
            warnings.append(MISFIT_WORDS.format(percent(self.misfit_share)))
        if self.bad_pixel_share is not None and self.bad_pixel_share > BAD_PIXEL_LIMIT:
            warnings.append(BAD_PIXEL_WORDS.format(percent(self.bad_pixel_share)))
        if self.flux_range is not None and self.flux_range > FLUX_LIMIT:
            warnings.append(FLUX_WORDS.format(percent(self.flux_range)))
        curl, expected = self.curl_px, self.expected_rms_px
        if curl is not None and expected is not None and curl > CURL_FACTOR * expected:
            warnings.append(CURL_WORDS.format(curl, expected))
        return warnings


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Attributes
    ----------
    scan : name of the scan, as the user wrote it.
    facts : short (name, value) pairs below the title, e.g. ("Energy", "20 keV").
    pixel_size_m : pixel and voxel size in the sample; without it there are no scale bars.
    projections : pictures of ux, uy, transmission, darkfield, phase, displacement_std.
    slices : of delta, mu, darkfield.
    look : the same volumes, to look through; read when the page is made, as finely as it has room for; (t, z, y, x)
        where there is one of each time.
    series : contrasts (t, y, x) of a time series, to look through.
    times : time of every volume or frame, in words.
    changes : of each contrast of a time series, the standard deviation over time and last frame minus first (y, x).
    sinograms : of delta (-phi), mu (-ln T), darkfield (-ln D).
    resolution : of each volume whose halves were compared.
    parameters : the resolved configuration (nested mappings).
    versions, provenance : names and values.
    warnings : sentences beside those that follow from ``quality``.
    """

    scan: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    pixel_size_m: float | None = None
    projections: Mapping[str, list[Picture]] = field(default_factory=dict)
    slices: Mapping[str, Slices] = field(default_factory=dict)
    look: Mapping[str, VolumeLike] = field(default_factory=dict)
    series: Mapping[str, VolumeLike] = field(default_factory=dict)
    times: Sequence[str] = ()
    changes: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    sinograms: Mapping[str, Sinogram] = field(default_factory=dict)
    axis: AxisSearch | None = None
    resolution: Mapping[str, Resolution] = field(default_factory=dict)
    truth: TruthTable | None = None
    quality: Quality | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def orthogonal_slices(volume: VolumeLike, centre: tuple[int, int, int] | None = None) -> Slices:
    """The three slices through ``centre`` (z, y, x), by default the middle; reads these three planes only."""
    z, y, x = centre if centre is not None else tuple(n // 2 for n in volume.shape)
    return Slices(
        np.asarray(volume[z]), np.asarray(volume[:, y]), np.asarray(volume[:, :, x]), (int(z), int(y), int(x))
    )


def binned_volume(volume: VolumeLike, factor: int) -> Array:
    """A volume as means of ``factor`` voxels along each axis; one slice of it is in memory at a time."""
    if factor == 1:
        return np.asarray(volume[:], np.float32)
    layers = []
    for first in range(0, volume.shape[0] // factor * factor, factor):
        total = np.sum([binned(volume[z], factor) for z in range(first, first + factor)], axis=0)
        layers.append(np.asarray(total / factor, np.float32))
    return np.stack(layers)


def binned_frames(frames: VolumeLike, stride: int, factor: int) -> Array:
    """Every ``stride``-th frame (t, y, x) as means of ``factor`` x ``factor`` pixels; one is in memory at a time."""
    return np.stack([binned(frames[t], factor) for t in range(0, frames.shape[0], stride)])


def change_over_time(frames: VolumeLike) -> tuple[Array, Array]:
    """Standard deviation of each pixel over all frames (t, y, x), and last frame minus first; one frame at a time."""
    first = np.asarray(frames[0], np.float64)
    # sums of the change since the first frame, so that a large constant costs no digits
    total, squares, change = np.zeros_like(first), np.zeros_like(first), np.zeros_like(first)
    count = frames.shape[0]
    for t in range(1, count):
        change = np.asarray(frames[t], np.float64) - first
        total += change
        squares += change**2
    variance = np.maximum(squares / count - (total / count) ** 2, 0)
    return np.sqrt(variance).astype(np.float32), change.astype(np.float32)


def spread(total: int, count: int) -> list[int]:
    """``count`` projections spread evenly over ``total``, without the last (often the first again)."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def load_timings(benchmarks: Iterable[str | Path], stages: Iterable[str] = ()) -> list[Timing]:
    """Sum up Snakemake benchmark files by rule, in the order of ``stages`` (others after them).

    The rule is the file's name up to the first dot or, where the files of a rule share a folder of the rule's
    name (``retrieve/0003.tsv``), that folder's: a purely numeric stem is a block or slab. Entries that
    Snakemake could not measure ("-", "NA") are left out, and so are files that are no tables.
    """
    rows: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for path in map(Path, benchmarks):
        stem = path.name.split(".")[0]
        rule = path.parent.name if stem.replace("-", "").replace("_", "").isdigit() else stem
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                table = list(csv.DictReader(stream, delimiter="\t"))
        except (OSError, ValueError, csv.Error):
            continue
        for row in table:
            seconds = _number(row.get("s"))
            if seconds is not None:
                rows[rule].append((seconds, _number(row.get("max_rss"))))
    out = []
    for rule, jobs in rows.items():
        memory = [m for _, m in jobs if m is not None]
        seconds_of = [s for s, _ in jobs]
        out.append(Timing(rule, len(jobs), sum(seconds_of), max(seconds_of), max(memory, default=None)))
    order = {stage: i for i, stage in enumerate(stages)}
    return sorted(out, key=lambda timing: order.get(timing.rule, len(order)))


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
