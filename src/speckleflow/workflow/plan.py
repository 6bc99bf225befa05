"""How a scan is cut into jobs, and what each job will need; follows from the shape of the data alone."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speckleflow.config import ScanConfig
from speckleflow.config.sections.tomography import Tomography
from speckleflow.errors import InputError
from speckleflow.io.exclusions import exclusions
from speckleflow.io.scan import scan_shape
from speckleflow.io.writers.base import PART_BYTES, SHARD
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.batches import batch_size
from speckleflow.stages.registry import result_settings
from speckleflow.tomo.alignment import REACH_PX
from speckleflow.tomo.halves import SIDE
from speckleflow.tomo.rings import SECONDS_PER_PIXEL
from speckleflow.tomo.tilt import SPLINE_ROWS
from speckleflow.workflow.rates import Rates, load_rates

#: A job should last about this long: long beside the scheduler's overhead, short beside a walltime limit.
TARGET_SECONDS = 900.0
#: and stay under this: what two CPUs have beside them on the leanest nodes in common use (4 GB a core).
TARGET_MB = 8000.0
#: Memory of a job before any data: in a cluster job Snakemake runs twice around the script (170 MB each),
#: and the Python of the script with its libraries takes the rest (measured, with torch and without).
BASE_MB = {"retrieve": 800, "simulate": 850, "report": 560}
BASE_MB_OTHER = 480
#: Stacks held for references of several times: the mean, the sets around a projection, what is made of them, and a
#: set on its way.
REFERENCE_SETS = {"mean": 0, "nearest": 3, "interpolate": 5}
#: Repeated darks, flats or references of one position that are read together.
REPEATS = 20
#: Seconds per pixel of a slice and angle of the other backends on two CPU threads (benchmarks/fbp.md).
SECONDS_PER_BACKPROJECTED_OTHER = 7e-9
#: Seconds of one step of an iterative backend per pixel of a slice and of its sinogram, one thread (512 and 1024
#: columns, 60 and 600 angles: 0.8e-7 to 1.8e-7); and the steps of a slice: what it takes at most, less for cgls.
SECONDS_PER_STEP = 1.5e-7
STEPS = {"sirt": 200, "cgls": 30, "tv": 200}
#: Seconds of a draw of the noise of a value of a sinogram, one thread (901 angles, 2048 columns: 1.4e-7).
SECONDS_PER_DRAWN = 1.5e-7
#: How much faster a GPU is than two CPU threads, at the least.
GPU_SPEEDUP = 20
#: Seconds of the logarithm of a pixel and its moments, one thread.
SECONDS_PER_MOMENT = 5.5e-8
#: A tilt that is yet to be measured is taken to be this at most: alignment of a stage leaves less.
LIKELY_TILT_DEG = 1.0
#: A prediction is asked for with this much room, since a killed job costs more than a longer queue.
ROOM = 3.0


@dataclass(frozen=True)
class Plan:
    """The jobs of one scan.

    Attributes
    ----------
    blocks : [start, stop) of the projections of each retrieval job.
    slabs : [start, stop) of the rows of each reconstruction job; none without tomography.
    outputs : formats that the volumes are written in beside ``volumes.h5``.
    bytes_per_pixel : memory of the retrieval method over the pixels of an image.
    voxel_std : whether the noise of every voxel is stated.
    seconds_per_row, alone_per_row : of all contrasts on two threads, and the part of it that takes one thread.
    tilt_rows : rows read beside those of a slab where a tilt of the axis or a displacement is taken off.
    compared : voxels of each half of the volumes that are compared.
    aligned : whether the projections are aligned, for which all of them are read once more.
    backprojection_mb : memory of the backend beside sinograms and slices, on two threads.
    reference_sets : stacks held for references of several times, beside that of the method.
    turns : volumes of a sample that changes as it turns, about.
    method : name of the retrieval method.
    fields : maps of four bytes a pixel that retrieval writes of a projection; flags are one byte beside them.
    rates : how fast this machine is.
    """

    projections: int
    positions: int
    rows: int
    columns: int
    blocks: tuple[tuple[int, int], ...]
    slabs: tuple[tuple[int, int], ...]
    tomographic: bool
    has_phase: bool
    bytes_per_pixel: float
    seconds_per_projection: float
    seconds_per_row: float
    alone_per_row: float = 0.0
    outputs: tuple[str, ...] = ()
    voxel_std: bool = False
    tilt_rows: int = 0
    aligned: bool = False
    compared: int = 0
    backprojection_mb: float = 0.0
    reference_sets: int = 0
    turns: int = 1
    method: str = "auto"
    fields: int = 0
    rates: Rates = field(default_factory=Rates)

    def memory_mb(self, stage: str) -> int:
        """Predicted peak memory of one job of a stage in MB."""
        frame = self.rows * self.columns * 4 / 1e6
        slab = (self.slabs[0][1] - self.slabs[0][0]) if self.slabs else 0
        pixels = self.rows * self.columns / 1e6
        batch = min(
            batch_size(self.positions, self.rows, self.columns), self.blocks[0][1] - self.blocks[0][0]
        )
        data = {
            # 16 samples a pixel, some 80 numbers each for each of two projections (measured at two sizes)
            "simulate": 2600 * frame,
            # the repeats of one position as counts, their sums and extremes; the mean of every position
            "inspect": 10 * REPEATS * pixels + (4 + self.reference_sets) * self.positions * frame,
            "correct": 12 * REPEATS * pixels + (6 + self.reference_sets) * self.positions * frame,
            # what the method says of itself; and of a batch: this and the next one's frames, raw and corrected,
            # and the fields
            "retrieve": pixels * (self.bytes_per_pixel + batch * (100 + 5 * self.positions))
            + self.reference_sets * self.positions * frame,
            "integrate": 60 * frame,
            # sixteen rows' sinograms of a contrast, and the copies of the search of the axis
            "assemble": 40 * self.projections * self.columns * 4 / 1e6 + 60 * frame,
            # the rows beside a slab are read, bridged and flagged, not reconstructed
            "reconstruct": slab * row_mb(self.projections, self.columns, self.voxel_std)
            + 3 * self.tilt_rows * self.projections * self.columns * 4 / 1e6
            + self.backprojection_mb,
            # slices of one turn; halves of three volumes, and the spectra of one
            "volume": 2 * slab * self.columns**2 * 4 / 1e6 + (3 * 2 * 4 + 80) * self.compared / 1e6,
            # TIFF: a part and its copies (measured 405 MB of 134 MB parts); OME-Zarr: a row of shards
            # on its way through the encoder (measured 810 MB of 67 MB)
            "export": max(3 * PART_BYTES, 13 * 4 * SHARD[0] * min(SHARD[1], self.columns) * self.columns)
            / 1e6,
            # a frame and its copies, whatever the number of all; ffmpeg (measured 304 MB at 1024 x 1024, the largest)
            "film": 6 * frame + 350,
            "report": 20 * frame + 12 * self.columns**2 * 4 / 1e6,
        }[stage]
        return int(BASE_MB.get(stage, BASE_MB_OTHER) + 1.2 * data)

    def runtime_min(self, stage: str) -> int:
        """Minutes to ask for, for one job of a stage."""
        block = self.blocks[0][1] - self.blocks[0][0]
        slab = (self.slabs[0][1] - self.slabs[0][0]) if self.slabs else 0
        pixels = self.rows * self.columns
        seconds = {
            "simulate": 4e-7 * pixels * self.positions * self.projections,
            "retrieve": block * self.seconds_per_projection * self.rates.of_method(self.method),
            "integrate": self.rates.integration * block * pixels,
            "reconstruct": slab * self.seconds_per_row * self.slowness,
            "volume": self.turns * 3 * self.rows * self.columns**2 * 4 / self.rates.disk,
            # ... read twice, and half as much again as a pyramid
            "export": self.turns * 3 * 3 * self.rows * self.columns**2 * 4 / self.rates.disk,
            "assemble": self.axis_seconds(),
        }.get(stage, self.positions * pixels * 8 / self.rates.disk)
        return max(5, int(ROOM * seconds / 60) + 1)

    @property
    def slowness(self) -> float:
        """Time of a back-projection here over that of the package's table."""
        return self.rates.fourier_slice / Rates().fourier_slice

    def axis_seconds(self) -> float:
        """Seconds of the search of the rotation axis: of three contrasts 32 rows are read and 16 searched; where the
        projections are aligned, all rows are read once more and their logarithms summed."""
        values = 3 * self.projections * self.columns
        aligning = self.rows * (4 / self.rates.disk + SECONDS_PER_MOMENT) if self.aligned else 0.0
        return values * (4 * 32 / self.rates.disk + 16 * self.rates.axis + aligning)


