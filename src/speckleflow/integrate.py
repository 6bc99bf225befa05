"""From displacement to phase: Frankot-Chellappa least squares, boundaries, weights, and the level of the air.

The phase is the function whose gradient comes closest to the measured one, min sum w |grad phi - g|^2 with
g = 2 pi p^2 u / (lambda d) per pixel (R. T. Frankot, R. Chellappa, IEEE Trans. PAMI 10, 439 (1988); mirrored
extension: A. Talmi, E. N. Ribak, J. Opt. Soc. Am. A 23, 288 (2006)).

Which derivative. The retrieved displacement is a mean over pixel and window, and averaging commutes with
differentiation: the mean gradient is EXACTLY the gradient of the phase averaged in the same way. The
derivative that inverts it without bias is therefore the spectral one, i k, and the result is the pixel-
averaged phase, the phase counterpart of the pixel-averaged transmission. A central difference, i sin k, would
raise frequency k by k / sin k (1.6 at half the Nyquist frequency, infinite at it). The spectral derivative is
used with the boundaries 'mirror' and 'periodic'. 'dct' cannot use it, since it makes no assumption beyond the
border: there the phase difference of neighbouring pixels is set against the integral of a cubic through four
displacements, whose transfer function, (k/2) (13 cos(k/2) - cos(3k/2)) / (12 sin(k/2)), is 0.98 at half the
Nyquist frequency and exact for polynomials of u up to the third order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from speckleflow.errors import InputError
from speckleflow.physics import phase_gradient_per_px

Boundary = Literal["mirror", "dct", "periodic"]
Array = NDArray[Any]

#: A pixel's weight relative to the median's: an expected error is itself only known to a factor of 3. At limbs
#: error and displacement are large together, so that a wider range takes phase away from everything behind
#: them (simulated demo: delta -4 % with 1e-3, -2 % with 1e-1, -0.5 % without weights, at a background noise of
#: 1.6, 1.7 and 2.3 % of the range).
WEIGHT_RANGE = (1e-1, 1e1)
#: Weight of a rejected pixel: an area enclosed by them must still take its level from somewhere.
REJECTED = 1e-3
#: An expected error this many times the median's is none: at limbs it reaches ten times, lost pixels pass fifty.
LOST = 30.0
#: Conjugate gradients stop when their last ``CG_LOOK`` steps lowered the weighted sum of squares S by less
#: than this fraction of S. S / pixels is the variance of the noise, so the error that is left is about
#: sqrt(1e-3) = 3 % of the statistical one. The look back of 5 is the usual delay of such an estimate (Z.
#: Strakos, P. Tichy, ETNA 13, 56 (2002)).
CG_TOLERANCE = 1e-3
CG_LOOK = 5
#: ... or here, which noise-free fields reach.
CG_STEPS = 200
#: A value of the air is an outlier (sample or dust in the margin) beyond this many robust standard
#: deviations.
AIR_CLIP_SIGMA = 3.0


class _Basis(Protocol):
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
    """What 'mirror' and 'periodic' share: gradients at the pixel centres and the spectral derivative."""

    def __init__(self, ky: Array, kx: Array, workers: int) -> None:
        self.workers = workers
        k = np.hypot(ky[:, None], kx[None, :])
        inverse = np.divide(1.0, k, out=np.zeros_like(k), where=k > 0)  # the mean is not in the gradient
        self.inverse, self.rx, self.ry = inverse, kx[None, :] * inverse, ky[:, None] * inverse

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        return gx, gy

    def variance(self, variance: Array) -> tuple[Array, Array]:
        return variance, variance


class _Mirror(_Spectral):
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


class _Periodic(_Spectral):
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


class _Neumann:
    """Nothing assumed beyond the border: differences of neighbours, whose normal equations (a Poisson
    equation with Neumann conditions) the DCT diagonalises."""

    def __init__(self, shape: tuple[int, int], workers: int) -> None:
        self.workers = workers
        ky, kx = (2 * np.sin(np.pi * np.arange(n) / (2 * n)) for n in shape)
        k = np.hypot(ky[:, None], kx[None, :])
        self.inverse = np.divide(1.0, k, out=np.zeros_like(k), where=k > 0)

    def data(self, gx: Array, gy: Array) -> tuple[Array, Array]:
        return _between(gx, 1), _between(gy.T, 1).T

    def variance(self, variance: Array) -> tuple[Array, Array]:
        return _between(variance, 2), _between(variance.T, 2).T

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


def _between(a: Array, power: int) -> Array:
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


_BASES: dict[str, type[Any]] = {"mirror": _Mirror, "dct": _Neumann, "periodic": _Periodic}


def integrate_displacement(
    ux: ArrayLike,
    uy: ArrayLike,
    *,
    energy_kev: float,
    pixel_size_m: float,
    distance_m: float,
    boundary: Boundary = "mirror",
    air: Sequence[int] = (0, 0, 0, 0),
    ramp: bool = False,
    sigma: ArrayLike | None = None,
    reject: ArrayLike | None = None,
    workers: int = 1,
) -> NDArray[np.float32]:
    """Phase in rad, negative in matter and 0 in air, from the displacement of each projection.

    Parameters
    ----------
    ux, uy : (B, y, x)
        Displacement in pixels on the reference grid, x to the right and y downward.
    energy_kev, pixel_size_m, distance_m
        Photon energy, effective pixel size, and propagation distance (divided by the magnification where the
        beam diverges).
    boundary
        How the phase continues beyond the image. 'mirror': evenly; right when air or a slowly varying sample
        meets the border. 'dct': no assumption; right when steep gradients cross the border. 'periodic': wraps
        around, and loses the mean displacement.
    air
        Width in pixels of the empty margins (left, right, top, bottom); the phase there is set to 0 (clipped
        mean). All 0: nothing is known to be empty, and the mean of the phase is 0.
    ramp
        Also take off the plane that fits the air.
    sigma : (B, y, x), optional
        Expected standard deviation of u in pixels; the squares are weighted by 1/sigma^2, relative to the
        median and within ``WEIGHT_RANGE``; not finite or above ``LOST`` medians, it rejects. Without it (and
        without ``reject``) all pixels count alike.
    reject : (B, y, x) bool, optional
        Pixels whose displacement is not to be trusted (at a bound, crossing rays): weight ``REJECTED``.
    workers
        Threads of the transforms.

    Returns
    -------
    phase : (B, y, x) float32

    The weighted system is solved by conjugate gradients, preconditioned by the unweighted solution, which is
    also its start, until the error left is 3 % of the statistical one (``CG_TOLERANCE``). Computation is
    in float64, one projection at a time: 2048 x 2048 takes 0.25 s, with smooth weights 4 s (dct) to 9 s, on
    one core.

    Raises
    ------
    InputError
        Shapes differ, a displacement is not finite, an image is smaller than 4 pixels, the margins do not
        fit, or a ramp is asked for without margins.
    """
    ux, uy = _pair(ux, uy)
    sigma = _companion("sigma", sigma, ux)
    reject = _companion("reject", reject, ux)
    if boundary not in get_args(Boundary):
        raise InputError("boundary", expected=" or ".join(get_args(Boundary)), found=repr(boundary))
    shape = (ux.shape[1], ux.shape[2])
    empty = air_mask(shape, air)
    if ramp and not empty.any():
        raise InputError("air margins", expected="at least one pixel, to fit a ramp to", found="none")
    basis: _Basis = _BASES[boundary](shape, workers)
    scale = phase_gradient_per_px(energy_kev, pixel_size_m, distance_m)
    out = np.empty(ux.shape, np.float32)
    for i in range(len(ux)):
        gx, gy = basis.data(ux[i].astype(np.float64), uy[i].astype(np.float64))
        z = basis.analyse(gx, gy)
        if sigma is not None or reject is not None:
            variance = _variance(
                None if sigma is None else sigma[i], None if reject is None else reject[i], shape
            )
            wx, wy = (1 / v for v in basis.variance(variance))
            z = _conjugate_gradients(basis, gx, gy, wx, wy, z)
        phase = basis.phase(z)
        phase -= _air_level(phase, empty, ramp)
        out[i] = scale * phase
    return out


def remove_drift(
    ux: ArrayLike, uy: ArrayLike, air: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Take the mean displacement of the air margins off each projection.

    Beam or mask move between reference and sample; that displacement is no refraction and would integrate to
    a ramp.

    Parameters
    ----------
    ux, uy : (B, y, x), displacement in pixels.
    air : widths in pixels of the empty margins (left, right, top, bottom).

    Returns
    -------
    ux, uy : (B, y, x) float32, without the drift.
    drift : (B, 2) float32, what was taken off, (x, y) in pixels: the mean of the air without its outliers.

    Raises
    ------
    InputError
        Shapes differ, a displacement is not finite, or the margins hold no pixel or do not fit.
    """
    ux, uy = _pair(ux, uy)
    empty = air_mask((ux.shape[1], ux.shape[2]), air)
    if not empty.any():
        raise InputError("air margins", expected="at least one pixel, to measure the drift in", found="none")
    drift = np.array(
        [[_clipped_mean(a[empty]), _clipped_mean(b[empty])] for a, b in zip(ux, uy, strict=True)]
    )
    drift = drift.astype(np.float32)
    return ux - drift[:, 0, None, None], uy - drift[:, 1, None, None], drift


