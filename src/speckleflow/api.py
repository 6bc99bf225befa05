"""The package from Python, on arrays: what ``import speckleflow as sf`` offers.

Each function is a thin face on what the workflow's stages call, so that values, signs and units are the same
(docs/physics.md). Nothing is written; a problem is a :class:`~speckleflow.errors.SpeckleflowError` of one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import ConfigError, InputError
from speckleflow.scan.geometry import ScanGeometry as Geometry

if TYPE_CHECKING:
    from speckleflow.correction import Correction
    from speckleflow.io.scan import Scan

__all__ = [
    "Geometry",
    "RawScan",
    "ResultFile",
    "find_axis",
    "integrate",
    "methods",
    "open",
    "reconstruct",
    "results",
    "retrieve",
]

Fields = dict[str, NDArray[Any]]
Margins = tuple[int, int, int, int]


def methods() -> list[str]:
    """Names of the retrieval methods; ``speckleflow methods`` describes them."""
    from speckleflow.retrieval import registry

    return list(registry.available())


def open(config: str | Path, scan: str | None = None) -> RawScan:
    """The raw data of a scan; :func:`results` opens a result.

    Parameters
    ----------
    config : a configuration file, from whose scan table a scan is opened. Paths in it are relative to the working
        directory, as for the workflow.
    scan : which scan of the table; None where it has only one.

    Raises
    ------
    ConfigError
        The configuration cannot be used, or the table has several scans and none was named.
    InputError
        The raw data cannot be used.
    """
    path = Path(config)
    if path.suffix.lower() in (".h5", ".hdf5"):
        raise ConfigError(
            f"{path}: expected a configuration (.yaml), found an HDF5 file; speckleflow.results reads results"
        )
    from speckleflow.config import load_config, load_scans
    from speckleflow.io.scan import open_scan
    from speckleflow.scan.spec import ScanSpec

    scans = load_scans(load_config(path))
    if scan is None and len(scans) == 1:
        scan = next(iter(scans))
    if scan not in scans:
        found = "none named" if scan is None else f"'{scan}'"
        raise ConfigError(f"{path}: expected one of the scan table ({', '.join(scans)}), found {found}")
    return RawScan(open_scan(ScanSpec(scan, scans[scan])))


def results(path: str | Path) -> ResultFile:
    """A result of the workflow or of ``speckleflow retrieve``: ``volumes.h5``, ``projections.h5``, ``fields.h5``.

    Raises
    ------
    InputError
        Absent, damaged or no result.
    """
    return ResultFile(path)


@dataclass(frozen=True)
class RawScan:
    """The raw data of a scan; frames are read and corrected when they are asked for.

    Attributes
    ----------
    raw : the scan as the workflow opens it, with its settings in ``raw.config``.
    """

    raw: Scan

    def __len__(self) -> int:
        """Number of projections."""
        return self.raw.n_projections

    @property
    def geometry(self) -> Geometry:
        """Energy, pixel size and distance, from the files or the configuration."""
        return self.raw.geometry

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """Angle of every projection, counter-clockwise seen from above."""
        return np.asarray(self.raw.angles_deg, np.float64)

    @cached_property
    def correction(self) -> Correction:
        """Dark, flat, bad pixels and air margins, as the stage ``correct`` prepares them."""
        from speckleflow.correction import prepare_correction

        return prepare_correction(self.raw)

    @property
    def air(self) -> Margins:
        """Widths (left, right, top, bottom) in pixels of the margins that the sample never enters."""
        return self.correction.air

    @property
    def reference(self) -> NDArray[np.float32] | None:
        """Corrected reference stack (N, y, x); None for a scan without diffuser. Of several times their mean."""
        return self.correction.reference

    def reference_of(self, projection: int) -> NDArray[np.float32] | None:
        """Corrected reference stack (N, y, x) of one projection, where ``correct.references`` follows the diffuser."""
        return self.correction.at(self.raw.raw_indices[projection]).reference

    def frames(self, projections: slice | int = slice(None)) -> NDArray[np.float32]:
        """Corrected sample frames (projection, N, y, x), or (N, y, x) of a single projection.

        Parameters
        ----------
        projections : a range, or the number of one projection. A range is held in memory as a whole.
        """
        if isinstance(projections, slice):
            numbers = self.raw.raw_indices[projections]
            return self.correction.correct_frames(self.raw.read_sample(projections), numbers)
        return self.frames(slice(index := range(len(self))[projections], index + 1))[0]


class ResultFile:
    """An HDF5 result of the workflow or of ``speckleflow retrieve``, read in parts.

    ``file["mu"]`` is a whole dataset; ``file.read("mu", slice(10, 20))`` a part of it.

    Parameters
    ----------
    path : of the file, e.g. ``volumes.h5`` or ``projections.h5``.

    Raises
    ------
    InputError
        Absent, damaged or no result.
    """

    def __init__(self, path: str | Path) -> None:
        import h5py

        from speckleflow.io.results import open_result
        from speckleflow.scan.warnings import read_warnings

        self.path = Path(path)
        with open_result(self.path) as file:
            datasets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            self.names = tuple(datasets)
            self._units = {name: str(item.attrs.get("units", "")) for name, item in datasets.items()}
            self._shapes = {name: tuple(int(n) for n in item.shape) for name, item in datasets.items()}
            self.attrs: dict[str, Any] = dict(file.attrs)
            self.warnings = read_warnings(file)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.read(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a dataset."""
        self._check(name)
        return self._shapes[name]

    def unit(self, name: str) -> str:
        """Unit of a dataset; '' or '1' where it has none."""
        self._check(name)
        return self._units[name]

    def read(self, name: str, part: slice = slice(None)) -> NDArray[Any]:
        """A dataset, or a range of its first axis (projections, or slices of a volume).

        Raises
        ------
        InputError
            No dataset of that name, or it or a file behind it is damaged.
        """
        from speckleflow.io.projections import BLOCKS, open_projections
        from speckleflow.io.results import open_result

        self._check(name)
        if BLOCKS in self.attrs:
            with open_projections(self.path) as projections:
                return np.asarray(projections.read(name, part))
        with open_result(self.path, verify=False) as file:
            return np.asarray(file[name][part])

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise InputError(
                self.path, expected=f"one of the datasets {', '.join(self.names)}", found=f"'{name}'"
            )