def plan_scan(spec: ScanSpec, manifest: str | Path | None = None) -> Plan:
    """Cut a scan into blocks of projections and slabs of rows.

    A simulated scan's shape is known from its settings. Else it stands in the ``manifest``, if there is one of the
    present settings and raw files; only without one a header of the raw data is opened.

    Raises
    ------
    InputError
        The raw data are not there, or their header cannot be read.
    """
    config = spec.config
    if config.simulate.enabled:
        s = config.simulate
        shape = (s.projections - len(exclusions(config)), s.positions, s.rows, s.columns)
    else:
        shape = _inspected_shape(spec, manifest) or scan_shape(spec)
    projections, positions, rows, columns = shape
    method, settings = config.retrieval.spec, config.retrieval.settings
    # of one thread: with more a job ends sooner
    per_projection = method.seconds_per_pixel(positions, settings) * rows * columns
    per_projection /= GPU_SPEEDUP if config.execution.retrieval.device == "cuda" else 1
    iterative = config.tomography.backend in STEPS
    per_row = 3 * _slice_seconds(config.tomography, projections, columns)
    voxel_std = config.tomography.voxel_std and not iterative
    # of the rows, in halves again
    split = min(1.0, SIDE / rows) if config.tomography.split != "none" else 0.0
    per_row *= (2 if voxel_std else 1) + split
    per_row /= GPU_SPEEDUP if config.execution.tomography.device == "cuda" else 1
    rings = config.tomography.rings
    alone = sum(SECONDS_PER_PIXEL[name] for name in (rings.phase, rings.absorption, rings.darkfield))
    alone += 3 * SECONDS_PER_DRAWN if voxel_std else 0.0
    alone *= projections * columns  # on one thread, never on a GPU
    per_row += alone
    rows_at_once = min(TARGET_SECONDS / per_row, TARGET_MB / 1.5 / row_mb(projections, columns, voxel_std))
    turned = projections > 1 and config.geometry.axis != "time"
    tomographic = {"yes": True, "no": False, "auto": turned}[config.tomography.enabled]
    return Plan(
        projections=projections,
        positions=positions,
        rows=rows,
        columns=columns,
        blocks=_cut(
            projections, config.execution.retrieval.projections_per_block, TARGET_SECONDS / per_projection
        ),
        slabs=_slabs(rows, config.execution.tomography.rows_per_slab, rows_at_once) if tomographic else (),
        tomographic=tomographic,
        has_phase=method.has_phase,
        bytes_per_pixel=method.bytes_per_pixel(positions, settings),
        seconds_per_projection=per_projection,
        seconds_per_row=per_row,
        alone_per_row=alone,
        outputs=tuple(dict.fromkeys(config.output)) if tomographic else (),
        voxel_std=voxel_std,
        tilt_rows=_tilt_rows(config.tomography, rows, columns),
        compared=min(rows, SIDE) * min(columns, SIDE) ** 2 if split else 0,
        aligned=config.tomography.align != "none",
        backprojection_mb=_backprojection_mb(config.tomography, projections, columns),
        reference_sets=REFERENCE_SETS[config.correct.references],
        turns=_turns(config, projections, columns),
        method=config.retrieval.method,
        fields=len(method.output_fields - {"flags", "attenuation"}) + method.can_be_checked,
        rates=load_rates(),
    )


