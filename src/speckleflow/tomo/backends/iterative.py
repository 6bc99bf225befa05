"""Algebraic reconstruction: a slice whose projections differ from the sinogram by no more than its noise.

For few angles, a missing wedge or noisy projections. The projector is :class:`.projector.FourierProjector`; projections
count alike, whatever the spacing of their angles, and ``filter`` does not count. Every method stops when the difference
A x - b (RMS) has come down to ``DISCREPANCY`` times the noise of the sinogram, which is measured on it
(:func:`speckleflow.tomo.sinogram_noise.sinogram_noise`; Morozov's discrepancy principle), when it no longer changes, or
after ``most`` steps. No number is chosen by the user.

* ``sirt``: Gregor and Benson, IEEE Trans. Med. Imaging 27, 918 (2008), doi 10.1109/TMI.2008.923696.
* ``cgls``: conjugate gradients of the normal equations (Hestenes and Stiefel, J. Res. NBS 49, 409 (1952)).
* ``tv``: the least total variation among the slices that fit to the noise, so that its weight follows from the noise
  (Sidky, Jorgensen and Pan, Phys. Med. Biol. 57, 3065 (2012), doi 10.1088/0031-9155/57/10/3065, by the algorithm of
  Chambolle and Pock, J. Math. Imaging Vis. 40, 120 (2011), doi 10.1007/s10851-010-0251-1).

With ``padding`` edge the slice is twice as wide as the detector while it is solved for, and what lies outside the view
takes what the slice cannot explain: no cupping.
"""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import ClassVar, NamedTuple

import numpy as np

from speckleflow.tomo.backends.base import Backend, Float
from speckleflow.tomo.backends.fourier import FourierBackend
from speckleflow.tomo.backends.projector import FourierProjector
from speckleflow.tomo.sinogram_noise import sinogram_noise

#: The difference at which to stop, over the noise: its measured value is 5 to 15 % low.
DISCREPANCY = 1.1
#: The least noise over the greatest value of a sinogram, what pixels of finite size leave of sharp edges.
LEAST_NOISE = 5e-4
#: A difference that shrinks by less than this part in a step has stopped to change.
SHRINKS = 0.002


class Solved(NamedTuple):
    """A slice, the steps it took, and whether its projections fit to the noise."""

    slice: Float
    steps: int
    fits: bool


class IterativeBackend(Backend):
    """Common part: projectors, one for each thread, and the stopping rule."""

    linear = False
    #: Steps at most.
    most: ClassVar[int]

    def _set_up(self) -> None:
        # twice as wide with whole pixels of margin on either side
        self._side = 2 * self.columns + self.columns % 2 if self.padding == "edge" else self.columns
        self._idle: SimpleQueue[FourierProjector] = SimpleQueue()
        self._prepare()

    def _prepare(self) -> None:
        """What the method needs once a geometry."""

    @classmethod
    def stopping_rule(cls) -> str:
        """The rule in words, for the file."""
        return (
            f"RMS of A x - b at {DISCREPANCY:g} times the noise of the sinogram, or it changes by less than "
            f"{SHRINKS:g} of itself, or {cls.most} steps"
        )

    def _reconstruct(self, sinograms: Float, slices: Float) -> None:
        if self.threads == 1 or len(sinograms) == 1:
            solved = [self._one(sinogram) for sinogram in sinograms]
        else:
            with ThreadPoolExecutor(min(self.threads, len(sinograms))) as pool:
                solved = list(pool.map(self._one, sinograms))
        margin = (self._side - self.columns) // 2
        inside = slice(margin, margin + self.columns)
        for slice_, one in zip(slices, solved, strict=True):
            slice_[...] = one.slice[inside, inside]
        self.counts = {
            "steps": sum(one.steps for one in solved),
            "fits_noise": sum(bool(one.fits) for one in solved),
        }

    def _one(self, sinogram: Float) -> Solved:
        try:
            projector = self._idle.get_nowait()
        except Empty:
            projector = self._projector()
        greatest = float(np.abs(sinogram).max())
        noise = max(DISCREPANCY * sinogram_noise(sinogram, self.angles_deg), LEAST_NOISE * greatest)
        try:
            if greatest == 0:
                return Solved(np.zeros((self._side, self._side), np.float32), 0, True)
            return self._solve(sinogram, projector, noise)
        finally:
            self._idle.put(projector)

    def _projector(self) -> FourierProjector:
        return FourierProjector(self.angles_deg, self.columns, self.axis_px, self._side)

    @abstractmethod
    def _solve(self, sinogram: Float, projector: FourierProjector, enough: float) -> Solved:
        """One slice, whose projections differ from a sinogram that is not zero by ``enough`` (RMS)."""


