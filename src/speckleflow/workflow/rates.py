"""How fast this machine is: the rates by which hours are predicted, in one table that can be measured anew.

The table of the package was measured on two cores of an AMD EPYC (benchmarks/rates.md). ``speckleflow benchmark
--this-machine`` writes one for the machine it runs on, to a file of the user, or where ``SPECKLEFLOW_RATES`` says.
Rates decide no job's extent and no result: how a scan is cut follows from its shape alone, so that a new table repeats
nothing.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from speckleflow.errors import ConfigError
from speckleflow.io.atomic import atomic_path

VARIABLE = "SPECKLEFLOW_RATES"
#: methods whose time is measured
MEASURED = ("umpa", "espinnet")


@dataclass(frozen=True)
class Rates:
    """Seconds of one thread, and bytes per second.

    Attributes
    ----------
    umpa, espinnet : seconds of a retrieval over those that the method declares (``MethodSpec.seconds_per_pixel``).
    integration : seconds per pixel of the weighted integration.
    fourier_slice : seconds of a slice by the backend ``fourier`` over the values of its sinogram and its pixels: its
        transforms grow with either (512 columns and 360 angles 3.1e-8, 2048 and 901 2.9e-8).
    axis : seconds per pixel of a sinogram of the search of the rotation axis.
    disk : bytes per second, written and read back.
    """

    umpa: float = 1.0
    espinnet: float = 1.0
    integration: float = 1.1e-6
    fourier_slice: float = 6e-8
    axis: float = 1.26e-6
    disk: float = 50e6

    def of_method(self, name: str) -> float:
        """Seconds of a method over those that it declares; for one that was not measured, the mean of the others."""
        measured = asdict(self)
        return float(measured[name]) if name in MEASURED else math.sqrt(self.umpa * self.espinnet)


def rates_path() -> Path:
    """Where the table of this machine is, or would be."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "speckleflow" / "rates.json"


def load_rates() -> Rates:
    """The table of this machine, or that of the package where none was measured.

    Raises
    ------
    ConfigError
        The file is damaged, or holds a number that is no rate.
    """
    path = rates_path()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            raise ConfigError(
                f"{VARIABLE}: expected a table of rates, found no file {path}; {_ADVICE}"
            ) from None
        return Rates()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a table of rates, found damage ({error}); {_ADVICE}") from error
    names = {field.name for field in fields(Rates)}
    if not isinstance(values, dict) or set(values) != names:
        raise ConfigError(f"{path}: expected the rates {', '.join(sorted(names))}; {_ADVICE}")
    for name, value in values.items():
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{path}: {name}: expected a number above 0, found {value!r}; {_ADVICE}")
    return Rates(**values)


_ADVICE = "measure them anew with `speckleflow benchmark --this-machine`, or delete the file"


def measure_rates(
    side: int = 512, angles: int = 360, report: Callable[[str], object] = print, repeats: int = 3
) -> Path:
    """Measure the rates of this machine on one thread, and write them; under two minutes at the default sizes.

    Parameters
    ----------
    side : of the images and slices in pixels.
    angles : projections of the sinograms.
    report : called with a line before each measurement.
    repeats : the least of so many counts.

    Returns
    -------
    The file that was written.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    import torch

    def least(work: Callable[[], object]) -> float:
        times = []
        for _ in range(repeats):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        values = {}
        for name in MEASURED:
            report(f"retrieval by {name}, {side} x {side} pixels")
            values[name] = least(_retrieval(name, side)) / (_declared(name) * side**2)
        report("integration")
        values["integration"] = least(_integration(side)) / side**2
        report("back-projection")
        values["fourier_slice"] = least(_backprojection(side, angles)) / (2 * (angles + side) * side)
        report("search of the rotation axis")
        rows = 8
        values["axis"] = least(_axis(side, angles, rows)) / (angles * side * rows)
        report("disk")
        values["disk"] = _disk(64 * side**2)
    finally:
        torch.set_num_threads(threads)
    path = rates_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as private:
        Path(private).write_text(json.dumps(asdict(Rates(**values)), indent=2) + "\n", encoding="utf-8")
    return path


_POSITIONS = 3


def _declared(name: str) -> float:
    from speckleflow.retrieval.registry import default_settings, spec_of

    return spec_of(name).seconds_per_pixel(_POSITIONS, default_settings(name))


def _retrieval(name: str, side: int) -> Callable[[], object]:
    import torch

    from speckleflow.retrieval.single import make_method

    generator = torch.Generator().manual_seed(0)
    reference = 1 + 0.2 * torch.randn(_POSITIONS, side, side, generator=generator)
    sample = 0.9 * reference.roll(1, 2)[None]
    method = make_method(name)
    state = method.prepare(reference)
    return lambda: method(sample, state)


def _integration(side: int) -> Callable[[], object]:
    from speckleflow.phase import integrate_displacement

    rng = np.random.default_rng(0)
    ux, uy = rng.normal(size=(2, 1, side, side)).astype(np.float32)
    y, x = np.mgrid[:side, :side] - side / 2
    # a sample whose inside is known ten times worse than the air: equal weights would converge in a step
    sigma = np.where(np.hypot(x, y) < side / 3, 0.1, 0.01) * rng.uniform(0.7, 1.4, (1, side, side))
    return lambda: integrate_displacement(
        ux, uy, energy_kev=20.0, pixel_size_m=1e-6, distance_m=0.2, sigma=sigma
    )


def _sinograms(rows: int, angles: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Sinograms (row, angle, x) of a disc beside the axis, and their angles in degrees."""
    degrees = np.arange(angles) * 180 / angles
    x = np.arange(columns) - (columns - 1) / 2 - columns / 8 * np.cos(np.deg2rad(degrees))[:, None]
    chord = np.sqrt(np.clip((columns / 5) ** 2 - x**2, 0, None))
    noise = np.random.default_rng(0).normal(size=(rows, angles, columns))
    return (chord + noise).astype(np.float32), degrees


def _backprojection(side: int, angles: int) -> Callable[[], object]:
    from speckleflow.tomo.backends.registry import make_backend

    sinograms, degrees = _sinograms(2, angles, side)
    backend = make_backend("fourier", degrees, side, (side - 1) / 2)
    # two rows go together
    return lambda: backend(sinograms)


def _axis(side: int, angles: int, rows: int) -> Callable[[], object]:
    from speckleflow.tomo.axis_search import search_axis

    sinograms, degrees = _sinograms(rows, angles, side)
    return lambda: search_axis(sinograms, degrees)


def _disk(size: int) -> float:
    """Bytes per second of a file that is written, flushed to the disk, and read."""
    block = np.random.default_rng(0).bytes(size)
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as file:
        start = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        file.read()
        return size / (time.perf_counter() - start)
