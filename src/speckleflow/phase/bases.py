"""Orthonormal bases of gradient fields: the least-squares integration under each boundary condition.

All in float32: a transform loses 1e-7 of the gradient's rms, white, and integration makes about as many radians of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[Any]

#: Bytes between rows, beside their values: rows a power of two apart share the same lines of the cache, and a
#: transform along y takes 1.8 times as long (1024 and 2048 columns).
_GAP = 64


def image(shape: tuple[int, int]) -> Array:
    """An image of any values, float32, whose rows do not share lines of the cache."""
    return np.empty((shape[0], shape[1] + _GAP // 4), np.float32)[:, : shape[1]]


class Basis(Protocol):
    """An orthonormal set of gradient fields: z are coefficients, the maps below are isometries on their
    range."""

    def coefficients(self) -> Array:
        """Room for coefficients."""

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        """The gradient where this basis wants it, in arrays of its own."""

    def variance(self, variance: Array) -> tuple[Array, Array]:
        """The variance of what :meth:`data` returns, from that of each pixel's gradient."""

    def analyse(self, gx: Array, gy: Array, out: Array) -> Array:
        """Coefficients of the integrable part of a gradient field (the least-squares projection).

        The gradient is overwritten.
        """

    def synthesise(self, z: Array, gx: Array, gy: Array) -> tuple[Array, Array]:
        """The gradient field of coefficients z, written into gx and gy; adjoint and right inverse of
        :meth:`analyse`."""

    def phase(self, z: Array) -> Array:
        """The phase of coefficients z, mean 0."""


class _Spectral:
    """Gradients at the pixel centres and the spectral derivative, shared by 'mirror' and 'periodic'."""

    def __init__(self, ky: Array, kx: Array, workers: int) -> None:
        self.workers = workers
        k = np.hypot(ky[:, None], kx[None, :])
        inverse = np.divide(1.0, k, out=np.zeros_like(k), where=k > 0)  # the mean is not in the gradient
        self.inverse = inverse.astype(np.float32)
        self.rx = (kx[None, :] * inverse).astype(np.float32)
        self.ry = (ky[:, None] * inverse).astype(np.float32)

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        x, y = image(gx.shape), image(gy.shape)
        x[:], y[:] = gx, gy
        return x, y

    def variance(self, variance: Array) -> tuple[Array, Array]:
        return variance, variance