def _turns(config: ScanConfig, projections: int, columns: int) -> int:
    """Volumes of a scan; where only the files know the angles, a turn is taken to have few projections."""
    g = config.geometry
    if g.axis != "both":
        return 1
    if g.angles == "range":
        return max(1, int(abs(g.angle_stop_deg - g.angle_start_deg) / config.tomography.turn_deg))
    return max(1, 4 * projections // columns)


def _inspected_shape(spec: ScanSpec, path: str | Path | None) -> tuple[int, int, int, int] | None:
    """What the manifest says; None where there is none of these settings, or its first raw file is another."""
    if path is None or not Path(path).exists():
        return None
    try:
        manifest = Manifest.load(path)
        manifest.files[0].files[0].check(spec.root, hashed=False)
    except (InputError, IndexError):
        return None
    if dict(manifest.settings) != json.loads(json.dumps(result_settings("inspect", spec.config))):
        return None
    planned = manifest.n_projections + len(manifest.left_out)  # as before the bad frames were known
    return planned, manifest.n_positions, manifest.rows, manifest.columns


def row_mb(projections: int, columns: int, voxel_std: bool) -> float:
    """MB of one row's sinograms and slices in a reconstruction job: at most seven copies of the sinograms of a contrast
    (measured 6.4 of 800 projections) and two of its slices, with their noise three."""
    copies = (7, 3) if voxel_std else (7, 2)
    return (copies[0] * projections + copies[1] * columns) * columns * 4 / 1e6


def _slice_seconds(settings: Tomography, projections: int, columns: int) -> float:
    """Seconds of one slice on two threads."""
    if settings.backend in STEPS:
        pixels = _solved_pixels(settings, columns) + projections * columns
        return STEPS[settings.backend] * SECONDS_PER_STEP * pixels / 2
    if settings.backend == "fourier":
        return Rates().fourier_slice / 2 * (projections + columns) * columns
    return SECONDS_PER_BACKPROJECTED_OTHER * projections * columns**2


def _backprojection_mb(settings: Tomography, projections: int, columns: int) -> float:
    """Working set of a backend on two threads: coordinates, strengths and fine grids; of the iterative ones also the
    slices that they keep (measured with tv: 86 bytes a pixel, 84 a value of the sinogram).
    """
    if settings.backend in STEPS:
        return 2 * 90 * (_solved_pixels(settings, columns) + projections * columns) / 1e6
    return (60 * 2 * projections * columns + 2 * 21 * columns**2) / 1e6


def _solved_pixels(settings: Tomography, columns: int) -> int:
    """Pixels of the slice that an iterative backend solves for: twice as wide where the sample may leave the view."""
    return columns**2 * (1 if settings.padding == "zero" else 4)


def _tilt_rows(settings: Tomography, rows: int, columns: int) -> int:
    """Rows beside a slab that turned or displaced projections are made of, at most the height."""
    tilt_deg, moved = settings.axis_tilt_deg, settings.align in ("shift", "both")
    if tilt_deg == 0 and not moved:
        return 0
    angle = LIKELY_TILT_DEG if tilt_deg == "auto" else abs(float(tilt_deg))
    reach = 2 * REACH_PX if moved else 0
    return min(rows, int(columns * np.tan(np.deg2rad(angle))) + reach + 2 * SPLINE_ROWS)


def _slabs(rows: int, size: int | str, automatic: float) -> tuple[tuple[int, int], ...]:
    """Slabs of rows that begin at even rows: slices are transformed in pairs, the same ones whatever the slabs."""
    size = max(1, int(automatic)) if size == "auto" else int(size)
    pairs = _cut(-(-rows // 2), max(1, size // 2), 1)
    return tuple((2 * first, min(rows, 2 * last)) for first, last in pairs)


def _cut(total: int, size: int | str, automatic: float) -> tuple[tuple[int, int], ...]:
    """Equal parts [start, stop) of about ``size``, or of at most ``automatic`` for 'auto'."""
    size = max(1, int(automatic)) if size == "auto" else int(size)
    count = -(-total // size)
    edges = [round(i * total / count) for i in range(count + 1)]
    return tuple(itertools.pairwise(edges))
