"""Convex solids with exact line integrals: intersections of quadrics (ellipsoids, cylinders) and half-spaces.

A parallel ray meets each of them in one interval, so it meets the solid in the intersection of the intervals:
thickness and its gradient are closed formulas. Coordinates are those of ``tomo.geometry`` in metres from the
rotation axis: x to the right and y against the beam at angle 0, z downward along the axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speckleflow.tomo.geometry import detector_coordinate

Vector = tuple[float, float, float]
Matrix = NDArray[np.float64]

#: Quadric curvatures below this fraction of the largest count as flat (a cylinder along its axis).
FLAT = 1e-12


@dataclass(frozen=True)
class Solid:
    """A convex solid: all r with (r - centre)' A (r - centre) <= 1 and n . (r - centre) <= h, for every A,
    (n, h).

    Attributes
    ----------
    region : name of what it is part of, for masks and tables.
    material : name in ``materials.MATERIALS``, or None for air.
    centre : (x, y, z) in m.
    quadrics : symmetric 3 x 3 matrices A in 1/m^2.
    planes : pairs of outward normal n and offset h in m.
    extinction_per_m : linear extinction of visibility (dark field) in 1/m.
    inside : ``key`` of the solid that it is immersed in, whose matter it replaces; None: air.
    key : its own name for others to refer to.
    """

    region: str
    material: str | None
    centre: Vector
    quadrics: tuple[Matrix, ...]
    planes: tuple[tuple[Vector, float], ...] = ()
    extinction_per_m: float = 0.0
    inside: str | None = None
    key: str = ""

    def reach(self, direction: Vector) -> float:
        """Half-extent in m along a unit vector, from the quadrics alone (inf: unbounded)."""
        e = np.asarray(direction)
        found = math.inf
        for a in self.quadrics:
            regular = a + FLAT * np.trace(a) * np.eye(3)
            reach = math.sqrt(float(e @ np.linalg.solve(regular, e)))
            found = min(found, reach if reach**2 * np.trace(a) * FLAT < 1e-3 else math.inf)
        return found

    def contains(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Whether points (in m, broadcast against each other) lie inside."""
        r = (x - self.centre[0], y - self.centre[1], z - self.centre[2])
        within = torch.ones((), dtype=torch.bool, device=x.device)
        for a in self.quadrics:
            form = sum(float(a[i, j]) * r[i] * r[j] for i in range(3) for j in range(3) if a[i, j] != 0)
            within = within & (form <= 1)
        for normal, offset in self.planes:
            within = within & (sum(n * c for n, c in zip(normal, r, strict=True)) <= offset)
        return within

    def chord(self, angle_deg: float, s: Tensor, z: Tensor) -> Tensor:
        """Thickness in m along the beam, (z, s), for detector coordinates ``s`` (1-D) and ``z`` (1-D) in m.

        ``s`` is counted from the rotation axis along the detector's columns.
        """
        near, far = _interval(self, angle_deg, s, z)
        return (far - near).clamp_min(0)

    def chord_gradient(self, angle_deg: float, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Exact derivative of the thickness by s and by z (dimensionless), (z, s); 0 outside.

        Infinite on the outline of a quadric itself, as the derivative of a square root at 0 is.
        """
        es, ew = ray_frame(angle_deg)
        near, far, near_s, far_s, near_z, far_z = _interval_with_gradient(self, es, ew, s, z)
        hit = far > near
        zero = torch.zeros((), dtype=s.dtype, device=s.device)
        return torch.where(hit, far_s - near_s, zero), torch.where(hit, far_z - near_z, zero)


def ellipsoid(region: str, material: str | None, centre: Vector, axes: Vector, **options: object) -> Solid:
    """An ellipsoid with semi-axes (x, y, z) in m at angle 0; ``options`` as in :class:`Solid`."""
    quadric = np.diag([1 / a**2 for a in axes])
    return Solid(region, material, centre, (quadric,), **options)  # type: ignore[arg-type]


def sphere(region: str, material: str | None, centre: Vector, radius: float, **options: object) -> Solid:
    """A sphere; ``options`` as in :class:`Solid`."""
    return ellipsoid(region, material, centre, (radius, radius, radius), **options)


def cylinder(
    region: str,
    material: str | None,
    centre: Vector,
    radius: float,
    axis: Vector = (0.0, 0.0, 1.0),
    half_length: float = math.inf,
    **options: object,
) -> Solid:
    """A round cylinder along ``axis``; endless, or with flat caps at ``half_length`` m from the centre."""
    n = np.asarray(axis) / np.linalg.norm(axis)
    a = (np.eye(3) - np.outer(n, n)) / radius**2
    caps: tuple[tuple[Vector, float], ...] = ()
    if math.isfinite(half_length):
        unit = (float(n[0]), float(n[1]), float(n[2]))
        caps = ((unit, half_length), ((-unit[0], -unit[1], -unit[2]), half_length))
    return Solid(region, material, centre, (a,), caps, **options)  # type: ignore[arg-type]


def ray_frame(angle_deg: float) -> tuple[Vector, Vector]:
    """Unit vectors along the detector's columns and along the beam, in the frame of the sample."""
    cos = float(detector_coordinate(angle_deg, 1.0, 0.0))
    sin = float(detector_coordinate(angle_deg, 0.0, 1.0))
    return (cos, sin, 0.0), (sin, -cos, 0.0)


def _interval(solid: Solid, angle_deg: float, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    es, ew = ray_frame(angle_deg)
    near, far = _interval_with_gradient(solid, es, ew, s, z, gradient=False)[:2]
    return near, far


def _interval_with_gradient(
    solid: Solid, es: Vector, ew: Vector, s: Tensor, z: Tensor, gradient: bool = True
) -> tuple[Tensor, ...]:
    """Where a ray enters and leaves (in m along the beam), and the derivatives of both by s and z."""
    z, s = z[:, None], s[None, :]
    shape = torch.broadcast_shapes(z.shape, s.shape)
    options = {"dtype": s.dtype, "device": s.device}
    near, far = torch.full(shape, -math.inf, **options), torch.full(shape, math.inf, **options)  # type: ignore[call-overload]
    slopes = [torch.zeros(shape, **options) for _ in range(4)] if gradient else []  # type: ignore[call-overload]
    u, w, up = np.asarray(es), np.asarray(ew), np.array([0.0, 0.0, 1.0])
    c = np.asarray(solid.centre)
    s0, z0 = s - float(u @ c), z - float(c[2])
    w0 = -float(w @ c)  # q0 = s0 es + z0 ez + w0 ew: the ray's point at depth 0, from the centre

    def meet(low: Tensor, high: Tensor, low_slopes: list[Tensor], high_slopes: list[Tensor]) -> None:
        nonlocal near, far
        later, sooner = low > near, high < far
        if gradient:
            for k in (0, 1):
                slopes[2 * k] = torch.where(later, low_slopes[k], slopes[2 * k])
                slopes[2 * k + 1] = torch.where(sooner, high_slopes[k], slopes[2 * k + 1])
        near, far = torch.where(later, low, near), torch.where(sooner, high, far)

    for a in solid.quadrics:
        aww, asw, azw = float(w @ a @ w), float(u @ a @ w), float(up @ a @ w)
        ass, azz, asz = float(u @ a @ u), float(up @ a @ up), float(u @ a @ up)
        b = asw * s0 + azw * z0 + aww * w0
        rest = (
            ass * s0**2 + 2 * asz * s0 * z0 + azz * z0**2 + 2 * w0 * (asw * s0 + azw * z0) + aww * w0**2 - 1
        )
        if aww < FLAT * np.trace(a):  # the beam runs along the cylinder: all of the ray or nothing
            inside = (rest <= 0).expand(shape)
            low = torch.where(inside, -math.inf, math.inf)
            zero = torch.zeros(shape, **options)  # type: ignore[call-overload]
            meet(low.to(s.dtype), -low.to(s.dtype), [zero, zero], [zero, zero])
            continue
        discriminant = b**2 - aww * rest
        root = discriminant.clamp_min(0).sqrt()
        missed = discriminant <= 0
        low = torch.where(missed, math.inf, (-b - root) / aww)
        high = torch.where(missed, -math.inf, (-b + root) / aww)
        low_slopes, high_slopes = [], []
        if gradient:
            rest_s = 2 * (ass * s0 + asz * z0 + w0 * asw)
            rest_z = 2 * (asz * s0 + azz * z0 + w0 * azw)
            for b_k, rest_k in ((asw, rest_s), (azw, rest_z)):
                root_k = (2 * b * b_k - aww * rest_k) / (2 * root)
                low_slopes.append((-b_k - root_k) / aww)
                high_slopes.append((-b_k + root_k) / aww)
        meet(low, high, low_slopes, high_slopes)
    for normal, offset in solid.planes:
        n = np.asarray(normal)
        ns, nw, nz = float(n @ u), float(n @ w), float(n @ up)
        room = offset - ns * s0 - nz * z0 - nw * w0
        endless = torch.full(shape, math.inf, **options)  # type: ignore[call-overload]
        zero = torch.zeros(shape, **options)  # type: ignore[call-overload]
        if abs(nw) < math.sqrt(FLAT):  # the beam runs along the plane
            low = torch.where(room >= 0, -endless, endless)
            meet(low, -low, [zero, zero], [zero, zero])
            continue
        at = (room / nw).expand(shape)
        slope = [zero - ns / nw, zero - nz / nw]
        if nw > 0:
            meet(-endless, at, [zero, zero], slope)
        else:
            meet(at, endless, slope, [zero, zero])
    return near, far, *slopes