def curl_rms(
    ux: ArrayLike, uy: ArrayLike, *, boundary: Boundary = "mirror", workers: int = 1
) -> NDArray[np.float32]:
    """Root mean square, in pixels, of the part of the displacement that is no gradient of any phase; (B,).

    A consistency figure that needs no truth: white noise of standard deviation s in either component gives s,
    and what exceeds the expected error is a systematic error (crossing rays, mismatched frames).
    """
    ux, uy = _pair(ux, uy)
    basis: _Basis = _BASES[boundary]((ux.shape[1], ux.shape[2]), workers)
    out = np.empty(len(ux), np.float32)
    for i in range(len(ux)):
        gx, gy = basis.data(ux[i].astype(np.float64), uy[i].astype(np.float64))
        fx, fy = basis.synthesise(basis.analyse(gx, gy))
        # one of the two degrees of freedom per pixel is the curl, hence no factor 1/2
        out[i] = np.sqrt((np.sum((gx - fx) ** 2) + np.sum((gy - fy) ** 2)) / ux[i].size)
    return out


def air_mask(shape: tuple[int, int], air: Sequence[int]) -> NDArray[np.bool_]:
    """True in the margins ``air`` = (left, right, top, bottom), in pixels, of an image of ``shape`` (y, x).

    Raises
    ------
    InputError
        Not four non-negative widths, or nothing of the image is left between them.
    """
    height, width = shape
    if len(air) != 4 or min(air) < 0:
        raise InputError(
            "air margins", expected="four widths >= 0 (left, right, top, bottom)", found=f"{list(air)}"
        )
    left, right, top, bottom = air
    if left + right >= width or top + bottom >= height:
        raise InputError(
            "air margins",
            expected=f"less than the image of {height} x {width} pixels (y, x)",
            found=f"{list(air)}",
        )
    mask = np.ones(shape, bool)
    mask[top : height - bottom, left : width - right] = False
    return mask


