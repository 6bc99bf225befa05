"""Held-out scenes: patterns and random numbers that no training ever sees, cell by cell of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from speckleflow.simulate.fields import Scene, SceneRanges, random_batch
from speckleflow.simulate.modulators import KINDS, ModulatorKind
from speckleflow.simulate.patterns import PatternBank

#: seeds from here on; training multiplies its seeds by a 63-bit constant, so that these never occur there
FIRST_SEED = 700_000
#: standard deviation over mean of the patterns in the table: sandpaper is weak
CONTRAST: dict[ModulatorKind, tuple[float, float]] = {
    "mask": (0.2, 0.4),
    "sandpaper": (0.05, 0.06),
    "grating": (0.2, 0.4),
}
#: periods below 8 px alias for the displacements below, whatever the method
PITCH: dict[ModulatorKind, tuple[float, float]] = {
    "mask": (3.0, 10.0),
    "sandpaper": (3.0, 10.0),
    "grating": (10.0, 20.0),
}


@dataclass(frozen=True)
class Cell:
    """One cell: a modulator, the number of positions, photons per pixel and frame, lowest transmission."""

    modulator: ModulatorKind
    positions: int
    photons: float
    transmission_min: float = 0.6
    displacement_px: tuple[float, float] = (0.3, 4.0)


def cells(
    modulators: Sequence[ModulatorKind] = KINDS,
    positions: Sequence[int] = (20, 10, 5, 3, 2, 1),
    photons: Sequence[float] = (500.0, 5_000.0, 50_000.0),
) -> list[Cell]:
    """All combinations, in the order of a table."""
    return [Cell(m, n, p) for m in modulators for n in positions for p in photons]


@lru_cache(maxsize=len(KINDS))
def bank(modulator: ModulatorKind) -> PatternBank:
    """Patterns of one kind of modulator."""
    kind = KINDS.index(modulator)
    generator = torch.Generator().manual_seed(FIRST_SEED + kind)
    patterns = PatternBank(generator, patterns=4 * len(KINDS), size_px=320, pitch_px=PITCH[modulator])
    patterns.images = patterns.images[kind :: len(KINDS)]
    patterns.pitches = patterns.pitches[kind :: len(KINDS)]
    return patterns


def scenes(cell: Cell, count: int = 3, size: int = 160) -> Scene:
    """``count`` scenes (count, ...) of a cell; the same sample and modulator for every photon number."""
    patterns = bank(cell.modulator)
    limits = SceneRanges(
        contrast=CONTRAST[cell.modulator],
        # what tracking can follow: soft edges, rays that do not cross; the rest is in the families
        edge_px=(0.6, 3.0),
        crossing=5e-4,
        jacobian_min=0.5,
        blur_px=(0.3, 1.0),
        halo=0.0,
        photons=(cell.photons, cell.photons * (1 + 1e-6)),
        transmission_min=cell.transmission_min,
        displacement_px=cell.displacement_px,
    )
    key = torch.Generator().manual_seed(FIRST_SEED + 100 + KINDS.index(cell.modulator))
    return random_batch(key, count, cell.positions, size, patterns, limits)
