"""Fourier shell correlation of the volumes of two result files: the figures, a table and a curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError, OutputError
from speckleflow.evaluate.fsc import THRESHOLDS, ShellCorrelation, shell_correlation
from speckleflow.io.atomic import atomic_path
from speckleflow.io.results import open_result


def correlate_files(
    first: str | Path, second: str | Path, contrast: str, output: str | Path, size: int = 512
) -> str:
    """Write the correlation of two volumes as CSV and PNG, and return the resolutions in a few lines.

    Parameters
    ----------
    first, second : ``volumes.h5`` of two scans or runs, each made of half the data.
    contrast : dataset of both, e.g. delta.
    output : picture to write (.png); the table lies beside it (.csv).
    size : longest side in voxels that is compared; of larger volumes the middle part.

    Raises
    ------
    InputError
        No such dataset, or shapes or voxel sizes that differ.
    OutputError
        The picture's name does not end in .png.
    """
    picture = Path(output)
    if picture.suffix.lower() != ".png":
        raise OutputError(f"{picture}: expected a name that ends in .png")
    (a, voxel), (b, other) = (_middle(path, contrast, size) for path in (first, second))
    if a.shape != b.shape:
        raise InputError(
            second, expected=f"a volume of {a.shape} voxels (z, y, x) as in {first}", found=f"{b.shape}"
        )
    if not np.allclose(voxel, other, rtol=1e-6, atol=0):
        raise InputError(
            second,
            expected=f"voxels of {voxel[0] * 1e6:.6g} micrometres as in {first}",
            found=f"{other[0] * 1e6:.6g} micrometres",
        )
    found = shell_correlation(a, b)
    um = float(voxel[0]) * 1e6
    table = picture.with_suffix(".csv")
    thresholds = [found.threshold(name) for name in THRESHOLDS]
    with atomic_path(table) as private:
        columns = np.stack(
            [found.frequency, found.frequency / um, found.correlation, found.independent, *thresholds], 1
        )
        names = ",".join(name.replace("-", "_").replace("/", "_") for name in THRESHOLDS)
        header = f"cycles_per_voxel,cycles_per_um,correlation,independent,{names}"
        np.savetxt(private, columns, fmt="%.6g", delimiter=",", header=header, comments="")
    with atomic_path(picture) as private:
        _draw(found, contrast, private)
    lines = [
        f"{contrast}, {' x '.join(map(str, a.shape))} voxels (z, y, x) of {um:.4g} um; {picture}, {table}"
    ]
    for name in THRESHOLDS:
        voxels = found.resolution_voxels(name)
        text = (
            f"{voxels:.2f} voxels, {voxels * um:.4g} um" if np.isfinite(voxels) else "none: no shell agrees"
        )
        lines.append(f"{name}: {text}{' (the sampling)' if voxels == 2 else ''}")
    return "\n".join(lines)


def _middle(path: str | Path, contrast: str, size: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The middle part of a volume, at most ``size`` voxels a side, and its voxel size (3,) in m."""
    with open_result(path) as file:
        if contrast not in file or getattr(file[contrast], "ndim", 0) != 3:
            names = ", ".join(name for name in file if getattr(file[name], "ndim", 0) == 3)
            if "turn_time_s" in file:
                raise InputError(
                    path,
                    expected=f"one volume '{contrast}'",
                    found=f"one of each of {len(file['turn_time_s'])} turns",
                    hint="compare scans of one turn: files.frames chooses it, with geometry.axis: angle",
                )
            raise InputError(path, expected=f"a volume '{contrast}'", found=names or "no volume")
        volume = file[contrast]
        if "voxel_size_m" not in volume.attrs:
            raise InputError(path, expected=f"the attribute voxel_size_m of '{contrast}'", found="none")
        part = tuple(
            slice((n - min(n, size)) // 2, (n - min(n, size)) // 2 + min(n, size)) for n in volume.shape
        )
        return np.asarray(volume[part]), np.asarray(volume.attrs["voxel_size_m"], np.float64)


def _draw(found: ShellCorrelation, contrast: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.frequency, found.correlation, "k", label=contrast)
    for name, style in zip(THRESHOLDS, ("-", "--", ":"), strict=True):
        axes.plot(found.frequency, found.threshold(name), style, label=name)
    axes.set(xlabel="cycles per voxel", ylabel="Fourier shell correlation", xlim=(0, 0.5), ylim=(-0.2, 1.05))
    axes.legend()
    FigureCanvasAgg(figure).print_png(str(path))