def _conjugate_gradients(basis: _Basis, gx: Array, gy: Array, wx: Array, wy: Array, z: Array) -> Array:
    """Solve analyse(w synthesise(z)) = analyse(w g) from the start z.

    In the coefficients z of an orthonormal gradient basis the unweighted operator is the identity, i.e. the
    system is preconditioned by the unweighted solution already.
    """

    def operator(c: Array) -> Array:
        fx, fy = basis.synthesise(c)
        return basis.analyse(wx * fx, wy * fy)

    right = basis.analyse(wx * gx, wy * gy)
    total = float(np.sum(wx * gx**2) + np.sum(wy * gy**2))
    residual = right - operator(z)
    direction, rest = residual, _dot(residual, residual)
    gains: list[float] = []
    for _ in range(CG_STEPS):
        squares = total - _dot(z, right) - _dot(z, residual)
        if rest <= np.finfo(float).eps * total or (
            len(gains) >= CG_LOOK and sum(gains[-CG_LOOK:]) < CG_TOLERANCE * squares
        ):
            break
        image = operator(direction)
        step = rest / _dot(direction, image)
        z = z + step * direction
        residual = residual - step * image
        gains.append(step * rest)
        rest, before = _dot(residual, residual), rest
        direction = residual + (rest / before) * direction
    return z


