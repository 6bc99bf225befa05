"""A drop of a polymer melt that foams: bubbles nucleate, grow, rise, coalesce and burst at its surface.

What happens in it:

- growth by diffusion: r^2 = r0^2 + K t, as of a bubble in a supersaturated liquid;
- rise by Stokes, v = 2 rho g r^2 / (9 eta), and motion with the melt, whose volume stays: the gas that grows nearer to
  the middle of the drop moves it outwards, and so its surface;
- coalescence of two bubbles that touch: their gas volumes add up, their centre of gas stays;
- a bubble at the surface is held by its film for :data:`FILM_S` and bursts; the drop loses its gas.

API
---
``foaming(unit_m, times_s, seed) -> tuple[Phantom, ...]``: the sample at every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speckleflow.simulate.phantoms import Phantom
from speckleflow.simulate.solids import Solid, sphere

MATERIAL = "polyurethane"
#: growth of r^2 in m^2/s: diffusivity of a gas in a polymer (some 1e-10) times its supersaturation
GROWTH_M2_S = 1.0e-9
#: density in kg/m^3, of polyurethane; viscosity in Pa s, of a melt that has not cured; gravity in m/s^2
DENSITY, VISCOSITY, GRAVITY = 1200.0, 0.08, 9.81
#: time for which a film holds a bubble at the surface in s
FILM_S = 0.15

#: radius of the drop without gas in units (see ``phantoms``)
_DROP = 50.0
#: bubbles that nucleate, their radius then, and the share of them that is there at the start
_BUBBLES, _NUCLEUS, _EARLY = 56, 2.0, 0.5
#: matter between a bubble and the surface
_WALL = 1.5
#: steps of the motion between two times, at the least, and longest step in s
_STEPS, _STEP_S = 4, 0.005


@dataclass
class Bubble:
    """A bubble: centre (x, y, z) and radius in m; time since when it is held by the surface, or None."""

    centre: NDArray[np.float64]
    radius: float
    held_since: float | None = None


class Melt:
    """The drop at a time, which only goes on.

    Attributes
    ----------
    bubbles : those that are there.
    counts : what has happened so far: 'coalesced' and 'burst'.
    """

    def __init__(self, unit_m: float, duration_s: float, seed: int) -> None:
        random = np.random.default_rng([seed & 0xFFFFFFFF, 8])
        self.unit, self.time = unit_m, 0.0
        self.bubbles: list[Bubble] = []
        self.counts = {"coalesced": 0, "burst": 0}
        early = random.random(_BUBBLES) < _EARLY
        births = np.where(early, 0.0, random.uniform(0, 0.8 * duration_s, _BUBBLES))
        ways = random.standard_normal((_BUBBLES, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        places = ways * np.cbrt(random.random(_BUBBLES))[:, None] * (_DROP - 3 * _NUCLEUS) * unit_m
        self._coming = [(float(births[i]), places[i]) for i in np.argsort(births, kind="stable")]
        self._nucleate()

    @property
    def radius(self) -> float:
        """Radius of the drop in m: that of melt and gas."""
        gas = sum(bubble.radius**3 for bubble in self.bubbles)
        return float(np.cbrt((_DROP * self.unit) ** 3 + gas))

    def advance(self, time_s: float) -> None:
        """Go on to a time in s."""
        steps = max(_STEPS, math.ceil((time_s - self.time) / _STEP_S)) if time_s > self.time else 0
        step = (time_s - self.time) / steps if steps else 0.0
        for _ in range(steps):
            self.time += step
            self._nucleate()
            self._grow_and_rise(step)
            self._coalesce()
            self._burst()

    def phantom(self) -> Phantom:
        """The solids of this time."""
        drop = sphere("melt", MATERIAL, (0.0, 0.0, 0.0), self.radius, key="melt")
        return Phantom((drop, *(_solid(bubble) for bubble in self.bubbles)))

    def _nucleate(self) -> None:
        while self._coming and self._coming[0][0] <= self.time:
            new = Bubble(self._coming.pop(0)[1], _NUCLEUS * self.unit)
            if all(_gap(new, other) > self.unit for other in self.bubbles):
                self.bubbles.append(new)

    def _grow_and_rise(self, step: float) -> None:
        self.bubbles.sort(
            key=lambda bubble: float(np.linalg.norm(bubble.centre))
        )  # it moves those outside it
        grown = 0.0
        for bubble in self.bubbles:
            before, off = bubble.radius**3, float(np.linalg.norm(bubble.centre))
            bubble.radius = math.sqrt(bubble.radius**2 + GROWTH_M2_S * step)
            if off > 0:
                bubble.centre *= float(np.cbrt(off**3 + grown)) / off
            bubble.centre[2] -= 2 * DENSITY * GRAVITY * bubble.radius**2 / (9 * VISCOSITY) * step
            grown += bubble.radius**3 - before
        for bubble in self.bubbles:
            self._keep_inside(bubble)

    def _keep_inside(self, bubble: Bubble) -> None:
        """A bubble stays below the surface, and is held there."""
        off, room = float(np.linalg.norm(bubble.centre)), self.radius - _WALL * self.unit - bubble.radius
        if off >= room:
            bubble.centre *= max(room, 0.0) / off
            if bubble.held_since is None:
                bubble.held_since = self.time

    def _coalesce(self) -> None:
        while pair := next(
            ((a, b) for i, a in enumerate(self.bubbles) for b in self.bubbles[:i] if _gap(a, b) < 0), None
        ):
            a, b = pair
            shares = a.radius**3, b.radius**3
            merged = Bubble(
                (shares[0] * a.centre + shares[1] * b.centre) / sum(shares), float(np.cbrt(sum(shares)))
            )
            self.bubbles = [bubble for bubble in self.bubbles if bubble is not a and bubble is not b]
            self._keep_inside(merged)
            self.bubbles.append(merged)
            self.counts["coalesced"] += 1

    def _burst(self) -> None:
        for bubble in [b for b in self.bubbles if b.held_since is not None]:
            if self.time - (bubble.held_since or 0.0) >= FILM_S:
                self.bubbles = [other for other in self.bubbles if other is not bubble]
                self.counts["burst"] += 1
        for bubble in self.bubbles:
            self._keep_inside(bubble)


def _solid(bubble: Bubble) -> Solid:
    x, y, z = bubble.centre.tolist()
    return sphere("bubbles", None, (x, y, z), bubble.radius, inside="melt")


def _gap(a: Bubble, b: Bubble) -> float:
    """Matter between two bubbles in m."""
    return float(np.linalg.norm(a.centre - b.centre)) - a.radius - b.radius


def foaming(unit_m: float, times_s: Sequence[float], seed: int) -> tuple[Phantom, ...]:
    """The foaming melt at every time.

    Parameters
    ----------
    unit_m : length of a unit in m: a pixel of a detector of 160 x 128 pixels.
    times_s : increasing, from 0 on.
    seed : where and when bubbles nucleate.
    """
    melt = Melt(unit_m, times_s[-1], seed)
    samples = []
    for time in times_s:
        melt.advance(time)
        samples.append(melt.phantom())
    return tuple(samples)
