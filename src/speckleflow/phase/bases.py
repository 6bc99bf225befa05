"""Orthonormal bases of gradient fields: the least-squares integration under each boundary condition."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[Any]


class Basis(Protocol):
    """An orthonormal set of gradient fields: z are coefficients, the maps below are isometries on their
    range."""

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        """The gradient where this basis wants it."""

    def variance(self, variance: Array) -> tuple[Array, Array]:
        """The variance of what :meth:`data` returns, from that of each pixel's gradient."""

    def analyse(self, gx: Array, gy: Array) -> Array:
        """Coefficients of the integrable part of a gradient field (the least-squares projection)."""

    def synthesise(self, z: Array) -> tuple[Array, Array]:
        """The gradient field of coefficients z; adjoint and right inverse of :meth:`analyse`."""

    def phase(self, z: Array) -> Array:
        """The phase of coefficients z, mean 0."""


class _Spectral:
    """Gradients at the pixel centres and the spectral derivative, shared by 'mirror' and 'periodic'."""

    def __init__(self, ky: Array, kx: Array, workers: int) -> None:
        self.workers = workers
        k = np.hypot(ky[:, None], kx[None, :])
        inverse = np.divide(1.0, k, out=np.zeros_like(k), where=k > 0)  # the mean is not in the gradient
        self.inverse, self.rx, self.ry = inverse, kx[None, :] * inverse, ky[:, None] * inverse

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        return gx, gy

    def variance(self, variance: Array) -> tuple[Array, Array]:
        return variance, variance


class Mirror(_Spectral):
    """phi continued evenly across every border: cosines for phi, sines for its derivative.

    Equal to the Fourier solution on the antisymmetric extension of the gradients to twice the size, at a
    quarter of its cost. The Nyquist sine (k = n) has no cosine partner: no phase produces it.
    """

    def __init__(self, shape: tuple[int, int], workers: int) -> None:
        ky, kx = (np.pi * np.arange(n) / n for n in shape)
        super().__init__(ky, kx, workers)

    def analyse(self, gx: Array, gy: Array) -> Array:
        sine_x = self._cos(self._sin(gx, -1), -2)[:, :-1]
        sine_y = self._cos(self._sin(gy, -2), -1)[:-1]
        z = np.zeros_like(self.inverse)
        z[:, 1:] -= self.rx[:, 1:] * sine_x
        z[1:] -= self.ry[1:] * sine_y
        return z

    def synthesise(self, z: Array) -> tuple[Array, Array]:
        sine_x, sine_y = np.zeros_like(z), np.zeros_like(z)
        sine_x[:, :-1] = -(self.rx * z)[:, 1:]
        sine_y[:-1] = -(self.ry * z)[1:]
        gx = fft.idst(self._icos(sine_x, -2), 2, axis=-1, norm="ortho", workers=self.workers)
        gy = fft.idst(self._icos(sine_y, -1), 2, axis=-2, norm="ortho", workers=self.workers)
        return gx, gy

    def phase(self, z: Array) -> Array:
        return self._icos(self._icos(z * self.inverse, -1), -2)

    def _sin(self, a: Array, axis: int) -> Array:
        return fft.dst(a, 2, axis=axis, norm="ortho", workers=self.workers)

    def _cos(self, a: Array, axis: int) -> Array:
        return fft.dct(a, 2, axis=axis, norm="ortho", workers=self.workers)

    def _icos(self, a: Array, axis: int) -> Array:
        return fft.idct(a, 2, axis=axis, norm="ortho", workers=self.workers)


class Periodic(_Spectral):
    """phi continued periodically: the classical Frankot-Chellappa. A mean gradient is not periodic and is
    lost."""

    def __init__(self, shape: tuple[int, int], workers: int) -> None:
        wave_numbers = []
        for n in shape:
            k = 2 * np.pi * np.fft.fftfreq(n)
            if n % 2 == 0:
                k[n // 2] = 0.0  # the derivative of the Nyquist cosine vanishes at every pixel
            wave_numbers.append(k)
        super().__init__(wave_numbers[0], wave_numbers[1], workers)

    def analyse(self, gx: Array, gy: Array) -> Array:
        return -1j * (self.rx * self._fft(gx) + self.ry * self._fft(gy))

    def synthesise(self, z: Array) -> tuple[Array, Array]:
        return self._ifft(1j * self.rx * z), self._ifft(1j * self.ry * z)

    def phase(self, z: Array) -> Array:
        return self._ifft(z * self.inverse)

    def _fft(self, a: Array) -> Array:
        return fft.fft2(a, norm="ortho", workers=self.workers)

    def _ifft(self, z: Array) -> Array:
        return fft.ifft2(z, norm="ortho", workers=self.workers).real


class Neumann:
    """Nothing assumed beyond the border: differences of neighbours, whose normal equations (a Poisson
    equation with Neumann conditions) the DCT diagonalises."""

    def __init__(self, shape: tuple[int, int], workers: int) -> None:
        self.workers = workers
        ky, kx = (2 * np.sin(np.pi * np.arange(n) / (2 * n)) for n in shape)
        k = np.hypot(ky[:, None], kx[None, :])
        self.inverse = np.divide(1.0, k, out=np.zeros_like(k), where=k > 0)

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        return cubic_between(gx, 1), cubic_between(gy.T, 1).T

    def variance(self, variance: Array) -> tuple[Array, Array]:
        return cubic_between(variance, 2), cubic_between(variance.T, 2).T

    def analyse(self, gx: Array, gy: Array) -> Array:
        divergence = np.zeros_like(self.inverse)  # the adjoint of the differences
        divergence[:, 1:] += gx
        divergence[:, :-1] -= gx
        divergence[1:] += gy
        divergence[:-1] -= gy
        return fft.dctn(divergence, 2, norm="ortho", workers=self.workers) * self.inverse

    def synthesise(self, z: Array) -> tuple[Array, Array]:
        phase = self.phase(z)
        return np.diff(phase, axis=1), np.diff(phase, axis=0)

    def phase(self, z: Array) -> Array:
        return fft.idctn(z * self.inverse, 2, norm="ortho", workers=self.workers)


def cubic_between(a: Array, power: int) -> Array:
    """Integral of the cubic through four neighbours along x, from pixel i to i + 1 (n - 1 of them).

    ``power`` 2 takes the coefficients squared: the variance of that integral.
    """
    inner = np.array([-1.0, 13.0, 13.0, -1.0]) / 24
    end = np.array([9.0, 19.0, -5.0, 1.0]) / 24
    inner, end = inner**power, end**power
    n = a.shape[1]
    out = np.empty((a.shape[0], n - 1))
    out[:, 1:-1] = sum(c * a[:, i : n - 3 + i] for i, c in enumerate(inner))
    out[:, 0] = a[:, :4] @ end
    out[:, -1] = a[:, :-5:-1] @ end
    return out


BASES: dict[str, type[Any]] = {"mirror": Mirror, "dct": Neumann, "periodic": Periodic}
