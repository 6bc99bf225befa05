"""Simulated scans whose rotation axis is known: easy ones, and one for each known way of getting it wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tests.tomo.ellipses import Ellipse, sinogram

HALF, FULL, COARSE = np.arange(0, 180.0), np.arange(0, 360.0), np.arange(0, 180.0, 3.0)
COLUMNS, ROWS = 200, 8
CENTRE = (COLUMNS - 1) / 2
#: standard deviation of the noise of a line integral (a sample's greatest is about 2)
NOISE = 0.03


@dataclass(frozen=True)
class SimulatedScan:
    """Sinograms (row, angle, x), the axis of each row, and the rows' places on the detector."""

    name: str
    sinograms: NDArray[np.float32]
    angles_deg: NDArray[np.float64]
    axis_px: float
    rows: NDArray[np.intp]


def solids(radius: float, row: int = 0, beside: float = 0.0) -> list[Ellipse]:
    """A sample without symmetry that differs from row to row; ``beside``: its distance from the axis."""
    unit, r, out = 1 / radius, radius, beside
    return [
        Ellipse(0.7 * unit, 0.05 * r + out, -0.03 * r, 0.85 * r, 0.75 * r, 20 + 9 * row),
        Ellipse(0.8 * unit, 0.45 * r + out, (0.2 - 0.03 * row) * r, 0.3 * r, 0.12 * r, 35),
        Ellipse(-0.4 * unit, -0.3 * r + out, 0.35 * r, 0.2 * r, 0.2 * r),
        Ellipse(2.0 * unit, -0.2 * r + out, (0.03 * row - 0.5) * r, 0.09 * r, 0.09 * r),
    ]


def plate(length: float, width: float, row: int = 0) -> list[Ellipse]:
    """A long thin sample that leaves the view at some angles and not at others."""
    return [
        Ellipse(0.8 / width, 4, -3, length, width, 17 + 2 * row),
        Ellipse(1.0 / width, 0.3 * length, 0.2 * width, 0.25 * width, 0.2 * width, 40),
        Ellipse(-0.6 / width, -0.4 * length, -0.3 * width, 0.3 * width, 0.15 * width, 5 * row),
    ]


def scan(
    name: str,
    axis: float | NDArray[np.float64],
    angles: NDArray[np.float64] = HALF,
    sample: Callable[[int], list[Ellipse]] = lambda row: solids(72.0, row),
    noise: float = NOISE,
    fault: Callable[[NDArray[np.float32], np.random.Generator], None] | None = None,
) -> SimulatedScan:
    """Exact line integrals, averaged over a pixel, with noise; ``fault`` changes them in place."""
    rng = np.random.default_rng(sum(map(ord, name)))
    axes = np.broadcast_to(np.asarray(axis, float), (ROWS,))
    data = np.stack([sinogram(sample(r), angles, COLUMNS, float(axes[r]), 3) for r in range(ROWS)])
    data = (data + noise * rng.normal(size=data.shape)).astype(np.float32)
    if fault is not None:
        fault(data, rng)
    return SimulatedScan(name, data, angles, float(axes.mean()), np.arange(ROWS, dtype=np.intp) * 13)


def _static(size: float) -> Callable[[NDArray[np.float32], np.random.Generator], None]:
    def add(data: NDArray[np.float32], rng: np.random.Generator) -> None:
        data += size * rng.normal(size=(len(data), 1, COLUMNS))

    return add


def _equal(data: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Stripes of the scintillator, the same in every row."""
    data += 0.12 * rng.normal(size=(1, 1, COLUMNS))


def _drifting(data: NDArray[np.float32], rng: np.random.Generator) -> None:
    grow = np.linspace(-1, 1, data.shape[1])[None, :, None]
    data += 0.06 * grow * rng.normal(size=(len(data), 1, COLUMNS))


def _dead(data: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Twenty columns without signal, each with a gain of its own, the same in every row."""
    columns = rng.choice(np.arange(10, COLUMNS - 10), 20, replace=False)
    data[:, :, columns] = data[:, :, columns] * rng.uniform(-0.3, 0.6, 20) + rng.normal(size=20)
    data[:, :, columns] += 0.3 * rng.normal(size=(*data.shape[:2], 20))


def simulated_scans() -> list[SimulatedScan]:
    """The twenty scans of the table."""
    tilt = CENTRE + 3.3 + np.tan(np.deg2rad(0.5)) * 13 * (np.arange(ROWS) - (ROWS - 1) / 2)
    return [
        scan("centred", CENTRE),
        scan("offset +20 px", CENTRE + 20),
        scan("offset -19.63 px", CENTRE - 19.63),
        scan("clockwise, inclusive", CENTRE + 7.37, 90 - np.linspace(0, 180, 181)),
        scan("60 angles", CENTRE - 3.21, COARSE),
        scan("60 angles, offset 15 px, noise", CENTRE + 15.4, COARSE, noise=0.1),
        scan("noise as large as 1/4 of the sample", CENTRE - 5.7, noise=0.5),
        scan("low contrast", CENTRE + 2.6, noise=0.02, sample=lambda r: _weak(solids(72.0, r), 0.02)),
        scan("stripes", CENTRE + 4.44, fault=_static(0.12)),
        scan("stripes equal in every row", CENTRE - 6.3, fault=_equal),
        scan("drifting stripes", CENTRE - 8.15, fault=_drifting),
        scan("20 dead columns with gains", CENTRE + 5.5, fault=_dead),
        scan("wider than the view", CENTRE + 1.9, sample=lambda r: solids(150.0, r)),
        scan("leaves the view at times, thin", CENTRE - 4.2, sample=lambda r: plate(130.0, 30.0, r)),
        scan("leaves the view at times, thick", CENTRE + 3.1, sample=lambda r: plate(125.0, 60.0, r)),
        scan("beside the axis, leaves at times", CENTRE + 1.3, sample=lambda r: solids(50.0, r, 70.0)),
        scan("full turn", CENTRE + 11.2, FULL),
        scan("full turn, axis near the left edge", 21.3, FULL, sample=lambda r: solids(150.0, r)),
        scan("full turn, axis near the right edge", COLUMNS - 1 - 26.8, FULL, lambda r: solids(140.0, r)),
        scan("tilt of 0.5 degrees", tilt),
    ]


def _weak(ellipses: list[Ellipse], factor: float) -> list[Ellipse]:
    return [Ellipse(factor * e.value, e.x, e.y, e.a, e.b, e.turn_deg) for e in ellipses]