def retrieve(
    reference: ArrayLike | None,
    sample: ArrayLike,
    method: str = "auto",
    *,
    settings: Mapping[str, Any] | None = None,
    geometry: Geometry | None = None,
    device: Literal["cpu", "cuda", "auto"] = "cpu",
    grid: Literal["reference", "detector"] = "reference",
    refine: Literal["none", "wave"] = "none",
) -> Fields:
    """Displacement, transmission and dark field of corrected frames.

    Parameters
    ----------
    reference : (N, y, x) corrected reference frames, one a diffuser position; None for method ``absorption``.
    sample : (N, y, x) corrected frames of one projection, or (projection, N, y, x), paired with the reference.
    method : a name of :func:`methods`.
    settings : the method's keys of the configuration, e.g. ``{"window": 9}``; None: their defaults.
    geometry : energy, pixel size and distances, for a method that needs them.
    device : where to compute; auto: on a GPU where there is one.
    grid : where a field stands: at the ray's place in the sample, or where the ray lands.
    refine : wave: then fit phase and attenuation to all frames by the wave equation; needs the geometry.

    Returns
    -------
    dict of str to ndarray
        ``ux``, ``uy`` and ``displacement_std`` in pixels, ``transmission``, ``darkfield`` and more, as the method
        gives them: (y, x), or (projection, y, x).

    Raises
    ------
    ConfigError
        An unknown method or setting.
    InputError
        Frames that do not fit the reference or the method, or values that are not finite.
    """
    from speckleflow.config import parse_config
    from speckleflow.retrieval import registry
    from speckleflow.retrieval.single import retrieve_stack
    from speckleflow.stages.projection import acquisition_of, as_arrays, choose_device

    registry.check_name(method)
    section: dict[str, Any] = {method: dict(settings)} if settings else {}
    config = parse_config({"retrieval": {"method": method, "refine": refine, **section}}, "settings")
    frames = np.asarray(sample)
    fields = as_arrays(
        retrieve_stack(
            None if reference is None else np.asarray(reference),
            frames,
            method,
            config.retrieval.settings,
            choose_device(device),
            grid=grid,
            acquisition=None if geometry is None else acquisition_of(config, geometry),
            refine=refine,
        )
    )
    return fields if frames.ndim == 4 else {name: values[0] for name, values in fields.items()}


