"""Glass beads behind or before sandpaper by Fresnel optics, written apart from the code that is tested."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from speckleflow.scan.acquisition import Acquisition

ENERGY_KEV, PIXEL_M, GAP_M, DISTANCE_M = 10.0, 0.65e-6, 3e-3, 23e-3
LAMBDA_M = 1.23984198e-10
#: silica of 2.2 g/cm3 at 10 keV, rounded; and a beam of four samples a pixel with room around the image
DELTA, BETA, FINE, ROOM = 4.6e-6, 4e-8, 4, 24


class Beads(NamedTuple):
    """Stacks (N, y, x), true phase in rad and attenuation (y, x), and the acquisition."""

    reference: Tensor
    sample: Tensor
    phase: np.ndarray
    attenuation: np.ndarray
    acquisition: Acquisition


def beads(
    shape: tuple[int, int],
    positions: int,
    scale: float,
    *,
    seed: int = 0,
    blur: tuple[float, float] = (0.9, 1.1),
    photons: float = 20_000.0,
    behind: bool = True,
    shift_px: float = 0.0,
    visibility: float = 1.0,
) -> Beads:
    """Five beads of radius 6 to 14 px, ``scale`` times as strong as silica.

    ``behind``: the diffuser stands 3 mm behind the sample, else 3 mm before it. ``blur`` (y, x) in px. ``shift_px``:
    the diffuser of the sample frames has moved so far along x. ``visibility``: the rest of the light behind the sample
    is that of an empty beam.
    """
    rng = np.random.default_rng(seed)
    height, width = (n + 2 * ROOM for n in shape)
    y, x = (((np.arange(n * FINE) + 0.5) / FINE - 0.5 - ROOM) for n in (height, width))
    thickness = np.zeros((height * FINE, width * FINE))
    for _ in range(5):
        radius = rng.uniform(6, 14)
        cy, cx = rng.uniform(0.3, 0.7) * shape[0], rng.uniform(0.35, 0.65) * shape[1]
        squares = radius**2 - (y[:, None] - cy) ** 2 - (x[None, :] - cx) ** 2
        thickness += 2 * np.sqrt(squares.clip(0)) * PIXEL_M
    thickness = gaussian_filter(scale * thickness, FINE)
    phase, attenuation = -2 * np.pi / LAMBDA_M * DELTA * thickness, 4 * np.pi / LAMBDA_M * BETA * thickness
    sample = np.exp(1j * phase - attenuation / 2)
    fy, fx = (np.fft.fftfreq(n * FINE, PIXEL_M / FINE) for n in (height, width))

    def carried(wave: np.ndarray, distance: float) -> np.ndarray:
        turn = np.pi * LAMBDA_M * distance * (fy[:, None] ** 2 + fx[None, :] ** 2)
        return np.fft.ifft2(np.fft.fft2(wave) * np.exp(-1j * turn))

    def binned(image: np.ndarray) -> np.ndarray:
        pixels = image.reshape(height, FINE, width, FINE).mean((1, 3))
        return pixels[ROOM : ROOM + shape[0], ROOM : ROOM + shape[1]]

    frames: tuple[list, list] = ([], [])
    for _ in range(positions):
        grit = gaussian_filter(rng.normal(size=thickness.shape), 2.2 * FINE, mode="wrap")
        paper = np.exp(1j * grit / grit.std())
        for stack, object_ in zip(frames, (np.ones_like(sample), sample), strict=True):
            here = paper if stack is frames[0] else np.roll(paper, round(shift_px * FINE), 1)
            if behind:
                wave = carried(carried(object_, GAP_M) * here, DISTANCE_M - GAP_M)
            else:
                wave = carried(carried(here, GAP_M) * object_, DISTANCE_M)
            if stack is frames[1] and visibility < 1:
                empty = abs(carried(object_, DISTANCE_M)) ** 2
                wave = np.sqrt(visibility * abs(wave) ** 2 + (1 - visibility) * empty)
            image = gaussian_filter(abs(wave) ** 2, [b * FINE for b in blur], mode="wrap")
            stack.append(rng.poisson(binned(image) * photons) / photons)
    reference, seen = (torch.tensor(np.array(stack), dtype=torch.float32) for stack in frames)
    acquisition = Acquisition(
        energy_kev=ENERGY_KEV,
        pixel_x_m=PIXEL_M,
        pixel_y_m=PIXEL_M,
        distance_m=DISTANCE_M,
        diffuser_distance_m=-GAP_M if behind else GAP_M,
        magnification=1.0,
        detector_blur_y_px=blur[0],
        detector_blur_x_px=blur[1],
    )
    return Beads(reference, seen, binned(phase), binned(attenuation), acquisition)


def phase_error(phase: Tensor, truth: np.ndarray) -> float:
    """Root mean square error in rad, 8 px from the border, less its mean over the columns that are empty."""
    error = phase.double().numpy() - truth
    empty = truth.shape[1] // 8
    level = np.concatenate([error[:, 4:empty], error[:, -empty:-4]], 1).mean()
    return float(np.sqrt(np.mean((error - level)[8:-8, 8:-8] ** 2)))
