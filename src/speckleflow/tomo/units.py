"""From reconstructed values per pixel to physical quantities (physics.md)."""

from __future__ import annotations

from dataclasses import dataclass

from speckleflow.errors import ConfigError
from speckleflow.physics import delta_per_reconstructed_phase


@dataclass(frozen=True)
class Quantity:
    """A volume's quantity: which contrast it is reconstructed from and what it is called."""

    name: str
    contrast: str
    unit: str
    long_name: str
    needs_energy: bool


QUANTITIES: dict[str, Quantity] = {
    q.name: q
    for q in (
        Quantity("delta", "phase", "1", "refractive index decrement", True),
        Quantity("mu", "transmission", "1/m", "linear attenuation coefficient", False),
        Quantity("darkfield", "darkfield", "1/m", "linear extinction of visibility", False),
    )
}


def scale(name: str, pixel_size_m: float, energy_kev: float | None = None) -> float:
    """Factor from FBP of the sinogram values (:mod:`speckleflow.tomo.sinogram`, per pixel) to a quantity.

    delta = FBP(-phi) lambda / (2 pi p); mu = FBP(-ln T) / p and darkfield = FBP(-ln D) / p in 1/m.
    ``pixel_size_m`` is the effective pixel size p in the sample plane.

    Raises
    ------
    ConfigError
        Unknown quantity, or one that needs the energy without it.
    """
    if name not in QUANTITIES:
        raise ConfigError(f"quantity must be one of {', '.join(QUANTITIES)}, found '{name}'")
    if not QUANTITIES[name].needs_energy:
        return 1.0 / pixel_size_m
    if energy_kev is None:
        raise ConfigError(f"a volume of {name} needs the photon energy (geometry.energy_kev), found none")
    return delta_per_reconstructed_phase(energy_kev, pixel_size_m)
