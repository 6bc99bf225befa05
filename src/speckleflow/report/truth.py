"""Reconstructed volumes against the truth of a simulated scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speckleflow.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.bool_]

#: Width of the Gaussian, in voxels, that separates the drift of the background from its noise: it averages
#: some 2,800 voxels (8 pi^1.5 sigma^3), so that white noise of 10 % of the range adds 0.2 %.
DRIFT_SIGMA = 4.0


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
    """What :func:`evaluate_truth` found. ``margin`` voxels at each material's border are not in the means."""

    margin: int
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
            [MaterialRow(**row) for row in values["materials"]],
            [QuantityRow(**row) for row in values["quantities"]],
        )

    def text(self) -> str:
        """A table for the terminal."""
        lines = [f"{'quantity':<10} {'material':<22} {'mean':>11} {'truth':>11} {'error':>8}"]
        for m in self.materials:
            of = "" if m.relative_to == "expected" else "  of the range"
            lines.append(
                f"{m.quantity:<10} {m.material:<22} {m.mean:>11.4g} {m.expected:>11.4g} {m.error:>+8.1%}{of}"
            )
        lines.append("")
        lines.append(
            f"{'quantity':<10} {'RMSE/range':>11} {'background: mean':>17} {'std':>7} {'drift':>7}  elsewhere"
        )
        for q in self.quantities:
            elsewhere = (
                ""
                if q.elsewhere_mean is None
                else f"{q.elsewhere_mean:+.1%} (95 % of voxels below {q.elsewhere_p95:.1%})"
            )
            lines.append(
                f"{q.quantity:<10} {q.rmse:>11.1%} {q.background_mean:>+17.1%} {q.background_std:>7.1%} "
                f"{q.background_drift:>7.1%}  {elsewhere}"
            )
        return "\n".join(lines)


def evaluate_truth(
    volumes: Mapping[str, Array],
    truth: Mapping[str, Array],
    materials: Mapping[str, Mask],
    *,
    margin: int = 2,
) -> TruthTable:
    """Compare volumes with the truth, material by material and as a whole.

    Parameters
    ----------
    volumes, truth : name (delta, mu, darkfield) to (z, y, x); only names in both are compared.
    materials : name to bool (z, y, x), True in that material.
    margin : voxels next to a material's border that its means leave out (resolution and window blur them),
    and that
        the background keeps away from the object. A material too thin to have anything left is taken whole.

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
    cores = {name: _core(np.asarray(mask, bool), margin) for name, mask in materials.items()}
    whole = np.any([np.asarray(mask, bool) for mask in materials.values()], axis=0)
    background = ~_grown(whole, 2 * margin) & _seen_by_all(shape)
    rows: list[MaterialRow] = []
    quantities: list[QuantityRow] = []
    for name in names:
        value, true = np.asarray(volumes[name], np.float64), np.asarray(truth[name], np.float64)
        extent = float(true.max() - true.min()) or 1.0
        for material, core in cores.items():
            mean, expected = float(value[core].mean()), float(true[core].mean())
            known = abs(expected) > 1e-6 * extent
            error = (mean - expected) / (expected if known else extent)
            relative_to = "expected" if known else "range"
            rows.append(MaterialRow(name, material, int(core.sum()), mean, expected, error, relative_to))
        quantities.append(_quantity(name, value, true, whole, background, extent))
    return TruthTable(margin, rows, quantities)


def _quantity(
    name: str, value: Array, true: Array, whole: Mask, background: Mask, extent: float
) -> QuantityRow:
    rmse = float(np.sqrt(np.mean((value - true)[whole] ** 2)))
    elsewhere = value[whole & (true == 0)]
    outside = value[background]
    drift = 0.0
    if outside.size:
        weight = ndimage.gaussian_filter(background.astype(np.float64), DRIFT_SIGMA)
        smooth = ndimage.gaussian_filter(np.where(background, value, 0.0), DRIFT_SIGMA)
        # where less than half of the Gaussian lies in the background, the mean of it is no longer over many
        # voxels
        level = smooth[background & (weight > 0.5)] / weight[background & (weight > 0.5)]
        drift = float(np.subtract(*np.percentile(level, [99, 1]))) if level.size else 0.0
    return QuantityRow(
        quantity=name,
        range=extent,
        rmse=rmse / extent,
        background_mean=float(outside.mean()) / extent if outside.size else 0.0,
        background_std=float(outside.std()) / extent if outside.size else 0.0,
        background_drift=drift / extent,
        elsewhere_mean=float(elsewhere.mean()) / extent if elsewhere.size else None,
        elsewhere_p95=float(np.percentile(np.abs(elsewhere), 95)) / extent if elsewhere.size else None,
    )


def _core(mask: Mask, margin: int) -> Mask:
    """``mask`` without the voxels within ``margin`` of its border, or all of it where that leaves nothing."""
    if margin == 0:
        return mask
    core = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1, 1:-1] > margin
    return core if core.any() else mask


def _grown(mask: Mask, margin: int) -> Mask:
    return np.asarray(ndimage.distance_transform_edt(~mask) <= margin)


def _seen_by_all(shape: tuple[int, ...]) -> Mask:
    """The cylinder about the centre that lies in the field of view at every angle."""
    _, height, width = shape
    y, x = np.ogrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.broadcast_to(radius <= (min(height, width) - 1) / 2, shape)
