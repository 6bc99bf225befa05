"""A whole simulated beamtime: Data Exchange files, one per diffuser position, and the truth beside them.

Each position is a tomography scan of its own (sample file: all angles) with a reference (its own file:
several frames without the sample), both with flats (no diffuser) and darks. Projections are made and written
one by one, so memory does not grow with their number, and every frame has its own random numbers: the same
settings give the same files, bit for bit.

Truth file
----------
``projected/{phase, transmission, darkfield, ux, uy}`` (projection, y, x) on the reference grid, without
drift; of a sample that turns, ``volumes/{delta, mu, darkfield}`` (z, y, x) and ``masks/<region>`` (z, y, x),
1 inside, with material and its constants as attributes; ``theta`` in degrees; ``drift_px`` (projection, 2) as
(x, y), by which the modulator stands further right and down than in the reference; ``flux`` (projection, N);
``positions_px`` (N, 2) as (x, y). Root attributes: geometry with units in the names, ``axis_px``,
``visibility`` of the reference, and ``jacobian_min`` and ``crossing_share``: the smallest Jacobian of
x -> x + u(x) over all projections (pixel means, central differences) and the share of pixels where it is
negative, so that rays have crossed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from speckleflow.config.models import ScanConfig, Simulate
from speckleflow.errors import ConfigError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.data_exchange import ANGLES, DARKS, FLATS, FRAMES
from speckleflow.io.results import result_file, write_provenance
from speckleflow.simulate.detector import Detector, seeded
from speckleflow.simulate.foaming import foaming
from speckleflow.simulate.forward import ProjectedFields
from speckleflow.simulate.phantoms import Phantom, phantom, unit_of
from speckleflow.simulate.scene import Scene
from speckleflow.simulate.warp import jacobian

Made = TypeVar("Made")
Progress = Callable[[int, int], None]

#: Independent streams of random numbers.
_DETECTOR, _SCENE, _DRIFT, _FLATS, _DARKS, _REFERENCE, _SAMPLE = range(7)

#: Rows of the true volumes made at a time; bounds the memory.
_SLAB_ROWS = 16

_UNITS = {"phase": "rad", "transmission": "1", "darkfield": "1", "ux": "px", "uy": "px"}
_VOLUME_UNITS = {"delta": "1", "mu": "1/m", "darkfield": "1/m"}


def simulate_scan(
    config: ScanConfig,
    scan: str,
    truth: str | Path | None = None,
    root: str | Path = ".",
    progress: Progress | None = None,
    settings_record: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> list[Path]:
    """Simulate the beamtime of ``config.simulate`` and write its files where ``config.files`` says.

    Parameters
    ----------
    scan : name that replaces {scan} in the patterns.
    truth : where the truth goes; None: ``truth.h5`` beside the sample files.
    root : folder that relative patterns start from.
    progress : called as progress(done, total) after every projection.
    threads : projections made at a time, each by one thread; the files do not depend on it.
    settings_record : settings that the truth's provenance names; None: those of ``config.simulate``.

    Returns
    -------
    All files written, the truth last; it is also the last to appear, so that where it exists all are
    complete.

    Raises
    ------
    ConfigError
        A pattern without {position} (every position has its own file here), or optics that cannot be
        simulated.
    """
    settings = config.simulate
    root = Path(root)
    sample, reference = (
        _paths(pattern, name, scan, settings.positions, root)
        for pattern, name in ((config.files.sample, "sample"), (config.files.reference, "reference"))
    )
    truth = sample[0].parent / "truth.h5" if truth is None else root / truth
    with ExitStack() as stack:
        stack.enter_context(_one_thread())
        scene = Scene(settings, seeded(settings.seed, _SCENE))
        detector = Detector(
            settings.detector, settings.rows, settings.columns, seeded(settings.seed, _DETECTOR)
        )
        samples = samples_in_time(settings, scene.beam.pixel_size_m)
        angles = np.arange(settings.projections, dtype=np.float64) * (
            settings.rotation_deg / settings.projections
        )
        drift, flux = _drifts(settings)
        truth_file = stack.enter_context(result_file(truth))
        write_provenance(
            truth_file,
            stage="simulate",
            scan=scan,
            settings=settings_record or settings.model_dump(mode="json"),
            packages=("scipy", "torch"),
        )
        _write_truth_frame(truth_file, settings, scene, samples[0], detector, angles, drift, flux)
        files = [stack.enter_context(_new_file(path, stack)) for path in sample]
        for n, (file, path) in enumerate(zip(files, reference, strict=True)):
            _write_frame(file, settings, detector, angles, n)
            with atomic_path(path) as private, h5py.File(private, "w") as other:
                _write_reference(other, settings, detector, scene, n)
        crossed, smallest = 0.0, math.inf

        def exposed(k: int) -> tuple[list[NDArray[np.uint16]], ProjectedFields]:
            """Raw frames and true fields of one projection."""
            image, fields = scene.sample(
                samples[k], float(angles[k]), (float(drift[k, 0]), float(drift[k, 1]))
            )
            generators = [seeded(settings.seed, _SAMPLE, k, n) for n in range(len(files))]
            frames = [
                detector.expose(one, generator, float(flux[k, n]))[0]
                for n, (one, generator) in enumerate(zip(image, generators, strict=True))
            ]
            return frames, fields

        for k, (frames, fields) in enumerate(_in_order(exposed, len(angles), threads)):
            for file, frame in zip(files, frames, strict=True):
                file[FRAMES][k] = frame
            for name, field in fields._asdict().items():
                truth_file[f"projected/{name}"][k] = field.cpu().numpy()
            determinant = jacobian(fields.ux, fields.uy)
            smallest = min(smallest, float(determinant.min()))
            crossed += float((determinant < 0).float().mean()) / len(angles)
            if progress is not None:
                progress(k + 1, len(angles))
        truth_file.attrs.update({"jacobian_min": smallest, "crossing_share": crossed})
    return [*sample, *reference, truth]


def samples_in_time(settings: Simulate, pixel_size_m: float) -> tuple[Phantom, ...]:
    """What stands in the beam at every projection."""
    size = (settings.rows, settings.columns)
    if settings.phantom == "foaming":
        times = settings.frame_s * np.arange(settings.projections)
        return foaming(unit_of(pixel_size_m, *size), times.tolist(), settings.seed)
    return (phantom(settings.phantom, pixel_size_m, *size),) * settings.projections


def _in_order(make: Callable[[int], Made], count: int, threads: int) -> Iterator[Made]:
    """make(0), make(1), ..., several at a time; no more are finished ahead than there are threads."""
    if threads == 1:
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        coming = deque(pool.submit(make, k) for k in range(min(threads, count)))
        for k in range(count):
            made = coming.popleft().result()
            if k + threads < count:
                coming.append(pool.submit(make, k + threads))
            yield made


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: sums split over threads round differently, and the files would depend on the machine.

    It costs nothing: projections are made beside each other instead.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _paths(pattern: str | None, name: str, scan: str, positions: int, root: Path) -> list[Path]:
    if pattern is None or "{position" not in pattern:
        raise ConfigError(
            f"files.{name}: expected a pattern with {{position}} (a simulated beamtime has one file per "
            f"diffuser position), such as raw/{{scan}}/{name}_{{position:02d}}.h5, found {pattern!r}"
        )
    return [root / pattern.format(scan=scan, position=n + 1) for n in range(positions)]


def _new_file(path: Path, stack: ExitStack) -> h5py.File:
    """An HDF5 file that appears under its name when ``stack`` closes, after its content."""
    return h5py.File(stack.enter_context(atomic_path(path)), "w")


def _drifts(settings: Simulate) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Drift of the modulator in px, (projection, 2) as (x, y), and relative flux (projection, N).

    The modulator creeps in one direction, from half of ``drift_px`` to all of it. The flux of each position
    swings slowly, one to three periods a scan, with a tenth of that as noise from frame to frame.
    """
    random = np.random.default_rng([settings.seed & 0xFFFFFFFF, _DRIFT])
    count, n = settings.projections, settings.positions
    time = np.linspace(0, 1, count)[:, None]
    turn = random.uniform(0, 2 * np.pi)
    drift = settings.drift_px * (0.5 + 0.5 * time) * np.array([[np.cos(turn), np.sin(turn)]])
    periods, start = random.uniform(1, 3, (1, n)), random.uniform(0, 1, (1, n))
    swing = np.sin(2 * np.pi * (periods * time + start)) + 0.1 * random.standard_normal((count, n))
    return drift, 1 + settings.detector.flux_drift * swing