class Mirror(_Spectral):
    """phi continued evenly across every border: cosines for phi, sines for its derivative.

    Equal to the Fourier solution on the antisymmetric extension of the gradients to twice the size, at a
    quarter of its cost. The Nyquist sine (k = n) has no cosine partner: no phase produces it.
    """

    def __init__(self, shape: tuple[int, int], workers: int) -> None:
        ky, kx = (np.pi * np.arange(n) / n for n in shape)
        super().__init__(-ky, -kx, workers)  # the derivative of a cosine is minus a sine

    def coefficients(self) -> Array:
        return image(self.inverse.shape)

    def analyse(self, gx: Array, gy: Array, out: Array) -> Array:
        sine_x = self._do(scipy.fft.dct, self._do(scipy.fft.dst, gx, -1), -2)
        sine_y = self._do(scipy.fft.dct, self._do(scipy.fft.dst, gy, -2), -1)
        np.multiply(sine_x[:, :-1], self.rx[:, 1:], out=out[:, 1:])
        out[:, 0] = 0
        sine_y[:-1] *= self.ry[1:]
        out[1:] += sine_y[:-1]
        return out

    def synthesise(self, z: Array, gx: Array, gy: Array) -> tuple[Array, Array]:
        np.multiply(z[:, 1:], self.rx[:, 1:], out=gx[:, :-1])
        np.multiply(z[1:], self.ry[1:], out=gy[:-1])
        gx[:, -1] = gy[-1] = 0
        gx = self._do(scipy.fft.idst, self._do(scipy.fft.idct, gx, -2), -1)
        gy = self._do(scipy.fft.idst, self._do(scipy.fft.idct, gy, -1), -2)
        return gx, gy

    def phase(self, z: Array) -> Array:
        a = image(z.shape)
        np.multiply(z, self.inverse, out=a)
        return self._do(scipy.fft.idct, self._do(scipy.fft.idct, a, -1), -2)

    def _do(self, transform: Any, a: Array, axis: int) -> Array:
        return np.asarray(transform(a, 2, axis=axis, norm="ortho", overwrite_x=True, workers=self.workers))


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
        half = shape[1] // 2 + 1
        super().__init__(wave_numbers[0], wave_numbers[1][:half], workers)
        self.shape = shape
        # of two conjugate coefficients one is kept, sqrt(2) times as large: sums of squares stay what they are
        self.once = np.ones(half, np.float32)
        self.once[1 : (shape[1] + 1) // 2] = np.sqrt(2)

    def coefficients(self) -> Array:
        return np.empty(self.inverse.shape, np.complex64)

    def analyse(self, gx: Array, gy: Array, out: Array) -> Array:
        np.multiply(self._fft(gx), self.rx, out=out)
        out += self.ry * self._fft(gy)
        out *= np.complex64(-1j) * self.once
        return out

    def synthesise(self, z: Array, gx: Array, gy: Array) -> tuple[Array, Array]:
        z = z * (np.complex64(1j) / self.once)
        gx[:], gy[:] = self._ifft(self.rx * z), self._ifft(self.ry * z)
        return gx, gy

    def phase(self, z: Array) -> Array:
        return self._ifft(z * (self.inverse / self.once))

    def _fft(self, a: Array) -> Array:
        return np.asarray(scipy.fft.rfft2(a, norm="ortho", workers=self.workers))

    def _ifft(self, z: Array) -> Array:
        return np.asarray(
            scipy.fft.irfft2(z, self.shape, norm="ortho", overwrite_x=True, workers=self.workers)
        )


class Neumann:
    """Nothing assumed beyond the border: differences of neighbours, whose normal equations (a Poisson
    equation with Neumann conditions) the DCT diagonalises."""

    def __init__(self, shape: tuple[int, int], workers: int) -> None:
        self.workers = workers
        ky, kx = (2 * np.sin(np.pi * np.arange(n) / (2 * n)) for n in shape)
        k = np.hypot(ky[:, None], kx[None, :])
        self.inverse = np.divide(1.0, k, out=np.zeros_like(k), where=k > 0).astype(np.float32)

    def coefficients(self) -> Array:
        return image(self.inverse.shape)

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        return cubic_between(gx, 1), cubic_between(gy.T, 1).T

    def variance(self, variance: Array) -> tuple[Array, Array]:
        return cubic_between(variance, 2), cubic_between(variance.T, 2).T

    def analyse(self, gx: Array, gy: Array, out: Array) -> Array:
        out[:] = 0  # the divergence: the adjoint of the differences
        out[:, 1:] += gx
        out[:, :-1] -= gx
        out[1:] += gy
        out[:-1] -= gy
        z = scipy.fft.dctn(out, 2, norm="ortho", overwrite_x=True, workers=self.workers)
        return np.multiply(z, self.inverse, out=out)

    def synthesise(self, z: Array, gx: Array, gy: Array) -> tuple[Array, Array]:
        phase = self.phase(z)
        np.subtract(phase[:, 1:], phase[:, :-1], out=gx)
        np.subtract(phase[1:], phase[:-1], out=gy)
        return gx, gy

    def phase(self, z: Array) -> Array:
        a = image(z.shape)
        np.multiply(z, self.inverse, out=a)
        return np.asarray(scipy.fft.idctn(a, 2, norm="ortho", overwrite_x=True, workers=self.workers))


def cubic_between(a: Array, power: int) -> Array:
    """Integral of the cubic through four neighbours along x, from pixel i to i + 1 (n - 1 of them).

    ``power`` 2 takes the coefficients squared: the variance of that integral.
    """
    inner = np.array([-1.0, 13.0, 13.0, -1.0]) / 24
    end = np.array([9.0, 19.0, -5.0, 1.0]) / 24
    inner, end = (inner**power).astype(np.float32), (end**power).astype(np.float32)
    n = a.shape[1]
    out = np.empty((a.shape[0], n - 1), np.float32)
    out[:, 1:-1] = sum(c * a[:, i : n - 3 + i] for i, c in enumerate(inner))
    out[:, 0] = a[:, :4] @ end
    out[:, -1] = a[:, :-5:-1] @ end
    return out


BASES: dict[str, type[Any]] = {"mirror": Mirror, "dct": Neumann, "periodic": Periodic}


@lru_cache(maxsize=1)
def basis_of(boundary: str, shape: tuple[int, int], workers: int) -> Basis:
    """The basis of a boundary condition; that of the projection before is kept."""
    basis: Basis = BASES[boundary](shape, workers)
    return basis
