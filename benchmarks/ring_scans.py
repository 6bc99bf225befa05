"""Sinograms with stripes of every kind, of contrasts with white and with integrated noise, and their truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tests.tomo.ellipses import image, shepp_logan, sinogram

Float = NDArray[np.float32]

COLUMNS, COUNT = 256, 360
ANGLES = np.arange(COUNT) * 180 / COUNT
AXIS = (COLUMNS - 1) / 2 + 0.2
KINDS = ("none", "static", "drifting", "dead", "wide", "partial", "dense", "mixed")
#: Noise of a line integral over its standard deviation: gives a slice of 11 % error (shepp filter).
NOISE = 0.03


def truth() -> Float:
    """The Shepp-Logan head, mean over a pixel's area."""
    return image(shepp_logan(0.42 * COLUMNS), COLUMNS, supersample=4)


def clean() -> Float:
    """Its line integrals (angle, x), mean over a pixel."""
    return sinogram(shepp_logan(0.42 * COLUMNS), ANGLES, COLUMNS, AXIS, 3)


def noise(contrast: str, size: float, rng: np.random.Generator) -> Float:
    """White noise; of the phase what integration along x leaves of white noise, down to a period of the width."""
    white = rng.normal(size=(COUNT, COLUMNS))
    if contrast != "phase":
        return (size * white).astype(np.float32)
    spectrum = np.fft.rfft(white, axis=1)
    frequency = np.maximum(np.arange(spectrum.shape[1]), 3) / COLUMNS
    coloured = np.fft.irfft(spectrum / frequency, COLUMNS, axis=1)
    return (0.6 * size * coloured / coloured.std()).astype(np.float32)


def striped(kind: str, contrast: str = "absorption", seed: int = 0) -> Float:
    """Line integrals (angle, x) with noise and stripes of one kind."""
    rng = np.random.default_rng(100 + seed)
    data = clean()
    scale = float(data.std())
    data = data + noise(contrast, NOISE * scale, rng)
    inside = np.arange(12, COLUMNS - 12)

    def some(count: int) -> NDArray[np.intp]:
        return rng.choice(inside, count, replace=False)

    size = 0.25 * scale
    kinds = ("static", "drifting", "dead", "wide", "partial") if kind == "mixed" else (kind,)
    part = 0.4 if kind == "mixed" else 1.0
    for one in kinds:
        if one == "static":
            data[:, some(int(36 * part))] += size * rng.normal(size=int(36 * part))
        elif one == "dense":
            data += 0.4 * size * rng.normal(size=COLUMNS)
        elif one == "drifting":
            columns = some(int(36 * part))
            data[:, columns] += size * rng.normal(size=len(columns)) * np.linspace(-1.5, 1.5, COUNT)[:, None]
        elif one == "dead":
            columns = some(int(8 * part))
            data[:, columns] = (
                scale * (1 + rng.normal(size=(COUNT, len(columns)))) * rng.choice([0, 1], len(columns))
            )
        elif one == "wide":
            for first in rng.choice(np.arange(20, COLUMNS - 40), max(1, int(3 * part)), replace=False):
                data[:, first : first + 12] += 0.8 * size * rng.choice([-1, 1])
        elif one == "partial":
            for column in some(int(24 * part)):
                first = rng.integers(0, COUNT * 2 // 3)
                data[first : first + COUNT // 2, column] += size * rng.normal()
    return data.astype(np.float32)