def _write_frame(
    file: h5py.File, settings: Simulate, detector: Detector, angles: NDArray[Any], position: int
) -> None:
    """Everything of a sample file but its projections."""
    shape = (len(angles), settings.rows, settings.columns)
    _images(file, FRAMES, shape, "theta")
    file.create_dataset(ANGLES, data=angles).attrs["units"] = "deg"
    _write_common(file, settings, detector, 2 * position)


def _write_reference(
    file: h5py.File, settings: Simulate, detector: Detector, scene: Scene, position: int
) -> None:
    generator = seeded(settings.seed, _REFERENCE, position)
    count = settings.detector.references
    frames = _images(file, FRAMES, (count, settings.rows, settings.columns), "theta")
    image = scene.reference(position)
    for k in range(count):
        frames[k] = detector.expose(image, generator)[0]
    _write_common(file, settings, detector, 2 * position + 1)


def _write_common(file: h5py.File, settings: Simulate, detector: Detector, stream: int) -> None:
    """Flats, darks and the description of the instrument."""
    empty = torch.ones(detector.shape)
    for key, axis, image, count, kind in (
        (FLATS, "theta_white", empty, settings.detector.flats, _FLATS),
        (DARKS, "theta_dark", None, settings.detector.darks, _DARKS),
    ):
        generator = seeded(settings.seed, kind, stream)
        frames = _images(file, key, (count, *detector.shape), axis)
        frames[:] = detector.expose(image, generator, frames=count)
    file["implements"] = "exchange:measurement"
    instrument = file.create_group("/measurement/instrument")
    for path, value, unit in (
        ("monochromator/energy", settings.energy_kev, "keV"),
        ("detector/x_pixel_size", settings.pixel_size_um, "um"),
        ("detector/y_pixel_size", settings.pixel_size_um, "um"),
        ("detector/distance", settings.distance_m, "m"),
    ):
        instrument.create_dataset(path, data=value).attrs["units"] = unit
    file["/measurement/sample/name"] = f"phantom {settings.phantom}"
    file.attrs["creator"] = "speckleflow simulate"


