"""Reconstructed volumes against the truth of a simulated scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.report.neighbourhood import grown_plane

Array = NDArray[Any]
Mask = NDArray[np.bool_]

#: Voxels that are compared: all of up to 400^3, else slices spread evenly over the volume.
COMPARED_VOXELS = 2**26
#: Voxels at which the background is smoothed, likewise; each takes 33 slices about its own.
DRIFT_VOXELS = 2**23
#: Values that a percentile is taken from.
PERCENTILE_VALUES = 2**24

#: Width of the Gaussian, in voxels, that separates the drift of the background from its noise: it averages
#: some 2,800 voxels (8 pi^1.5 sigma^3), so that white noise of 10 % of the range adds 0.2 %.
DRIFT_SIGMA = 4.0
#: ... cut off at four standard deviations.
DRIFT_REACH = 16


@dataclass(frozen=True)
class MaterialRow:
    """Mean of one quantity inside one material.

    ``error`` is relative to ``expected``, or to the quantity's range where nothing is expected.
    """

    quantity: str
    material: str
    voxels: int
    mean: float
    expected: float
    error: float
    relative_to: str


@dataclass(frozen=True)
class QuantityRow:
    """Errors of one quantity as fractions of ``range``, the largest minus the smallest true value.

    rmse : over all voxels of the object, its edges included.
    background_mean, background_std : of the voxels outside the object.
    background_drift : spread (1st to 99th percentile) of the smoothed background.
    elsewhere_mean, elsewhere_p95 : mean and 95th percentile of the absolute value inside the object where the
    truth is
        0 (the dark field of what does not scatter), edges included; None where it is 0 nowhere.
    """

    quantity: str
    range: float
    rmse: float
    background_mean: float
    background_std: float
    background_drift: float
    elsewhere_mean: float | None
    elsewhere_p95: float | None


@dataclass(frozen=True)
class TruthTable:
    """Errors of the volumes of a scan.

    Attributes
    ----------
    margin : voxels at each material's border that are not in the means.
    slices, total_slices : slices that were compared, of how many.
    materials, quantities : one row each.
    """

    margin: int
    slices: int
    total_slices: int
    materials: list[MaterialRow]
    quantities: list[QuantityRow]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TruthTable:
        """The inverse of :meth:`to_dict`."""
        return cls(
            values["margin"],
            values["slices"],
            values["total_slices"],
            [MaterialRow(**row) for row in values["materials"]],
            [QuantityRow(**row) for row in values["quantities"]],
        )

    def text(self) -> str:
        """A table for the terminal."""
        lines = [f"{'quantity':<10} {'material':<22} {'mean':>11} {'truth':>11} {'error':>8}"]
        for m in self.materials:
            of = "" if m.relative_to == "expected" else " of range"
            lines.append(
                f"{m.quantity:<10} {m.material:<22} {m.mean:>11.4g} {m.expected:>11.4g} {m.error:>+8.1%}{of}"
            )
        lines.append("")
        lines.append(f"{'quantity':<10} {'RMSE/range':>11} {'background: mean':>17} {'std':>7} {'drift':>7}")
        for q in self.quantities:
            lines.append(
                f"{q.quantity:<10} {q.rmse:>11.1%} {q.background_mean:>+17.1%} {q.background_std:>7.1%} "
                f"{q.background_drift:>7.1%}"
            )
            if q.elsewhere_mean is not None:
                lines.append(
                    f"{'':<10} elsewhere {q.elsewhere_mean:+.1%} (95 % of voxels below {q.elsewhere_p95:.1%})"
                )
        if self.slices < self.total_slices:
            lines.append(f"from {self.slices} of {self.total_slices} slices, spread evenly")
        return "\n".join(lines)


class VolumeLike(Protocol):
    """A (z, y, x) array or HDF5 dataset, read slice by slice."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any) -> Any: ...


