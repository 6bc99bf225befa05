"""Refractive index of real materials, n = 1 - delta + i beta, from xraylib's tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import xraylib

from speckleflow.errors import ConfigError
from speckleflow.physics import wavelength_m

CM_PER_M = 100.0


@dataclass(frozen=True)
class Material:
    """A homogeneous material.

    Attributes
    ----------
    name : what people call it.
    formula : chemical formula, as xraylib reads it.
    density_g_cm3 : mass density in g/cm3.
    """

    name: str
    formula: str
    density_g_cm3: float

    def delta(self, energy_kev: float) -> float:
        """Refractive-index decrement delta at ``energy_kev``, dimensionless."""
        return float(1.0 - xraylib.Refractive_Index_Re(self.formula, energy_kev, self.density_g_cm3))

    def mu(self, energy_kev: float) -> float:
        """Linear attenuation coefficient in 1/m (all interactions)."""
        return float(xraylib.CS_Total_CP(self.formula, energy_kev) * self.density_g_cm3 * CM_PER_M)

    def beta(self, energy_kev: float) -> float:
        """Imaginary part of the refractive index, mu lambda / (4 pi)."""
        return self.mu(energy_kev) * wavelength_m(energy_kev) / (4 * math.pi)


#: Densities: CRC Handbook for elements and minerals, usual values of the trade for the plastics (g/cm3).
MATERIALS: dict[str, Material] = {
    m.name: m
    for m in (
        Material("PMMA", "C5H8O2", 1.18),
        Material("PVC", "C2H3Cl", 1.40),
        Material("PTFE", "C2F4", 2.20),
        Material("polyethylene", "C2H4", 0.94),
        Material("polyurethane", "C15H16N2O4", 1.20),
        Material("POM", "CH2O", 1.41),
        Material("water", "H2O", 1.0),
        Material("glass", "SiO2", 2.20),
        Material("aluminium", "Al", 2.70),
        Material("silicon", "Si", 2.33),
        Material("hydroxyapatite", "Ca5P3O13H", 3.16),
        Material("aluminium oxide", "Al2O3", 3.97),
        Material("calcite", "CaCO3", 2.71),
        Material("silicon carbide", "SiC", 3.21),
        Material("nickel", "Ni", 8.90),
        Material("gold", "Au", 19.3),
    )
}


def material(name: str) -> Material:
    """The named material.

    Raises
    ------
    ConfigError
        The name is not in :data:`MATERIALS`.
    """
    if name not in MATERIALS:
        raise ConfigError(f"material: expected one of {', '.join(MATERIALS)}, found '{name}'")
    return MATERIALS[name]
