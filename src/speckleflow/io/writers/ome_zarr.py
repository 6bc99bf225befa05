"""OME-Zarr 0.5: one image (c, z, y, x) whose channels are the volumes, with a pyramid of means.

The format is that of https://ngff.openmicroscopy.org/0.5/: Zarr 3, sharded, so that a volume is some thousands of
files and a viewer reads small chunks. Level l halves the axes of level l - 1; its voxels are v 2^l wide, and their
centres lie half of what they grew from the first voxel's: v (2^l - 1) / 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle

from speckleflow import __version__
from speckleflow.io.writers.base import SHARD, VolumeSource

NAME = "volumes.ome.zarr"
#: Largest edges (z, y, x) of a chunk, what a viewer reads at a time: 1 MiB of float32.
CHUNK = (16, 128, 128)
#: The pyramid ends where no axis of a level is longer than this.
SMALLEST = 128
#: Percentiles of the smallest level between which a viewer shows a volume at first.
SHOWN = (0.5, 99.5)
_COMPRESSION = BloscCodec(typesize=4, cname="zstd", clevel=3, shuffle=BloscShuffle.shuffle)


@dataclass(frozen=True)
class Level:
    """Shape (z, y, x) of a level of the pyramid, and how many voxels of level 0 each of its voxels spans."""

    shape: tuple[int, ...]
    factors: tuple[int, ...]


def pyramid(shape: tuple[int, ...]) -> list[Level]:
    """Levels of a volume: each axis longer than 1 halved (an odd last voxel is left out) until all are short."""
    levels = [Level(shape, (1,) * len(shape))]
    while max(levels[-1].shape) > SMALLEST:
        last = levels[-1]
        steps = [2 if n > 1 else 1 for n in last.shape]
        levels.append(
            Level(
                tuple(n // step for n, step in zip(last.shape, steps, strict=True)),
                tuple(f * step for f, step in zip(last.factors, steps, strict=True)),
            )
        )
    return levels


class OmeZarrWriter:
    """A store that napari, neuroglancer and MoBIE open with physical scale and named channels."""

    package: ClassVar[str] = "zarr"

    def write(self, source: VolumeSource, folder: Path) -> dict[str, Any]:
        """``volumes.ome.zarr``."""
        levels = pyramid(source.shape)
        group = zarr.open_group(folder / NAME, mode="w", zarr_format=3)
        arrays = [self._array(group, f"{i}", level, len(source.names)) for i, level in enumerate(levels)]
        for c, name in enumerate(source.names):
            for z, y in _tiles(source.shape, arrays[0]):
                arrays[0][c, z, y] = source.read(name, z, y)
        for i in range(1, len(levels)):
            steps = [b // a for a, b in zip(levels[i - 1].factors, levels[i].factors, strict=True)]
            for c in range(len(source.names)):
                _halve(arrays[i - 1], arrays[i], c, steps)
        channels = [self._channel(source, name, arrays[-1][i]) for i, name in enumerate(source.names)]
        for channel, name in zip(channels, source.names, strict=True):
            channel["window"]["min"], channel["window"]["max"] = source.finite_range(name)
        group.attrs["ome"] = self._metadata(source, levels, channels)
        group.attrs["speckleflow"] = {
            "version": __version__,
            "scan": source.scan,
            "units": {name: source.unit(name) for name in source.names},
        }
        return {"files": [NAME]}

    @staticmethod
    def _array(group: Any, path: str, level: Level, channels: int) -> Any:
        chunk = tuple(min(n, most) for n, most in zip(level.shape, CHUNK, strict=True))
        shard = tuple(
            c * max(1, -(-min(n, most) // c)) for n, c, most in zip(level.shape, chunk, SHARD, strict=True)
        )
        return group.create_array(
            path,
            shape=(channels, *level.shape),
            dtype="float32",
            chunks=(1, *chunk),
            shards=(1, *shard),
            compressors=_COMPRESSION,
            fill_value=float("nan"),
            dimension_names=["c", "z", "y", "x"],
        )

    @staticmethod
    def _channel(source: VolumeSource, name: str, smallest: NDArray[Any]) -> dict[str, Any]:
        finite = smallest[np.isfinite(smallest)]
        start, end = np.percentile(finite, SHOWN) if finite.size else (0.0, 1.0)
        return {
            "label": name,
            "color": "FFFFFF",
            "active": name == source.names[0],
            "coefficient": 1,
            "family": "linear",
            "inverted": False,
            "window": {"start": float(start), "end": float(end)},
        }

    @staticmethod
    def _metadata(
        source: VolumeSource, levels: list[Level], channels: list[dict[str, Any]]
    ) -> dict[str, Any]:
        voxel = source.voxel_size_um
        datasets = [
            {
                "path": f"{i}",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, *(voxel * f for f in level.factors)]},
                    {
                        "type": "translation",
                        "translation": [0.0, *(voxel * (f - 1) / 2 for f in level.factors)],
                    },
                ],
            }
            for i, level in enumerate(levels)
        ]
        space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
        return {
            "version": "0.5",
            "multiscales": [
                {
                    "name": source.scan,
                    "axes": [{"name": "c", "type": "channel"}, *space],
                    "datasets": datasets,
                    "type": "mean",
                    "metadata": {
                        "description": "mean of two voxels along each axis",
                        "method": "speckleflow.io.writers.ome_zarr",
                        "version": __version__,
                    },
                }
            ],
            "omero": {
                "name": source.scan,
                "channels": channels,
                "rdefs": {"defaultT": 0, "defaultZ": source.shape[0] // 2, "model": "greyscale"},
            },
        }


def _tiles(shape: Sequence[int], array: Any) -> Iterator[tuple[slice, slice]]:
    """Ranges of z and y that cover whole shards, so that no file is written twice."""
    _, depth, rows, _ = array.shards
    for z in range(0, shape[0], depth):
        for y in range(0, shape[1], rows):
            yield slice(z, min(shape[0], z + depth)), slice(y, min(shape[1], y + rows))


def _halve(finer: Any, coarser: Any, channel: int, steps: Sequence[int]) -> None:
    """Fill a channel of a level with the means of ``steps`` (z, y, x) voxels of the one before."""
    shape = coarser.shape[1:]
    for z, y in _tiles(shape, coarser):
        rows, lines, columns = (
            slice(part.start * step, part.stop * step)
            for part, step in zip((z, y, slice(0, shape[2])), steps, strict=True)
        )
        block = np.asarray(finer[channel, rows, lines, columns])
        split = [n for size, step in zip(block.shape, steps, strict=True) for n in (size // step, step)]
        coarser[channel, z, y] = block.reshape(split).mean(axis=(1, 3, 5), dtype=np.float64)
