"""Spatial resolution and sub-pixel bias on displacements that are known by formula (CADE, Figs. 3 and 4).

The star pattern is a displacement along y, a cosine of y of 0.5 px whose frequency rises along the columns; on its
axis of symmetry it is 0.5 px everywhere, and what a method loses there is its bias at that wavelength. The resolution
is the wavelength at which the bias reaches 10 %. The bias curve is that of constant displacements of 0 to 1 px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.evaluate.held_out import CONTRAST, FIRST_SEED, bank
from speckleflow.retrieval.base import Retriever
from speckleflow.simulate.forward import transported
from speckleflow.simulate.modulators import KINDS, ModulatorKind
from speckleflow.simulate.optics import bin_mean, blur_matrix
from speckleflow.simulate.patterns import OVERSAMPLING

AMPLITUDE_PX = 0.5
#: wavelengths at the first and the last column of the star
SHORTEST_PX, LONGEST_PX = 8.0, 128.0
HEIGHT, WIDTH = 128, 384
#: columns that do not count at either end, and columns of the moving average
END, AVERAGED = 12, 25
SHIFTS_PX = tuple(k / 10 for k in range(11))
_MARGIN = 8


@dataclass(frozen=True)
class Setting:
    """Conditions of a test: modulator, number of positions, photons per pixel and frame, patterns tried; the detector's
    blur in px. ``images``: periodic patterns, two samples a pixel, in place of the modulator's; their contrast is kept.
    """

    modulator: ModulatorKind = "mask"
    positions: int = 5
    photons: float = 5000.0
    scenes: int = 4
    blur_px: float = 0.6
    images: tuple[Tensor, ...] = ()


def wavelengths(columns: Tensor) -> Tensor:
    """Wavelength of the star in px at (fractional) columns of the image; its frequency is linear in them."""
    share = columns / (WIDTH - 1)
    return 1 / (1 / SHORTEST_PX + (1 / LONGEST_PX - 1 / SHORTEST_PX) * share)


def star_displacement(y: Tensor, x: Tensor) -> Tensor:
    """u_y in px at places (y, x) of the image, in px; the axis is the image's middle."""
    away = y - (HEIGHT - 1) / 2
    return AMPLITUDE_PX * torch.cos(2 * math.pi * away / wavelengths(x.clamp(-_MARGIN, WIDTH + _MARGIN)))


