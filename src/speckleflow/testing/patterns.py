"""Stacks with exactly known fields: patterns that can be evaluated anywhere, so that nothing is interpolated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """Reference and sample (N, y, x), and the truth (y, x) on the reference grid."""

    reference: torch.Tensor
    sample: torch.Tensor
    ux: np.ndarray
    uy: np.ndarray
    transmission: np.ndarray
    darkfield: np.ndarray


def zero(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros(np.broadcast(x, y).shape)


def one(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.ones(np.broadcast(x, y).shape)


class Speckle:
    """Sum of plane waves of mean 1: correlation length about ``size`` pixels, relative contrast ``contrast``."""

    def __init__(self, seed: int, contrast: float = 0.25, size: float = 2.0, waves: int = 60) -> None:
        rng = np.random.default_rng(seed)
        self.kx, self.ky = rng.normal(0, 1 / size, (2, waves))
        self.phase = rng.uniform(0, 2 * np.pi, waves)
        self.amplitude = contrast * np.sqrt(2 / waves)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        total = np.ones(np.broadcast(x, y).shape)
        for kx, ky, phase in zip(self.kx, self.ky, self.phase, strict=True):
            total += self.amplitude * np.cos(kx * x + ky * y + phase)
        return total


def make_pair(
    shape: tuple[int, int] = (96, 96),
    positions: int = 6,
    *,
    ux: Field = zero,
    uy: Field = zero,
    transmission: Field = one,
    darkfield: Field = one,
    photons: float | None = None,
    contrast: float = 0.25,
    size: float = 2.0,
    seed: int = 0,
    conserve: bool = False,
) -> Pair:
    """s(x + u(x)) = T(x) { 1 + D(x) [ r(x) - 1 ] }; Poisson noise of ``photons`` per pixel (None: none).

    With ``conserve`` light is conserved: divided by det(1 + grad u), so that it is brighter where rays converge.
    """
    height, width = shape
    x, y = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    # where the ray that lands at a pixel comes from: p + u(p) = pixel
    px, py = x.copy(), y.copy()
    for _ in range(200):
        px, py = 0.5 * px + 0.5 * (x - ux(px, py)), 0.5 * py + 0.5 * (y - uy(px, py))
    step = 1e-4
    ux_x, uy_x = ((f(px + step, py) - f(px - step, py)) / (2 * step) for f in (ux, uy))
    ux_y, uy_y = ((f(px, py + step) - f(px, py - step)) / (2 * step) for f in (ux, uy))
    spread = np.abs((1 + ux_x) * (1 + uy_y) - ux_y * uy_x) if conserve else 1.0
    rng = np.random.default_rng(seed + 1000)

    def detect(image: np.ndarray) -> np.ndarray:
        return image if photons is None else rng.poisson(np.maximum(image, 0) * photons) / photons

    reference, sample = [], []
    for n in range(positions):
        speckle = Speckle(seed * 100 + n, contrast, size)
        reference.append(detect(speckle(x, y)))
        pattern = 1 + darkfield(px, py) * (speckle(px, py) - 1)
        sample.append(detect(transmission(px, py) / spread * pattern))
    return Pair(
        torch.tensor(np.stack(reference), dtype=torch.float32),
        torch.tensor(np.stack(sample), dtype=torch.float32),
        ux(x, y),
        uy(x, y),
        transmission(x, y),
        darkfield(x, y),
    )


def rms(found: torch.Tensor, truth: np.ndarray, border: int = 12) -> float:
    """Root mean square error of (1, y, x) or (y, x) against (y, x), without a border."""
    difference = found.squeeze(0).numpy() - truth
    return float(np.sqrt(np.mean(difference[border:-border, border:-border] ** 2)))