def integrate(
    fields: Mapping[str, ArrayLike],
    geometry: Geometry,
    *,
    air: Margins = (0, 0, 0, 0),
    settings: Mapping[str, Any] | None = None,
) -> NDArray[np.float32]:
    """Phase in rad, negative in matter, of the displacement of one or several projections.

    Parameters
    ----------
    fields : what :func:`retrieve` returns; ``ux`` and ``uy`` are enough, ``displacement_std`` and ``flags`` weight
        the pixels, ``phase_retrieved`` of a method that gives the phase itself is levelled. (y, x) or
        (projection, y, x).
    geometry : with energy, pixel size and distance, e.g. ``Geometry(1.3, energy_kev=20.0, distance_m=0.2)``.
    air : widths (left, right, top, bottom) in pixels of the margins where the phase is 0; none: its mean is 0.
    settings : keys of section ``integrate`` of the configuration, e.g. ``{"boundary": "periodic"}``.

    Returns
    -------
    ndarray
        Of the shape of the fields.

    Raises
    ------
    InputError
        No displacement, energy or distance, or values that are not finite.
    """
    from speckleflow.config import parse_config
    from speckleflow.stages.phase import OF_PHASE, integrate_fields

    if "phase_retrieved" not in fields and not {"ux", "uy"} <= set(fields):
        raise InputError("fields", expected="ux and uy, for the phase", found=f"{', '.join(fields)}")
    arrays = {name: np.asarray(fields[name]) for name in OF_PHASE if name in fields}
    single = next(iter(arrays.values())).ndim == 2
    batch = {name: values[None] if single else values for name, values in arrays.items()}
    config = parse_config({"integrate": dict(settings or {})}, "settings")
    phase = np.asarray(integrate_fields(batch, geometry, air, config.integrate)["phase"], np.float32)
    return phase[0] if single else phase


def find_axis(
    projections: ArrayLike, angles_deg: ArrayLike, *, contrast: str = "transmission", rows: int = 16
) -> float:
    """Rotation axis in pixels, pixel centres at integers, as the workflow finds it.

    Parameters
    ----------
    projections : (projection, y, x) of one contrast; the transmission serves best.
    angles_deg : (projection,), covering 180 degrees or more.
    contrast : transmission, darkfield or phase.
    rows : how many rows are used, spread over the height.

    Raises
    ------
    InputError
        Shapes that do not fit, less than 180 degrees, or no sample.
    """
    from speckleflow.tomo.axis_search import search_axis
    from speckleflow.tomo.sinogram import line_integrals, ratio_noise

    values = _stack(projections)
    height = values.shape[1]
    chosen = np.unique(np.linspace(0, height - 1, rows + 2).astype(int)[1:-1])
    noise = None if contrast == "phase" else ratio_noise(values)
    integrals = line_integrals(contrast, values[:, chosen], noise).values
    return float(search_axis(integrals.transpose(1, 0, 2), angles_deg).axis_px)


def reconstruct(
    projections: ArrayLike,
    angles_deg: ArrayLike,
    axis_px: float,
    *,
    quantity: Literal["delta", "mu", "darkfield"],
    geometry: Geometry,
    settings: Mapping[str, Any] | None = None,
    threads: int = 2,
    device: Literal["cpu", "cuda"] = "cpu",
) -> NDArray[np.float32]:
    """A volume (z, y, x) in physical units by filtered back-projection.

    Parameters
    ----------
    projections : (projection, y, x): the phase in rad for delta, the transmission for mu, the visibility ratio for
        darkfield; no logarithm taken.
    angles_deg : (projection,), counter-clockwise seen from above.
    axis_px : rotation axis, pixel centres at integers; see :func:`find_axis`.
    quantity : delta (dimensionless), mu or darkfield (1/m).
    geometry : with the pixel size, and for delta the energy.
    settings : keys of section ``tomography`` of the configuration: ``backend``, ``filter``, ``rings``, ``offset_axis``.
    threads, device : how it is computed.

    Returns
    -------
    ndarray
        float32, the rotation axis through the centre of every slice.

    Raises
    ------
    ConfigError
        An unknown setting, or delta without the energy.
    InputError
        Projections, angles and axis that do not fit each other, or values that are not finite.
    """
    from speckleflow.config import parse_config
    from speckleflow.tomo.slab import SlabReconstruction, ring_filters

    tomography = parse_config({"tomography": dict(settings or {})}, "settings").tomography
    make = SlabReconstruction(
        angles_deg,
        axis_px,
        pixel_size_m=geometry.pixel_size_um * 1e-6,
        energy_kev=geometry.energy_kev,
        backend=tomography.backend,
        filter=tomography.filter,
        rings=ring_filters(tomography),
        ring_window_px=tomography.rings.window_px,
        offset_axis=tomography.offset_axis,
        threads=threads,
        device=device,
    )
    return make(quantity, _stack(projections)).slices


def _stack(projections: ArrayLike) -> NDArray[Any]:
    values = np.asarray(projections)
    if values.ndim != 3:
        raise InputError("projections", expected="shape (projection, y, x)", found=f"shape {values.shape}")
    return values