def star(method: Retriever, setting: Setting) -> list[dict[str, float]]:
    """Rows (wavelength_px, bias) of the axis of the star: bias is the lost share of 0.5 px, averaged over the
    scenes, and over :data:`AVERAGED` columns.
    """
    losses = []
    for number in range(setting.scenes):
        reference, sample, truth = _scene(setting, number, None)
        uy = method(sample[None], method.prepare(reference)).uy
        assert uy is not None
        middle = slice(HEIGHT // 2 - 1, HEIGHT // 2 + 1)
        losses.append(1 - uy[0, middle].mean(0).cpu() / truth[1, middle].mean(0))
    bias = torch.stack(losses).mean(0)[END:-END]
    smooth = torch.nn.functional.avg_pool1d(bias[None], AVERAGED, 1)[0]
    columns = torch.arange(END + AVERAGED // 2, WIDTH - END - AVERAGED // 2, dtype=torch.float32)
    return [
        {"wavelength_px": float(w), "bias": float(b)}
        for w, b in zip(wavelengths(columns), smooth, strict=True)
    ]


def resolution(rows: Sequence[dict[str, float]], largest_bias: float = 0.1) -> float:
    """Shortest wavelength (px) from which on the bias stays within ``largest_bias``; NaN where it never does."""
    best = math.nan
    for row in sorted(rows, key=lambda r: -r["wavelength_px"]):
        if abs(row["bias"]) > largest_bias:
            break
        best = row["wavelength_px"]
    return best


def bias_curve(method: Retriever, setting: Setting) -> list[dict[str, float]]:
    """Rows (displacement_px, bias, rmse) for constant displacements of both components, in px."""
    rows = []
    for shift in SHIFTS_PX:
        errors = []
        for number in range(setting.scenes):
            reference, sample, truth = _scene(setting, number, shift)
            fields = method(sample[None], method.prepare(reference))
            assert fields.ux is not None
            assert fields.uy is not None
            error = torch.cat([fields.ux, fields.uy]).cpu() - truth
            errors.append(error[:, END:-END, END:-END])
        together = torch.stack(errors)
        rows.append(
            {
                "displacement_px": shift,
                "bias": float(together.mean()),
                "rmse": float(together.square().mean().sqrt()),
            }
        )
    return rows


def measure_all(
    methods: dict[str, Retriever], setting: Setting
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the star and of the bias curve of several methods, each with its name; those that do not take so
    many positions are left out.
    """
    stars: list[dict[str, Any]] = []
    biases: list[dict[str, Any]] = []
    for name, method in methods.items():
        if not method.spec.takes(setting.positions):
            continue
        stars += [{"method": name, **row} for row in star(method, setting)]
        biases += [{"method": name, **row} for row in bias_curve(method, setting)]
    return stars, biases


def _scene(setting: Setting, number: int, shift: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Stacks (N, y, x) of the star (or of a constant ``shift``), and the truth (2, y, x), u_x first.

    T = D = 1; the same patterns and noise for every displacement.
    """
    height, width = (HEIGHT, WIDTH) if shift is None else (HEIGHT, HEIGHT)
    generator = torch.Generator().manual_seed(
        FIRST_SEED + 5000 + 10 * number + KINDS.index(setting.modulator)
    )
    side = (max(height, width) + 2 * _MARGIN) * OVERSAMPLING
    stack = _patterns(setting, number, generator, side)[:, : (height + 2 * _MARGIN) * OVERSAMPLING]
    stack = stack[..., : (width + 2 * _MARGIN) * OVERSAMPLING]
    if not setting.images:
        low, high = CONTRAST[setting.modulator]
        stack = (1 + (low * high) ** 0.5 / stack.std() * (stack - 1)).clamp_min(0.0)

    y, x = torch.meshgrid(
        *(
            (torch.arange(n * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5 - _MARGIN
            for n in (height + 2 * _MARGIN, width + 2 * _MARGIN)
        ),
        indexing="ij",
    )
    constant = torch.full_like(y, shift or 0.0)
    ux = torch.zeros_like(y) if shift is None else constant
    uy = star_displacement(y, x) if shift is None else constant
    warped = transported(stack, ux, uy, OVERSAMPLING)
    rows, columns = (
        blur_matrix(n, OVERSAMPLING, _MARGIN, setting.blur_px * OVERSAMPLING, stack) for n in (height, width)
    )
    frames = (rows @ torch.cat([stack, warped]) @ columns.T).clamp_min(1e-3)
    frames = frames + (frames / setting.photons).sqrt() * torch.randn(frames.shape, generator=generator)
    crop = slice(_MARGIN, -_MARGIN)
    truth = bin_mean(torch.stack([ux, uy]), OVERSAMPLING)[:, crop, crop]
    n = setting.positions
    return frames[:n], frames[n:], truth


def _patterns(setting: Setting, number: int, generator: torch.Generator, side: int) -> Tensor:
    """Patterns (N, side, side) of scene ``number``: the modulator's, or pieces of the given image."""
    if not setting.images:
        return bank(setting.modulator).stack(generator, setting.positions, side)
    image = setting.images[number % len(setting.images)]
    pieces = []
    for _ in range(setting.positions):
        rows, columns = (
            (torch.arange(side) + int(torch.randint(n, (), generator=generator))) % n for n in image.shape
        )
        pieces.append(image[rows][:, columns])
    return torch.stack(pieces)
