"""What a scan will take: hours of CPUs and GPUs, and what it writes to the disk."""

from __future__ import annotations

from dataclasses import dataclass

from speckleflow.config import ScanConfig
from speckleflow.workflow.plan import Plan
from speckleflow.workflow.rates import rates_path

#: bytes of a field and of the phase at a pixel, and of a voxel
_BYTES = 4
#: bytes of the flags of a pixel
_FLAG_BYTES = 1
#: bytes that a format of ``output`` writes for each of a volume's
_FORMATS = {"ome-zarr": 8 / 7, "tiff": 1.0, "tiff16": 0.5, "xdmf": 0.0}


@dataclass(frozen=True)
class Forecast:
    """Seconds of CPUs (one thread) and of GPUs, and bytes that are written: to stay, and for a while."""

    cpu_seconds: float
    gpu_seconds: float
    kept_bytes: float
    passing_bytes: float
    raw_bytes: float
    measured: bool

    def sentence(self) -> str:
        """The forecast in words, for the terminal."""
        times = f"about {_hours(self.cpu_seconds)} of one CPU"
        if self.gpu_seconds:
            times += f" and {_hours(self.gpu_seconds)} of a GPU"
        share = (self.kept_bytes + self.passing_bytes) / self.raw_bytes
        advice = "" if self.measured else " (rates: `speckleflow benchmark --this-machine`)"
        return (
            f"{times}{advice}; {_size(self.kept_bytes)} of results and {_size(self.passing_bytes)} on the way, "
            f"{share:.1f} bytes a raw byte"
        )


def forecast(plan: Plan, config: ScanConfig) -> Forecast:
    """The forecast of a planned scan; the time of reading raw data and of the report is left out."""
    pixels = plan.rows * plan.columns
    retrieval = plan.projections * plan.seconds_per_projection * plan.rates.of_method(plan.method)
    # a back-projection is planned for two threads
    back_projection = 2 * (plan.seconds_per_row - plan.alone_per_row) * plan.slowness
    reconstruction = plan.rows * back_projection if plan.tomographic else 0.0
    cpu = plan.rates.integration * plan.projections * pixels if plan.has_phase else 0.0
    cpu += plan.axis_seconds() + plan.rows * plan.alone_per_row if plan.tomographic else 0.0
    gpu = 0.0
    for seconds, device in (
        (retrieval, config.execution.retrieval.device),
        (reconstruction, config.execution.tomography.device),
    ):
        gpu += seconds if device == "cuda" else 0.0
        cpu += 0.0 if device == "cuda" else seconds
    maps = plan.projections * pixels * (_BYTES * (plan.fields + plan.has_phase) + _FLAG_BYTES)
    volumes = 3 * plan.turns * plan.rows * plan.columns**2 * _BYTES if plan.tomographic else 0
    formats = sum(_FORMATS.get(name, 1.0) for name in plan.outputs)
    return Forecast(
        cpu_seconds=cpu,
        gpu_seconds=gpu,
        kept_bytes=maps + volumes * (1 + formats),
        passing_bytes=volumes,
        raw_bytes=2.0 * plan.projections * plan.positions * pixels,
        measured=rates_path().exists(),
    )


def _hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    for unit in ("MB", "GB", "TB"):
        count /= 1e6 if unit == "MB" else 1e3
        if count < 1000:
            break
    return f"{count:.3g} {unit}"
