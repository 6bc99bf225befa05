"""Three-dimensional phantoms of analytic solids: exact projections and their voxelised truth.

API
---
``phantom(name, pixel_size_m, rows, columns) -> Phantom``; names in ``PHANTOMS``.
``Phantom.line_integrals(energy_kev, angle_deg, s, z)``: integrals of delta, mu and extinction, exact.
``Phantom.delta_gradient(energy_kev, angle_deg, s, z)``: exact gradient of the first.
``Phantom.volumes(energy_kev, pixel_size_m, rows, columns)``: delta, mu, darkfield on the reconstruction's
grid. ``Phantom.masks(pixel_size_m, rows, columns)``: voxels of each region.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.errors import ConfigError
from speckleflow.simulate.materials import material
from speckleflow.simulate.solids import Solid, ellipsoid, ray_frame, sphere
from speckleflow.tomo.geometry import slice_coordinates


class Matter(NamedTuple):
    """delta (dimensionless), mu in 1/m, extinction of visibility in 1/m: of a place, or integrated along a
    ray.
    """

    delta: Tensor
    mu: Tensor
    extinction: Tensor


@dataclass(frozen=True)
class Phantom:
    """Solids about the rotation axis, in metres; a solid immersed in another replaces its matter."""

    solids: tuple[Solid, ...]

    @cached_property
    def _by_key(self) -> dict[str, Solid]:
        return {solid.key: solid for solid in self.solids if solid.key}

    def parent(self, solid: Solid) -> Solid | None:
        """The solid that ``solid`` is immersed in."""
        return None if solid.inside is None else self._by_key[solid.inside]

    def contrast(self, solid: Solid, energy_kev: float) -> tuple[float, float, float]:
        """delta, mu and extinction of a solid minus those of what it replaces."""
        own, other = self.matter(solid, energy_kev), self.matter(self.parent(solid), energy_kev)
        return own[0] - other[0], own[1] - other[1], own[2] - other[2]

    @staticmethod
    def matter(solid: Solid | None, energy_kev: float) -> tuple[float, float, float]:
        """delta, mu in 1/m and extinction in 1/m of a solid's own matter (None: air)."""
        if solid is None:
            return 0.0, 0.0, 0.0
        if solid.material is None:
            return 0.0, 0.0, solid.extinction_per_m
        kind = material(solid.material)
        return kind.delta(energy_kev), kind.mu(energy_kev), solid.extinction_per_m

    def line_integrals(self, energy_kev: float, angle_deg: float, s: Tensor, z: Tensor) -> Matter:
        """Exact integrals along the beam: of delta in m, of mu and of the extinction without unit; each (z,
        s).

        Parameters
        ----------
        angle_deg : rotation of the sample (tomo.geometry).
        s, z : detector coordinates (1-D, ascending, float64) in m: columns from the rotation axis, rows from
            the phantom's middle, downward.
        """
        sums = [torch.zeros(len(z), len(s), dtype=s.dtype, device=s.device) for _ in range(3)]
        for solid in self.solids:
            rows, columns = _box(solid, angle_deg, s, z)
            chord = solid.chord(angle_deg, s[columns], z[rows])
            for total, value in zip(sums, self.contrast(solid, energy_kev), strict=True):
                if value:
                    total[rows, columns] += value * chord
        return Matter(*sums)

    def extent(self, angle_deg: float, s: Tensor, z: Tensor) -> tuple[slice, slice]:
        """Rows and columns of the detector coordinates (:meth:`line_integrals`) beyond which there is air alone."""
        boxes = [_box(solid, angle_deg, s, z) for solid in self.solids]
        boxes = [box for box in boxes if all(part.stop > part.start for part in box)]
        if not boxes:
            return slice(0, 0), slice(0, 0)
        rows, columns = (
            slice(min(box[k].start for box in boxes), max(box[k].stop for box in boxes)) for k in (0, 1)
        )
        return rows, columns

    def delta_gradient(
        self, energy_kev: float, angle_deg: float, s: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Exact derivative of the integral of delta by s and by z (dimensionless), each (z, s)."""
        by_s, by_z = torch.zeros(2, len(z), len(s), dtype=s.dtype, device=s.device)
        for solid in self.solids:
            rows, columns = _box(solid, angle_deg, s, z)
            slopes = solid.chord_gradient(angle_deg, s[columns], z[rows])
            value = self.contrast(solid, energy_kev)[0]
            by_s[rows, columns] += value * slopes[0]
            by_z[rows, columns] += value * slopes[1]
        return by_s, by_z

    def voxels(
        self,
        energy_kev: float,
        pixel_size_m: float,
        rows: int,
        columns: int,
        first: int = 0,
        last: int | None = None,
    ) -> tuple[Matter, dict[str, Tensor]]:
        """Truth in rows first, ..., last - 1 of the reconstruction's grid (rows, columns, columns) = (z, y, x).

        Returns
        -------
        Means of delta, mu and extinction over each voxel, and for every region the voxels, bool, of which at
        least half belongs to it, without what is immersed in it.
        """
        last = rows if last is None else last
        shape = (last - first, columns, columns)
        sums = [torch.zeros(shape) for _ in range(3)]
        shares = {solid.region: torch.zeros(shape) for solid in self.solids}
        for solid in self.solids:
            box, share = _voxel_share(solid, pixel_size_m, rows, columns, first, last)
            for total, value in zip(sums, self.contrast(solid, energy_kev), strict=True):
                if value:
                    total[box] += value * share
            shares[solid.region][box] += share
            if (parent := self.parent(solid)) is not None:
                shares[parent.region][box] -= share
        return Matter(*sums), {region: share >= 0.5 for region, share in shares.items()}


def _box(solid: Solid, angle_deg: float, s: Tensor, z: Tensor) -> tuple[slice, slice]:
    """The rows and columns of a detector that a solid can reach."""
    along = ray_frame(angle_deg)[0]
    centre = sum(a * c for a, c in zip(along, solid.centre, strict=True))
    return _range(z, solid.centre[2], solid.reach((0.0, 0.0, 1.0))), _range(s, centre, solid.reach(along))


def _range(axis: Tensor, centre: float, reach: float) -> slice:
    if math.isinf(reach):
        return slice(0, len(axis))
    edges = torch.tensor([centre - reach, centre + reach], dtype=axis.dtype, device=axis.device)
    first, last = torch.searchsorted(axis, edges).tolist()
    return slice(max(0, first - 1), min(len(axis), last + 1))


#: Points a voxel side when a voxel lies on a surface: the share is then right to about 1 %.
SUBVOXELS = 5


def _voxel_share(
    solid: Solid, pixel_size_m: float, rows: int, columns: int, first: int, last: int
) -> tuple[tuple[slice, slice, slice], Tensor]:
    """Part of each voxel that lies inside a solid, in the box (z, y, x) that it can reach; z from row ``first``."""
    in_plane = torch.from_numpy(slice_coordinates(columns)[1].ravel() * pixel_size_m)
    z = (torch.arange(first, last, dtype=torch.float64) - (rows - 1) / 2) * pixel_size_m
    pad = 2 * pixel_size_m
    reach = [solid.reach(e) + pad for e in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))]
    box = (
        _range(z, solid.centre[2], reach[2]),
        _range(in_plane, solid.centre[1], reach[1]),
        _range(in_plane, solid.centre[0], reach[0]),
    )
    vy, vx = in_plane[box[1]][None, :, None], in_plane[box[2]][None, None, :]
    vz = z[box[0]]
    if not len(vz):
        return box, torch.zeros(0, vy.shape[1], vx.shape[2])
    # Centres first, with one more row on either side: a voxel whose 26 neighbours are all in, or all out, lies on
    # no surface of a solid that is itself several voxels thick.
    rows_around = torch.cat([vz[:1] - pixel_size_m, vz, vz[-1:] + pixel_size_m])
    centre = solid.contains(vx, vy, rows_around[:, None, None]).to(torch.float32)
    pooled = torch.nn.functional.pad(centre[None, None], (1, 1, 1, 1, 0, 0), mode="replicate")
    most = torch.nn.functional.max_pool3d(pooled, 3, 1)[0, 0]
    least = -torch.nn.functional.max_pool3d(-pooled, 3, 1)[0, 0]
    share = centre[1:-1].clone()
    k, j, i = (most != least).nonzero(as_tuple=True)
    sub = ((torch.arange(SUBVOXELS, dtype=z.dtype) + 0.5) / SUBVOXELS - 0.5) * pixel_size_m
    total = torch.zeros(len(k))
    for dz in sub:
        for dy in sub:
            inside = solid.contains(
                vx.ravel()[i][:, None] + sub, (vy.ravel()[j] + dy)[:, None], (vz[k] + dz)[:, None]
            )
            total += inside.sum(1)
    share[k, j, i] = total / SUBVOXELS**3
    return box, share


# -- the phantoms, in units of a pixel of a detector of 160 x 128 pixels; other detectors scale them
# ------------


def _demo(unit: float) -> Phantom:
    """A PVC pebble with beads of aluminium and bone mineral, and a region that scatters.

    With 6.5 um pixels at 20 keV the pebble absorbs 35 %, the beads 12 to 34 %, the scattering region takes the
    visibility to 0.47. At 0.5 m the edges of the pebble move the pattern by 1.2 pixels. These are means over a
    pixel, and so is the claim that no rays cross (Jacobian above 0.2): within the last tenths of a pixel of a
    sharp edge refraction grows without bound and some always do. Inside, the matrix lowers the contrast of the
    other edges. No two solids face each other across air, where their rays would meet.
    """

    def at(*values: float) -> tuple[float, float, float]:
        return values[0] * unit, values[1] * unit, values[2] * unit

    inside = {"inside": "pebble"}
    return Phantom(
        (
            ellipsoid("PVC", "PVC", at(3, -2, 0), at(55, 52, 57), key="pebble"),
            sphere("bone mineral", "hydroxyapatite", at(-20, 10, -26), 15 * unit, **inside),
            sphere("aluminium", "aluminium", at(20, -16, 6), 18 * unit, **inside),
            sphere("aluminium", "aluminium", at(8, 18, 36), 11 * unit, **inside),
            # 2960 / m: D = 0.5 over 36 pixels of 6.5 um
            ellipsoid(
                "scattering PVC", "PVC", at(-22, -10, 16), at(18, 20, 16),
                extinction_per_m=math.log(2) / (36 * unit), **inside,
            ),
        )
    )  # fmt: skip


def _sphere(unit: float) -> Phantom:
    """One PMMA sphere on the axis, for the signs."""
    return Phantom((sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), 44 * unit),))


def _foam(unit: float) -> Phantom:
    """A PMMA pebble with 40 air bubbles of 4 to 11 pixels radius, and ten glass beads: many edges, few
    photons absorbed. Positions are random but fixed.
    """
    generator = torch.Generator().manual_seed(40)
    outer = 58.0
    placed: list[tuple[Tensor, float]] = []
    solids = [sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), outer * unit, key="pebble")]
    while len(placed) < 50:
        radius = 4 + 7 * float(torch.rand((), generator=generator)) ** 2
        centre = (torch.rand(3, generator=generator, dtype=torch.float64) * 2 - 1) * outer
        clear = all(float((centre - c).norm()) > r + radius + 1 for c, r in placed)
        if clear and float(centre.norm()) + radius < outer - 2:
            bead = len(placed) % 5 == 4
            x, y, z = (centre * unit).tolist()
            region, kind = ("glass", "glass") if bead else ("air bubbles", None)
            solids.append(sphere(region, kind, (x, y, z), radius * unit, inside="pebble"))
            placed.append((centre, radius))
    return Phantom(tuple(solids))


PHANTOMS: dict[str, Callable[[float], Phantom]] = {"demo": _demo, "sphere": _sphere, "foam": _foam}


def phantom(name: str, pixel_size_m: float, rows: int, columns: int) -> Phantom:
    """The named phantom, scaled to a detector of rows x columns pixels.

    Raises
    ------
    ConfigError
        The name is not in :data:`PHANTOMS`.
    """
    if name not in PHANTOMS:
        raise ConfigError(f"simulate.phantom: expected one of {', '.join(PHANTOMS)}, found '{name}'")
    return PHANTOMS[name](unit_of(pixel_size_m, rows, columns))


def unit_of(pixel_size_m: float, rows: int, columns: int) -> float:
    """Length in m of a unit of the phantoms on a detector of rows x columns pixels."""
    return pixel_size_m * min(columns / 160, rows / 128)
