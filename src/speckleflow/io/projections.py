"""Projections of a scan: blocks of results behind one file, each verified before it is read.

    blocks = BlockSet.open([...])                    blocks that follow each other, checked against each other
    blocks.read("ux", projections, rows)             one block file open at a time
    with open_projections("projections.h5") as p:    p.read(name, projections, rows), p.attrs, p.names, p.shape
    pack_projections("projections.h5", "all.h5")     one file that needs no other

A virtual dataset whose source is absent reads as its fill value without an error, and an error in a source names
the wrong file. So the package reads the block files themselves; the virtual datasets are for other programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL, frame_range
from speckleflow.io.results import IDENTITY, PROVENANCE, create_like, open_result, result_file
from speckleflow.scan.warnings import read_warnings

#: attribute of projections.h5 that lists its block files (JSON)
BLOCKS = "blocks"
#: hint of every error about an intermediate result
_AGAIN = "delete it and run the workflow again, which makes it anew"


@dataclass(frozen=True)
class Block:
    """One file of consecutive projections as its writer left it."""

    path: Path
    identity: str
    first: int
    count: int


@dataclass(frozen=True)
class Layer:
    """Shape without the projections, type and attributes of a dataset that all blocks have."""

    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]


class BlockSet:
    """Blocks that follow each other, of the same datasets and made with the same settings.

    Attributes
    ----------
    blocks : the files.
    layers : datasets that each has.
    attrs : attributes of the first.
    sources : identity of the file that each was made from, where a block was made from one other file.
    warnings : of all blocks, each once.
    count : projections of all blocks.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        layers: dict[str, Layer],
        attrs: dict[str, Any],
        sources: dict[Path, str] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.blocks, self.layers, self.attrs = tuple(blocks), layers, attrs
        self.sources = sources or {}
        self.warnings = list(dict.fromkeys(warnings))
        self.count = sum(block.count for block in blocks)

    @classmethod
    def open(cls, paths: Sequence[str | Path]) -> BlockSet:
        """Read the headers of all blocks and check them against the first.

        Raises
        ------
        InputError
            A block is absent or damaged, was cut or made otherwise than the first, or leaves a gap.
        """
        blocks: list[Block] = []
        layers: dict[str, Layer] = {}
        attrs: dict[str, Any] = {}
        reference, at, total = Path(paths[0]), 0, 0
        origin: dict[str, str] = {}
        sources: dict[Path, str] = {}
        warnings: list[str] = []
        versions: list[str] = []
        for path in map(Path, paths):
            with open_result(path) as file:
                found = _layers(file)
                first, whole = int(file.attrs["first_projection"]), int(file.attrs["n_projections"])
                count = len(next(item for item in file.values() if isinstance(item, h5py.Dataset)))
                made = _origin(file, whole)
                if not blocks:
                    layers, attrs, total, origin = found, dict(file.attrs), whole, made
                _check_same(path, reference, found, layers)
                if differing := [what for what, value in made.items() if value != origin[what]]:
                    raise InputError(
                        path,
                        expected=f"a block made with the {differing[0]} of {reference.name}",
                        found=f"one of another {differing[0].rstrip('s')}",
                        hint=_AGAIN,
                    )
                if first != at:
                    raise InputError(
                        path,
                        expected=f"projections from {at}",
                        found=f"projections from {first}",
                        hint=_AGAIN,
                    )
                sources[path] = str(file.attrs.get("fields_identity", ""))
                warnings += read_warnings(file)
                versions.append(_code_version(file))
                blocks.append(Block(path, str(file.attrs[IDENTITY]), first, count))
                at += count
        if at != total:
            raise InputError(
                blocks[-1].path, expected=f"projections to {total}", found=f"projections to {at}", hint=_AGAIN
            )
        if len(different := list(dict.fromkeys(versions))) > 1:
            words = " and ".join(different)
            warnings.append(f"the blocks of {reference.parent.name}/ were made by different code ({words})")
        return cls(blocks, layers, attrs, sources, warnings)

    def read(self, name: str, projections: slice | NDArray[np.intp] = ALL, rows: slice = ALL) -> NDArray[Any]:
        """Values (projection, y, x) or (projection, ...) of a dataset, from one block file after the other.

        Parameters
        ----------
        projections : a range, or indices in rising order.
        rows : of datasets with rows.

        Raises
        ------
        InputError
            A block is absent, damaged, or another one than that which was opened.
        """
        index = _indices(projections, self.count)
        layer = self.layers[name]
        shape = _chosen_shape(layer.shape, rows)
        values = np.empty((len(index), *shape), layer.dtype)
        for block in self.blocks:
            inside = np.flatnonzero((index >= block.first) & (index < block.first + block.count))
            if not len(inside):
                continue
            local = index[inside] - block.first
            with open_block(block) as file:
                part = file[name]
                chosen = slice(int(local[0]), int(local[-1]) + 1)
                if len(local) == local[-1] - local[0] + 1:
                    values[inside] = part[chosen] if part.ndim < 3 else part[chosen, rows]
                else:
                    for at, i in zip(inside, local, strict=True):
                        values[at] = part[int(i)] if part.ndim < 3 else part[int(i), rows]
        return values


