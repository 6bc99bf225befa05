"""Fourier shell correlation of two halves of the data: of two result files, or as the workflow wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError, OutputError
from speckleflow.evaluate.fsc import THRESHOLDS, ShellCorrelation, shell_correlation
from speckleflow.io.atomic import atomic_path
from speckleflow.io.results import create, open_result
from speckleflow.tomo.gaps import longest_run

#: group of ``volumes.h5`` that holds the correlation of the halves of each volume
FSC = "fsc"
#: fewest voxels along each axis
LEAST_SIDE = 8


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
    picture = _picture(output)
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
    return _show(shell_correlation(a, b), contrast, a.shape, float(voxel[0]) * 1e6, picture)


def show_halves(volumes: str | Path, contrast: str, output: str | Path) -> str:
    """Write the correlation of the halves that the workflow compared, as :func:`correlate_files` does.

    Raises
    ------
    InputError
        The file holds no such correlation.
    OutputError
        The picture's name does not end in .png.
    """
    picture = _picture(output)
    with open_result(volumes) as file:
        if contrast not in file.get(FSC, ()):
            raise InputError(
                volumes,
                expected=f"the correlation of the halves of {contrast}",
                found=", ".join(file.get(FSC, ())) or "none",
                hint="set tomography.split: angles and run the workflow again, or name a second volumes.h5",
            )
        group = file[f"{FSC}/{contrast}"]
        found = read_correlation(group)
        shape = tuple(int(n) for n in group.attrs["shape_zyx"])
        return _show(found, contrast, shape, float(group.attrs["voxel_size_m"]) * 1e6, picture)


def write_resolution(
    file: h5py.File, halves: Mapping[str, Sequence[NDArray[np.float32]]], voxel_m: float
) -> list[str]:
    """Write the correlation of the halves of every volume into group ``fsc``; returns what could not be stated.

    Parameters
    ----------
    halves : volume -> parts (half, z, y, x) that follow each other along z; rows never measured are NaN.
    voxel_m : voxel size in m.
    """
    missing = []
    for name, parts in halves.items():
        both = np.concatenate(parts, 1) if parts else np.zeros((2, 0, 0, 0), np.float32)
        both = both[:, longest_run(np.asarray(np.isfinite(both).all((0, 2, 3))))]
        if min(both.shape[1:]) < LEAST_SIDE or not np.ptp(both, axis=(1, 2, 3)).all():
            missing.append(
                f"tomography.split: no resolution of {name} is stated: its halves have "
                f"{' x '.join(map(str, both.shape[1:]))} voxels (z, y, x) that were measured and vary, a correlation "
                f"needs {LEAST_SIDE} along each axis"
            )
            continue
        found = shell_correlation(*both)
        group = file.create_group(f"{FSC}/{name}")
        group.attrs["halves"] = "odd and even angles"
        group.attrs["shape_zyx"], group.attrs["voxel_size_m"] = both.shape[1:], voxel_m
        for key, words in (
            ("frequency", "middle of each shell in cycles per voxel"),
            ("correlation", "Fourier shell correlation of the halves"),
            ("independent", "independent coefficients of each shell"),
        ):
            create(group, key, getattr(found, key), unit="", description=words, dtype=np.float64)
        for threshold in THRESHOLDS:
            key = _key(threshold)
            words = f"correlation above which the halves agree, {threshold}"
            create(group, key, found.threshold(threshold), unit="", description=words, dtype=np.float64)
            group.attrs[f"resolution_{key}_m"] = found.resolution_voxels(threshold) * voxel_m
    return missing


def read_correlation(group: h5py.Group) -> ShellCorrelation:
    """What :func:`write_resolution` wrote of one volume."""
    return ShellCorrelation(*(group[key][:] for key in ("frequency", "correlation", "independent")))


def resolution_words(found: ShellCorrelation, threshold: str, voxel_um: float) -> str:
    """The resolution by a threshold in voxels and micrometres."""
    voxels = found.resolution_voxels(threshold)
    if not np.isfinite(voxels):
        return "none: no shell agrees"
    return f"{voxels:.2f} voxels, {voxels * voxel_um:.4g} um" + (" (the sampling)" if voxels == 2 else "")


def _key(threshold: str) -> str:
    return threshold.replace("-", "_").replace("/", "_")


def _picture(output: str | Path) -> Path:
    picture = Path(output)
    if picture.suffix.lower() != ".png":
        raise OutputError(f"{picture}: expected a name that ends in .png")
    return picture


def _show(
    found: ShellCorrelation, contrast: str, shape: tuple[int, ...], voxel_um: float, picture: Path
) -> str:
    """Write table and picture; the resolutions in a few lines."""
    table = picture.with_suffix(".csv")
    thresholds = [found.threshold(name) for name in THRESHOLDS]
    with atomic_path(table) as private:
        columns = np.stack(
            [found.frequency, found.frequency / voxel_um, found.correlation, found.independent, *thresholds],
            1,
        )
        names = ",".join(map(_key, THRESHOLDS))
        header = f"cycles_per_voxel,cycles_per_um,correlation,independent,{names}"
        np.savetxt(private, columns, fmt="%.6g", delimiter=",", header=header, comments="")
    with atomic_path(picture) as private:
        _draw(found, contrast, private)
    lines = [
        f"{contrast}, {' x '.join(map(str, shape))} voxels (z, y, x) of {voxel_um:.4g} um; {picture}, {table}"
    ]
    lines += [f"{name}: {resolution_words(found, name, voxel_um)}" for name in THRESHOLDS]
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