def _images(file: h5py.File, key: str, shape: tuple[int, int, int], axis: str) -> h5py.Dataset:
    dataset = file.create_dataset(key, shape, np.uint16, track_times=False)
    dataset.attrs.update({"axes": f"{axis}:y:x", "units": "counts"})
    return dataset


def _write_truth_frame(
    file: h5py.File,
    settings: Simulate,
    scene: Scene,
    solids: Phantom,
    detector: Detector,
    angles: NDArray[Any],
    drift: NDArray[np.float64],
    flux: NDArray[np.float64],
) -> None:
    """Everything of the truth but the projected fields, whose datasets are made empty."""
    rows, columns = settings.rows, settings.columns
    file.attrs.update(
        {
            "scan_settings": settings.model_dump_json(),
            "axis_px": scene.axis_px,
            "energy_kev": settings.energy_kev,
            "pixel_size_um": settings.pixel_size_um,
            "distance_m": settings.distance_m,
            "visibility": scene.visibility,
        }
    )
    for name in ProjectedFields._fields:
        _compressed(file, f"projected/{name}", _UNITS[name], shape=(len(angles), rows, columns))
    for name, data, unit in (
        ("theta", angles, "deg"),
        ("drift_px", drift, "px"),
        ("flux", flux, "1"),
        ("positions_px", scene.positions_yx_px[:, [1, 0]].numpy(), "px"),
        ("hot_pixels_yx", detector.hot.numpy(), "px"),
        ("dead_pixels_yx", detector.dead.numpy(), "px"),
    ):
        file.create_dataset(name, data=data).attrs["units"] = unit
    if settings.rotation_deg > 0:
        _write_volumes(file, settings, solids, scene.beam.pixel_size_m)


def _write_volumes(file: h5py.File, settings: Simulate, solids: Phantom, pixel: float) -> None:
    """True volumes and the regions of every material."""
    rows, columns, energy = settings.rows, settings.columns, settings.energy_kev
    for name, unit in _VOLUME_UNITS.items():
        _compressed(file, f"volumes/{name}", unit, shape=(rows, columns, columns))
        file[f"volumes/{name}"].attrs["voxel_size_m"] = pixel
    for region, solid in {solid.region: solid for solid in solids.solids}.items():
        _compressed(file, f"masks/{region}", "1", shape=(rows, columns, columns), dtype=np.uint8)
        delta, mu, extinction = solids.matter(solid, energy)
        file[f"masks/{region}"].attrs.update(
            {
                "material": solid.material or "air",
                "delta": delta,
                "mu_per_m": mu,
                "darkfield_per_m": extinction,
            }
        )
    for first in range(0, rows, _SLAB_ROWS):
        last = min(rows, first + _SLAB_ROWS)
        matter, regions = solids.voxels(energy, pixel, rows, columns, first, last)
        for name, volume in zip(_VOLUME_UNITS, matter, strict=True):
            file[f"volumes/{name}"][first:last] = volume.numpy()
        for region, mask in regions.items():
            file[f"masks/{region}"][first:last] = mask.numpy()


def _compressed(
    file: h5py.File, name: str, unit: str, shape: tuple[int, int, int], dtype: type = np.float32
) -> None:
    """A dataset in chunks of one image, compressed; by gzip, as the output of lzf differs from run to run."""
    created = file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(1, *shape[1:]),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
        fletcher32=True,
        track_times=False,
    )
    created.attrs["units"] = unit