class SirtBackend(IterativeBackend):
    """Simultaneous iterative reconstruction: smooth first, sharper with every step."""

    name = "sirt"
    most = 200

    def _prepare(self) -> None:
        projector = self._projector()
        rows = projector.project(np.ones((self._side, self._side), np.float32))
        columns = projector.back_project(np.ones((len(self.angles_deg), self.columns), np.float32))
        # a ray or a pixel that meets next to nothing does not count
        self._rows, self._columns = (
            np.divide(1, sums, out=np.zeros_like(sums), where=sums > least)
            for sums, least in ((rows, 1), (columns, 0.05 * len(self.angles_deg)))
        )
        self._idle.put(projector)

    def _solve(self, sinogram: Float, projector: FourierProjector, enough: float) -> Solved:
        x, before = np.zeros((self._side, self._side), np.float32), np.inf
        for step in range(self.most + 1):
            rest = sinogram - projector.project(x)
            size = _rms(rest)
            if size <= enough or size > (1 - SHRINKS) * before or step == self.most:
                break
            x += self._columns * projector.back_project(self._rows * rest)
            before = size
        return Solved(x, step, size <= enough)


class CglsBackend(IterativeBackend):
    """Conjugate gradients: as SIRT in a tenth of the steps."""

    name = "cgls"
    most = 60

    def _solve(self, sinogram: Float, projector: FourierProjector, enough: float) -> Solved:
        x = np.zeros((self._side, self._side), np.float32)
        rest, size = sinogram.copy(), _rms(sinogram)
        gradient = projector.back_project(rest)
        direction, power, step = gradient.copy(), _dot(gradient, gradient), 0
        while size > enough and step < self.most and power > 0:
            line = projector.project(direction)
            length = np.float32(power / _dot(line, line))
            x += length * direction
            rest -= length * line
            before, size, step = size, _rms(rest), step + 1
            if size > (1 - SHRINKS) * before:
                break
            gradient, last = projector.back_project(rest), power
            power = _dot(gradient, gradient)
            direction = gradient + np.float32(power / last) * direction
        return Solved(x, step, size <= enough)


class TvBackend(IterativeBackend):
    """Least total variation: flat regions with sharp edges, from few angles and in noise."""

    name = "tv"
    most = 200
    #: Step along the slice over step along its duals, of a slice of about 1: any value from 0.01 to 0.1 ends alike.
    ratio = 0.03
    #: The difference is at the noise within this part, and the slice changes by less than this part of it in a step.
    within, changes = 0.05, 1e-3

    @classmethod
    def stopping_rule(cls) -> str:
        """The rule in words, for the file."""
        return (
            f"least total variation with RMS of A x - b at {DISCREPANCY:g} times the noise of the sinogram: within "
            f"{cls.within:g} of it while the slice changes by less than {cls.changes:g} of itself, or {cls.most} steps"
        )

    def _prepare(self) -> None:
        projector = self._projector()
        self._norm = projector.norm()
        self._idle.put(projector)
        self._start = FourierBackend(
            self.angles_deg, self.columns, self.axis_px, "parzen", threads=1, padding=self.padding
        )

    def _solve(self, sinogram: Float, projector: FourierProjector, enough: float) -> Solved:
        margin = (self._side - self.columns) // 2
        x = np.pad(self._start(sinogram[None])[0], margin)
        scale = np.float32(np.abs(x).max())
        x /= scale
        sinogram = sinogram / scale
        radius = enough * np.sqrt(sinogram.size) / float(scale)
        # the gradient, whose norm is the square root of 8, weighs as much as the projection
        slope = np.float32(self._norm / np.sqrt(8))
        along = np.float32(self.ratio / (np.sqrt(2) * self._norm))
        across = np.float32(1 / (self.ratio * np.sqrt(2) * self._norm))
        ahead = x
        of_lines, of_slopes = np.zeros_like(sinogram), np.zeros((2, *x.shape), np.float32)
        step, fits = 0, False
        while step < self.most:
            step += 1
            rest = projector.project(ahead) - sinogram
            of_lines += across * rest
            length = float(np.linalg.norm(of_lines))
            of_lines *= np.float32(max(0.0, 1 - float(across) * radius / length) if length else 1)
            of_slopes += across * slope * _gradient(ahead)
            of_slopes /= np.maximum(1, np.sqrt((of_slopes**2).sum(0)))
            following = x - along * (projector.back_project(of_lines) - slope * _divergence(of_slopes))
            change = float(np.linalg.norm(following - x)) / max(float(np.linalg.norm(x)), 1e-12)
            ahead, x = 2 * following - x, following
            fits = float(np.linalg.norm(rest)) <= (1 + self.within) * radius
            if fits and change < self.changes:
                break
        return Solved(x * scale, step, fits)


def _rms(values: Float) -> float:
    return float(np.linalg.norm(values)) / np.sqrt(values.size)


def _dot(first: Float, second: Float) -> float:
    return float(np.vdot(first, second))


def _gradient(image: Float) -> Float:
    slope = np.zeros((2, *image.shape), np.float32)
    slope[0, :-1] = image[1:] - image[:-1]
    slope[1, :, :-1] = image[:, 1:] - image[:, :-1]
    return slope


def _divergence(slopes: Float) -> Float:
    """Minus the transpose of :func:`_gradient`."""
    out = np.zeros(slopes.shape[1:], np.float32)
    out[:-1] += slopes[0, :-1]
    out[1:] -= slopes[0, :-1]
    out[:, :-1] += slopes[1, :, :-1]
    out[:, 1:] -= slopes[1, :, :-1]
    return out