@contextmanager
def open_block(block: Block) -> Iterator[h5py.File]:
    """The file of a block, refused where it is not the one that was recorded.

    Raises
    ------
    InputError
        Absent, damaged, or another one.
    """
    with open_result(block.path, verify=False) as file:
        if str(file.attrs[IDENTITY]) != block.identity:
            raise InputError(
                block.path,
                expected="the block that projections.h5 was made of",
                found="another one of that name",
                hint="run the workflow again",
            )
        yield file


class Projections:
    """An open ``projections.h5``, whose datasets are read from the verified block files or from itself.

    Attributes
    ----------
    path : of the file.
    attrs : geometry, rotation axis and whatever else the file states.
    names : datasets (projection, ...).
    """

    def __init__(self, path: Path, file: h5py.File, sets: Sequence[BlockSet]) -> None:
        self.path, self.file, self._sets = path, file, tuple(sets)
        self.attrs: dict[str, Any] = dict(file.attrs)
        self.names = tuple(name for name, item in file.items() if isinstance(item, h5py.Dataset))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def count(self) -> int:
        """Number of projections."""
        return int(self.file["angle_deg"].shape[0])

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """Angle of every projection, counter-clockwise seen from above."""
        return np.asarray(self.file["angle_deg"][:], np.float64)

    @property
    def series(self) -> bool:
        """Whether the projections are times of a sample that is not turned."""
        return "time_s" in self and "turns" not in self

    @property
    def turns(self) -> list[slice]:
        """Projections of each volume: all of them, or those of every turn of a sample that changes."""
        if "turns" not in self:
            return [slice(0, self.count)]
        return [slice(int(first), int(stop)) for first, stop in self.file["turns"][:]]

    @property
    def labels(self) -> list[str]:
        """What distinguishes every projection, for a picture: '12.5°', or '0.350 s' of a time series."""
        if self.series:
            return [f"{time:.3f} s" for time in self.file["time_s"][:]]
        return [f"{angle:.1f}\u00b0" for angle in self.angles_deg]

    def shape(self, name: str) -> tuple[int, ...]:
        """(projection, y, x) of a dataset."""
        return tuple(int(n) for n in self.file[name].shape)

    def noise(self, name: str) -> tuple[float, float] | None:
        """Variance of the values of a dataset, (constant, slope): constant + slope * value; None for the phase."""
        attrs = self.file[name].attrs
        law = attrs.get("noise_constant"), attrs.get("noise_slope")
        return None if None in law else (float(law[0]), float(law[1]))

    def read(self, name: str, projections: slice | NDArray[np.intp] = ALL, rows: slice = ALL) -> NDArray[Any]:
        """Part of a dataset; see :meth:`BlockSet.read`."""
        dataset = self.file[name]
        if dataset.is_virtual:
            source = next(blocks for blocks in self._sets if name in blocks.layers)
            return source.read(name, projections, rows)
        index = _indices(projections, len(dataset))
        run = len(index) and len(index) == index[-1] - index[0] + 1
        chosen = slice(int(index[0]), int(index[-1]) + 1) if run else index
        return np.asarray(dataset[chosen] if dataset.ndim < 3 else dataset[chosen, rows])


@contextmanager
def open_projections(path: str | Path) -> Iterator[Projections]:
    """``projections.h5`` (or a packed one), after every file behind it was found to be the recorded one.

    Raises
    ------
    InputError
        The file or one behind it is absent, damaged or another one; the sentence names that file.
    """
    path = Path(path)
    with open_result(path) as file:
        yield Projections(path, file, recorded_sets(file, path))