def evaluate_truth(
    volumes: Mapping[str, VolumeLike],
    truth: Mapping[str, VolumeLike],
    materials: Mapping[str, VolumeLike],
    *,
    margin: int = 2,
) -> TruthTable:
    """Compare volumes with the truth, material by material and as a whole.

    Memory and time do not grow with the number of slices: of a volume of more than ``COMPARED_VOXELS`` voxels
    some slices are compared, spread evenly; a material that none of them crosses is looked up in its own.

    Parameters
    ----------
    volumes, truth : name (delta, mu, darkfield) to (z, y, x); only names in both are compared.
    materials : name to bool (z, y, x), True in that material.
    margin : voxels next to a material's border that its means leave out (resolution and window blur them), and
        that the background keeps away from the object. A material too thin to have anything left is taken
        whole.

    Returns
    -------
    TruthTable

    Raises
    ------
    InputError
        Shapes differ, or there is nothing to compare.
    """
    names = [name for name in volumes if name in truth]
    if not names or not materials:
        raise InputError(
            "truth", expected="a volume and a material to compare", found=f"{list(truth)}, {list(materials)}"
        )
    shape = volumes[names[0]].shape
    for kind, arrays in (("volume", volumes), ("truth", truth), ("material", materials)):
        for name, array in arrays.items():
            if array.shape != shape:
                raise InputError(f"{kind} '{name}'", expected=f"shape {shape}", found=f"{array.shape}")
    regions = _Regions(materials, shape, margin)
    compared = _spread_slices(shape, COMPARED_VOXELS)
    sums = {
        name: _Sums(list(materials), -(-len(compared) * shape[1] * shape[2] // PERCENTILE_VALUES))
        for name in names
    }
    for z in compared:
        whole, background = regions.whole(z), regions.background(z)
        inside = {material: (regions.core(material, z), regions.plane(material, z)) for material in materials}
        for name in names:
            value, true = np.asarray(volumes[name][z]), np.asarray(truth[name][z])
            sums[name].add_slice(value, true, whole, background)
            for material, masks in inside.items():
                sums[name].add_material(material, value, true, *masks)
    for material in materials:
        if not sums[names[0]].taken_whole[material].count:
            for z in regions.slices_of(material, len(compared)):
                masks = regions.core(material, z), regions.plane(material, z)
                for name in names:
                    sums[name].add_material(material, volumes[name][z], truth[name][z], *masks)
    drifts = _drifts({name: volumes[name] for name in names}, regions, _spread_slices(shape, DRIFT_VOXELS))
    return TruthTable(
        margin,
        len(compared),
        shape[0],
        [row for name in names for row in sums[name].material_rows(name)],
        [sums[name].quantity_row(name, drifts[name]) for name in names],
    )


def _spread_slices(shape: tuple[int, ...], voxels: int) -> list[int]:
    """All slices of a volume of up to ``voxels`` voxels, else as many as that, in the middles of equal parts."""
    count = min(shape[0], max(1, voxels // (shape[1] * shape[2])))
    return [(2 * i + 1) * shape[0] // (2 * count) for i in range(count)]


class _Regions:
    """Masks of the materials, their cores, and the background, slice by slice; the last ones are kept."""

    def __init__(self, materials: Mapping[str, VolumeLike], shape: tuple[int, ...], margin: int) -> None:
        self.materials, self.shape, self.margin = materials, shape, margin
        self._seen = _seen_by_all(shape[1:])
        window = 4 * margin + 2
        self.plane: Callable[[str, int], Mask] = lru_cache(window * len(materials))(self._plane)
        self.whole: Callable[[int], Mask] = lru_cache(window)(self._whole)

    def _plane(self, material: str, z: int) -> Mask:
        return np.asarray(self.materials[material][z]).astype(bool)

    def _whole(self, z: int) -> Mask:
        return np.logical_or.reduce([self.plane(material, z) for material in self.materials])

    def core(self, material: str, z: int) -> Mask:
        """The material without the voxels within the margin of its border; the volume's border is none."""
        plane = self.plane(material, z)
        if self.margin == 0 or not plane.any():
            return plane
        return ~grown_plane(lambda k: ~self.plane(material, k), z, self.shape[0], self.margin)

    def background(self, z: int) -> Mask:
        """Voxels that every angle sees, more than two margins away from the object."""
        return ~grown_plane(self.whole, z, self.shape[0], 2 * self.margin) & self._seen

    def slices_of(self, material: str, count: int) -> list[int]:
        """Up to ``count`` slices that cross a material, spread evenly over those that do."""
        crossed = [z for z in range(self.shape[0]) if self._plane(material, z).any()]
        return [crossed[i] for i in _spread_slices((len(crossed), 1, 1), count)] if crossed else []


@dataclass
class _Moments:
    """Number, mean and sum of squared deviations of values that come in parts."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Array) -> None:
        if values.size:
            mean = float(values.mean(dtype=np.float64))
            squares = float(np.square(values - mean, dtype=np.float64).sum())
            total = self.count + values.size
            step = mean - self.mean
            self.squares += squares + step**2 * self.count * values.size / total
            self.mean += step * values.size / total
            self.count = total


@dataclass
class _Sums:
    """Everything about one quantity that is summed up over slices."""

    materials: list[str]
    stride: int  #: every how many-th value percentiles are taken from
    low: float = np.inf
    high: float = -np.inf
    error: _Moments = field(default_factory=_Moments)
    background: _Moments = field(default_factory=_Moments)
    elsewhere: _Moments = field(default_factory=_Moments)
    absolute: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        #: of the value and of the truth
        self.cores = {name: (_Moments(), _Moments()) for name in self.materials}
        self.wholes = {name: (_Moments(), _Moments()) for name in self.materials}
        self.taken_whole = {name: pair[0] for name, pair in self.wholes.items()}

    def add_slice(self, value: Array, true: Array, whole: Mask, background: Mask) -> None:
        self.low, self.high = min(self.low, float(true.min())), max(self.high, float(true.max()))
        self.error.add(value[whole].astype(np.float64) - true[whole])
        self.background.add(value[background])
        elsewhere = value[whole & (true == 0)]
        self.elsewhere.add(elsewhere)
        self.absolute.append(np.abs(elsewhere[:: self.stride]))

    def add_material(self, material: str, value: Array, true: Array, core: Mask, plane: Mask) -> None:
        if plane.any():
            self.low, self.high = (
                min(self.low, float(true[plane].min())),
                max(self.high, float(true[plane].max())),
            )
        for mask, moments in ((core, self.cores[material]), (plane, self.wholes[material])):
            moments[0].add(value[mask])
            moments[1].add(true[mask])

    @property
    def extent(self) -> float:
        return self.high - self.low or 1.0

    def material_rows(self, quantity: str) -> list[MaterialRow]:
        rows = []
        for material in self.materials:
            value, true = self.cores[material] if self.cores[material][0].count else self.wholes[material]
            known = abs(true.mean) > 1e-6 * self.extent
            error = (value.mean - true.mean) / (true.mean if known else self.extent)
            relative_to = "expected" if known else "range"
            rows.append(
                MaterialRow(quantity, material, value.count, value.mean, true.mean, error, relative_to)
            )
        return rows

    def quantity_row(self, quantity: str, drift: float) -> QuantityRow:
        error, background, has_elsewhere = self.error, self.background, self.elsewhere.count > 0
        mean_square = error.squares / max(error.count, 1) + error.mean**2
        absolute = np.concatenate(self.absolute).astype(np.float64)
        return QuantityRow(
            quantity=quantity,
            range=self.extent,
            rmse=float(np.sqrt(mean_square)) / self.extent,
            background_mean=background.mean / self.extent,
            background_std=float(np.sqrt(background.squares / max(background.count, 1))) / self.extent,
            background_drift=drift / self.extent,
            elsewhere_mean=self.elsewhere.mean / self.extent if has_elsewhere else None,
            elsewhere_p95=float(np.percentile(absolute, 95)) / self.extent if has_elsewhere else None,
        )


def _drifts(volumes: Mapping[str, VolumeLike], regions: _Regions, slices: list[int]) -> dict[str, float]:
    """Spread (1st to 99th percentile) of each smoothed background, at some slices.

    Where less than half of the Gaussian lies in the background, its mean is no longer over many voxels, and it
    is left out.
    """
    depth = regions.shape[0]
    offsets = np.arange(-DRIFT_REACH, DRIFT_REACH + 1)
    kernel = np.exp(-0.5 * (offsets / DRIFT_SIGMA) ** 2)
    kernel /= kernel.sum()
    # slices that lie closer than the Gaussian is wide share what they read
    shared = len(offsets) if len(slices) > 1 and slices[1] - slices[0] < len(offsets) else 1
    background = lru_cache(shared)(regions.background)

    @lru_cache(shared * len(volumes))
    def outside(name: str, z: int) -> Array:
        return np.where(background(z), volumes[name][z], np.float32(0))

    levels: dict[str, list[Array]] = {name: [] for name in volumes}
    for z in slices:
        weight = np.zeros(regions.shape[1:])
        sums = {name: np.zeros(regions.shape[1:]) for name in volumes}
        for share, k in zip(kernel, z + offsets, strict=True):
            mirrored = int(k) % (2 * depth)  # beyond the ends the slices come again, backwards
            mirrored = min(mirrored, 2 * depth - 1 - mirrored)
            weight += share * background(mirrored)
            for name, total in sums.items():
                total += share * outside(name, mirrored)
        weight = scipy.ndimage.gaussian_filter(weight, DRIFT_SIGMA)
        mostly = background(z) & (weight > 0.5)
        for name, total in sums.items():
            smooth = scipy.ndimage.gaussian_filter(total, DRIFT_SIGMA)
            levels[name].append(smooth[mostly] / weight[mostly])
    drifts = {}
    for name, parts in levels.items():
        level = np.concatenate(parts)
        drifts[name] = float(np.subtract(*np.percentile(level, [99, 1]))) if level.size else 0.0
    return drifts


def _seen_by_all(shape: tuple[int, ...]) -> Mask:
    """The circle (y, x) about the centre that lies in the field of view at every angle."""
    height, width = shape
    y, x = np.ogrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.asarray(radius <= (min(height, width) - 1) / 2)