def _dot(a: Array, b: Array) -> float:
    return float(np.vdot(a, b).real)


def _variance(sigma: Array | None, reject: Array | None, shape: tuple[int, int]) -> Array:
    """Variance of each pixel relative to the median's: 1 / ``WEIGHT_RANGE``, 1 / ``REJECTED``."""
    smallest, largest = WEIGHT_RANGE
    trusted = np.ones(shape, bool) if reject is None else ~reject.astype(bool)
    variance = np.ones(shape)
    if sigma is not None:
        trusted &= np.isfinite(sigma)
        if trusted.any() and (middle := float(np.median(sigma[trusted]))) > 0:
            variance[trusted] = (sigma[trusted] / middle) ** 2
            trusted &= sigma <= LOST * middle
    variance = np.clip(variance, 1 / largest, 1 / smallest)
    variance[~trusted] = 1 / REJECTED
    return variance


def _air_level(phase: Array, empty: NDArray[np.bool_], ramp: bool) -> Array | float:
    if not empty.any():
        return 0.0
    if not ramp:
        return _clipped_mean(phase[empty])
    y, x = (np.arange(n) - (n - 1) / 2 for n in phase.shape)
    plane = np.stack([a[empty] for a in np.broadcast_arrays(1.0, x[None, :], y[:, None])], axis=1)
    values = phase[empty]
    keep = np.ones(len(values), bool)
    for _ in range(
        3
    ):  # the first plane may lean on outliers, the second is rid of them, the third is at rest
        level, *_ = np.linalg.lstsq(plane[keep], values[keep], rcond=None)
        keep = _inliers(values - plane @ level)
    return level[0] + level[1] * x[None, :] + level[2] * y[:, None]


def _clipped_mean(values: Array) -> float:
    return float(np.mean(values[_inliers(values)], dtype=np.float64))


def _inliers(values: Array) -> NDArray[np.bool_]:
    """Values within AIR_CLIP_SIGMA robust standard deviations (1.4826 MAD) of the median."""
    distance = np.abs(values - np.median(values))
    return distance <= AIR_CLIP_SIGMA * 1.4826 * np.median(distance)


def _pair(ux: ArrayLike, uy: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.asarray(ux, np.float32), np.asarray(uy, np.float32)
    if x.ndim != 3 or x.shape != y.shape:
        raise InputError(
            "displacement", expected="ux and uy of one shape (B, y, x)", found=f"{x.shape} and {y.shape}"
        )
    if min(x.shape[1:]) < 4:
        raise InputError(
            "displacement", expected="images of at least 4 x 4 pixels", found=f"{x.shape[1]} x {x.shape[2]}"
        )
    bad = int(np.count_nonzero(~np.isfinite(x)) + np.count_nonzero(~np.isfinite(y)))
    if bad:
        raise InputError("displacement", expected="finite values", found=f"{bad} NaN or infinite value(s)")
    return x, y


def _companion(name: str, values: ArrayLike | None, like: Array) -> Array | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != like.shape:
        raise InputError(name, expected=f"the displacement's shape {like.shape}", found=f"{array.shape}")
    return array
