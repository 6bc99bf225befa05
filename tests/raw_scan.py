"""A small scan as raw files, with everything about it known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from speckleflow.config import ScanConfig, parse_config
from speckleflow.io.data_exchange import ANGLES, DARKS, FLATS, FRAMES
from speckleflow.scan.spec import ScanSpec

DARK = 100.0


def write_data_exchange(
    path: Path,
    frames: NDArray,
    *,
    flats: NDArray | None = None,
    darks: NDArray | None = None,
    angles_deg: NDArray | None = None,
    energy_kev: float | None = None,
    pixel_size_um: float | None = None,
    distance_m: float | None = None,
) -> None:
    """Write frames (theta, y, x) or (theta, N, y, x) as a Data Exchange file; geometry with its units."""
    images = {FRAMES: (frames, "theta"), FLATS: (flats, "theta_white"), DARKS: (darks, "theta_dark")}
    numbers = {
        "/measurement/instrument/monochromator/energy": (energy_kev, "keV"),
        "/measurement/instrument/detection_system/objective/resolution": (pixel_size_um, "um"),
        "/measurement/instrument/detector/distance": (distance_m, "m"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["implements"] = "exchange:measurement"
        for key, (stack, first) in images.items():
            if stack is not None:
                middle = "position:" if stack.ndim == 4 else ""
                written = file.create_dataset(key, data=stack)
                written.attrs.update({"axes": f"{first}:{middle}y:x", "units": "counts"})
        if angles_deg is not None:
            file.create_dataset(ANGLES, data=np.asarray(angles_deg, np.float64)).attrs["units"] = "deg"
        for key, (value, unit) in numbers.items():
            if value is not None:
                file.create_dataset(key, data=float(value)).attrs["units"] = unit


@dataclass
class RawScan:
    """Frames of 4 projections x 3 positions x 24 x 40 pixels; change an entry before ``write`` to spoil it.

    sample: counts = dark + flux * beam * reference * transmission. Flats and darks have 6 frames each.
    """

    root: Path
    projections: int = 4
    positions: int = 3
    size: tuple[int, int] = (24, 40)
    noise: float = 0.5
    dtype: Any = np.uint16
    flats: dict[str, NDArray | None] = field(default_factory=dict)
    darks: dict[str, NDArray | None] = field(default_factory=dict)
    frames: dict[str, NDArray] = field(default_factory=dict)
    angles: dict[str, NDArray | None] = field(default_factory=dict)
    metadata: dict[str, float | None] = field(
        default_factory=lambda: {"energy_kev": 20.0, "pixel_size_um": 1.3, "distance_m": 0.2}
    )

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        rows, columns = self.size
        y, x = np.mgrid[:rows, :columns]
        self.beam = 20000 * np.exp(-(((y - rows / 2) / rows) ** 2) - ((x - columns / 2) / columns) ** 2)
        speckle = ndimage.gaussian_filter(rng.standard_normal((self.positions, rows, columns)), (0, 1.2, 1.2))
        self.reference = 0.8 + 0.1 * speckle / speckle.std()
        self.flux = 1 + 0.05 * rng.standard_normal((self.projections, self.positions))
        inside = ((y - rows / 2) / 8) ** 2 + ((x - columns / 2) / 9) ** 2 < 1
        steps = np.arange(self.projections)[:, None, None]
        self.transmission = np.where(inside, 0.7 - 0.02 * steps, 1.0)
        self.angles_deg = 180 * np.arange(self.projections) / self.projections

        def counts(light: NDArray) -> NDArray:
            noisy = DARK + light + self.noise * rng.standard_normal(light.shape)
            return noisy.round().astype(self.dtype) if np.issubdtype(self.dtype, np.integer) else noisy

        for n in range(self.positions):
            sample, reference = f"sample_{n + 1:02d}", f"reference_{n + 1:02d}"
            light = self.flux[:, n, None, None] * self.beam * self.reference[n] * self.transmission
            self.frames[sample] = counts(light)
            self.frames[reference] = counts(np.repeat((self.beam * self.reference[n])[None], 2, 0))
            for name in (sample, reference):
                self.flats[name] = counts(np.repeat(self.beam[None], 6, 0))
                self.darks[name] = counts(np.zeros((6, *self.size)))
                self.angles[name] = self.angles_deg if name == sample else None

    def path(self, name: str) -> Path:
        return self.root / f"raw/a/{name}.h5"

    def write(self) -> RawScan:
        for name, frames in self.frames.items():
            write_data_exchange(
                self.path(name),
                frames,
                flats=self.flats[name],
                darks=self.darks[name],
                angles_deg=self.angles[name],
                **self.metadata,
            )
        return self

    def config(self, **sections: dict[str, Any]) -> ScanConfig:
        """The configuration of the scan, which is called 'a'; its method is umpa where none is named."""
        retrieval = {"method": "umpa", **sections.get("retrieval", {})}
        whole = parse_config({**sections, "retrieval": retrieval}, "test")
        return ScanConfig.model_validate(whole.model_dump(exclude={"scans", "results"}))

    def spec(self, **sections: dict[str, Any]) -> ScanSpec:
        """The scan 'a' with this configuration, its files named from ``root``."""
        return ScanSpec("a", self.config(**sections), self.root)