def recorded_sets(file: h5py.File, path: Path) -> list[BlockSet]:
    """The sets of blocks (fields, phase) behind an open ``projections.h5``; none behind a packed one."""
    sets = []
    for record in json.loads(file.attrs.get(BLOCKS, "[]")):
        blocks = [
            Block(path.parent / entry["file"], entry["identity"], entry["first"], entry["count"])
            for entry in record
        ]
        for block in blocks:
            with open_block(block):
                pass
        with open_block(blocks[0]) as first:
            sets.append(BlockSet(blocks, _layers(first), dict(first.attrs)))
    return sets


def record_sets(sets: Sequence[BlockSet], folder: Path) -> str:
    """The value of attribute ``blocks``; files relative to the folder, so that results move as a whole."""
    return json.dumps(
        [
            [
                {
                    "file": str(block.path.relative_to(folder)),
                    "identity": block.identity,
                    "first": block.first,
                    "count": block.count,
                }
                for block in blocks.blocks
            ]
            for blocks in sets
        ]
    )


def pack_projections(source: str | Path, output: str | Path) -> None:
    """Copy ``projections.h5`` and the blocks behind it into one file that needs no other.

    Raises
    ------
    InputError
        A file behind it is absent, damaged or another one.
    OutputError
        The file cannot be written.
    """
    with open_projections(source) as projections, result_file(output) as file:
        original = projections.file
        file.attrs.update({k: v for k, v in original.attrs.items() if k not in (IDENTITY, BLOCKS)})
        for name, item in original.items():
            if isinstance(item, h5py.Group):
                original.copy(item, file, name)
                continue
            written = create_like(file, name, item)
            if item.ndim < 3:
                written[...] = projections.read(name)
                continue
            for i in range(item.shape[0]):
                written[i : i + 1] = projections.read(name, slice(i, i + 1))


def _origin(file: h5py.File, projections: int) -> dict[str, str]:
    """What all blocks of a scan have in common, under the words for it."""
    attributes = file[PROVENANCE].attrs
    return {
        "number of projections": str(projections),
        **{
            words: str(attributes.get(key, ""))
            for words, key in (
                ("scan", "scan"),
                ("settings", "settings_sha256"),
                ("raw files", "raw_sha256"),
                ("weights", "weights_sha256"),
            )
        },
    }


def _code_version(file: h5py.File) -> str:
    """Version of the package that wrote a result, and its commit where it ran from a repository."""
    attributes = file[PROVENANCE].attrs
    version = json.loads(attributes["versions"])["speckleflow"]
    commit = attributes.get("git_commit")
    return version if commit is None else f"{version}, commit {commit}"


def _layers(file: h5py.File) -> dict[str, Layer]:
    return {
        name: Layer(tuple(item.shape[1:]), item.dtype, dict(item.attrs))
        for name, item in file.items()
        if isinstance(item, h5py.Dataset)
    }


def _check_same(path: Path, reference: Path, found: dict[str, Layer], wanted: dict[str, Layer]) -> None:
    """Refuse a block that lacks a dataset of the first or has one of another shape or type."""
    for name in sorted(wanted.keys() | found.keys()):
        theirs, ours = wanted.get(name), found.get(name)
        if theirs is None or ours is None:
            has = "none" if ours is None else f"'{name}' beside them"
            raise InputError(
                path, expected=f"the datasets of {reference.name} ('{name}')", found=has, hint=_AGAIN
            )
        if (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
            raise InputError(
                f"{path}:{name}",
                expected=f"{theirs.dtype} of shape {theirs.shape} as in {reference.name}",
                found=f"{ours.dtype} of shape {ours.shape}",
                hint=_AGAIN,
            )


def _indices(projections: slice | NDArray[np.intp], length: int) -> NDArray[np.intp]:
    if isinstance(projections, slice):
        chosen = frame_range(projections, length)
        return np.arange(chosen.start, chosen.stop, chosen.step)
    return np.asarray(projections, np.intp)


def _chosen_shape(shape: tuple[int, ...], rows: slice) -> tuple[int, ...]:
    if len(shape) < 2:
        return shape
    return (len(range(*rows.indices(shape[0]))), *shape[1:])
