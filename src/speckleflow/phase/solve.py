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
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError
from speckleflow.margins import air_mask
from speckleflow.phase.air import air_level, check_margins
from speckleflow.phase.bases import Basis, basis_of, image
from speckleflow.phase.checks import displacement_pair, same_shape
from speckleflow.physics import phase_gradient_per_px

Boundary = Literal["mirror", "dct", "periodic"]
Array = NDArray[Any]

#: A pixel's weight relative to the median's: an expected error is itself only known to a factor of 3. At edges
#: error and displacement are large together, so that a wider range takes phase away from everything behind
#: them (simulated demo: delta -4 % with 1e-3, -2 % with 1e-1, -0.5 % without weights, at a background noise of
#: 1.6, 1.7 and 2.3 % of the range).
WEIGHT_RANGE = (1e-1, 1e1)
#: Weight of a rejected pixel: an area enclosed by them must still take its level from somewhere.
REJECTED = 1e-3
#: An expected error this many times the median's is none: at edges it reaches ten times, lost pixels pass fifty.
LOST = 30.0
#: Conjugate gradients stop when their last ``CG_LOOK`` steps lowered the weighted sum of squares S by less
#: than this fraction of S (S / pixels is the variance of the noise). The phase is then 3 % of the background noise
#: (rms) from the least squares, in the background itself 2.5 %; 1e-6 makes it 0.06 % in 2.3 times the time
#: (benchmarks/integration.md).
CG_TOLERANCE = 1e-3
CG_LOOK = 2
#: ... or when the residual is this fraction of S: 1e-6 of its amplitude, what float32 holds, ...
REST = 1e-12
#: ... or after so many steps.
CG_STEPS = 100
#: The preconditioner's largest variance, of 1 / ``REJECTED``: between 30 and 300 its effect is the same, without any
#: bound 12 steps leave three times the error (simulated scan of benchmarks/integration.md).
PRECONDITIONER_VARIANCE = 100.0


def integrate_displacement(
    ux: ArrayLike,
    uy: ArrayLike,
    *,
    energy_kev: float,
    pixel_size_m: float,
    distance_m: float,
    boundary: Boundary = "mirror",
    air: Sequence[int] = (0, 0, 0, 0),
    order: int = 0,
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
    order
        Of the surface that is fitted to the air and taken off: 0 constant, 1 plane (a ramp), 2 quadratic.
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

    The weighted system is solved by conjugate gradients from the unweighted solution until the error left is
    3 % of the background noise (``CG_TOLERANCE``), in float32, one projection at a time.

    Raises
    ------
    InputError
        Shapes differ, a displacement is not finite, an image is smaller than 4 pixels, the margins do not
        fit, or a ramp is asked for without margins.
    """
    return phase_and_curl(
        ux,
        uy,
        energy_kev=energy_kev,
        pixel_size_m=pixel_size_m,
        distance_m=distance_m,
        boundary=boundary,
        air=air,
        order=order,
        sigma=sigma,
        reject=reject,
        workers=workers,
    )[0]


def phase_and_curl(
    ux: ArrayLike,
    uy: ArrayLike,
    *,
    energy_kev: float,
    pixel_size_m: float,
    distance_m: float,
    boundary: Boundary = "mirror",
    air: Sequence[int] = (0, 0, 0, 0),
    order: int = 0,
    sigma: ArrayLike | None = None,
    reject: ArrayLike | None = None,
    workers: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What :func:`integrate_displacement` and :func:`curl_rms` return, for little more than the first alone.

    Parameters, errors: those of :func:`integrate_displacement`.

    Returns
    -------
    phase : (B, y, x) float32, in rad.
    curl : (B,) float32, in px.
    """
    ux, uy = displacement_pair(ux, uy)
    sigma = same_shape("sigma", sigma, ux)
    reject = same_shape("reject", reject, ux)
    if boundary not in get_args(Boundary):
        raise InputError("boundary", expected=" or ".join(get_args(Boundary)), found=repr(boundary))
    shape = (ux.shape[1], ux.shape[2])
    empty = air_mask(shape, air)
    check_margins(empty, order)
    basis = basis_of(boundary, shape, workers)
    scale = phase_gradient_per_px(energy_kev, pixel_size_m, distance_m)
    out, curl = np.empty(ux.shape, np.float32), np.empty(len(ux), np.float32)
    for i in range(len(ux)):
        z, rest_x, rest_y, curl[i] = _projected(basis, ux[i], uy[i])
        if sigma is not None or reject is not None:
            variance = _variance(
                None if sigma is None else sigma[i], None if reject is None else reject[i], shape
            )
            vx, vy = basis.variance(variance)
            z += _conjugate_gradients(basis, rest_x, rest_y, vx, vy)
        phase = basis.phase(z)
        phase -= air_level(phase, empty, order)
        np.multiply(phase, scale, out=out[i])
    return out, curl


def curl_rms(
    ux: ArrayLike, uy: ArrayLike, *, boundary: Boundary = "mirror", workers: int = 1
) -> NDArray[np.float32]:
    """Root mean square, in pixels, of the part of the displacement that is no gradient of any phase; (B,).

    A consistency figure that needs no truth: white noise of standard deviation s in either component gives s,
    and what exceeds the expected error is a systematic error (crossing rays, mismatched frames).
    """
    ux, uy = displacement_pair(ux, uy)
    basis = basis_of(boundary, (ux.shape[1], ux.shape[2]), workers)
    return np.array([_projected(basis, x, y)[3] for x, y in zip(ux, uy, strict=True)], np.float32)


def _projected(basis: Basis, ux: Array, uy: Array) -> tuple[Array, Array, Array, float]:
    """Unweighted solution z, what it leaves of the gradient along x and y, and the root mean square of that."""
    gx, gy = basis.data(ux, uy)
    fx, fy = basis.data(ux, uy)
    z = basis.analyse(fx, fy, basis.coefficients())
    fx, fy = basis.synthesise(z, fx, fy)
    gx -= fx
    gy -= fy
    # one of the two degrees of freedom per pixel is the curl, hence no factor 1/2
    return z, gx, gy, float(np.sqrt((_dot(gx, gx) + _dot(gy, gy)) / ux.size))


def _conjugate_gradients(basis: Basis, gx: Array, gy: Array, vx: Array, vy: Array) -> Array:
    """Solve analyse(synthesise(z) / v) = analyse(g / v), from 0.

    In the coefficients z of an orthonormal gradient basis the unweighted operator is the identity. The
    preconditioner is the same operator with the weights' inverse, up to ``PRECONDITIONER_VARIANCE``: exact where
    they vary slowly. The gradient is overwritten.
    """
    ax, ay = (np.minimum(v, PRECONDITIONER_VARIANCE).astype(np.float32) for v in (vx, vy))
    wx, wy = ((1 / v).astype(np.float32) for v in (vx, vy))
    fx, fy = image(gx.shape), image(gy.shape)

    def between(c: Array, ax: Array, ay: Array, out: Array) -> Array:
        x, y = basis.synthesise(c, fx, fy)
        x *= ax
        y *= ay
        return basis.analyse(x, y, out)

    squares = _dot(wx * gx, gx) + _dot(wy * gy, gy)
    gx *= wx
    gy *= wy
    residual = basis.analyse(gx, gy, basis.coefficients())
    z = np.zeros_like(residual)
    nearer = between(residual, ax, ay, basis.coefficients())
    direction, rest = nearer.copy(), _dot(residual, nearer)
    mapped, gains = basis.coefficients(), list[float]()
    while rest > REST * squares and len(gains) < CG_STEPS:
        mapped = between(direction, wx, wy, mapped)
        step = rest / _dot(direction, mapped)
        z += np.float32(step) * direction
        gains.append(step * rest)
        squares -= gains[-1]
        if len(gains) >= CG_LOOK and sum(gains[-CG_LOOK:]) < CG_TOLERANCE * squares:
            break
        residual -= np.float32(step) * mapped
        nearer = between(residual, ax, ay, nearer)
        rest, before = _dot(residual, nearer), rest
        direction *= np.float32(rest / before)
        direction += nearer
    return z


def _dot(a: Array, b: Array) -> float:
    """Real part of the scalar product; row by row in float32, over the rows in float64."""
    return float(np.einsum("ij,ij->i", a.conj(), b).real.sum(dtype=np.float64))


def _variance(sigma: Array | None, reject: Array | None, shape: tuple[int, int]) -> Array:
    """Variance of each pixel relative to the median's: 1 / ``WEIGHT_RANGE``, 1 / ``REJECTED``."""
    smallest, largest = WEIGHT_RANGE
    trusted = np.ones(shape, bool) if reject is None else ~reject.astype(bool)
    variance = np.ones(shape, np.float32)
    if sigma is not None:
        trusted &= np.isfinite(sigma)
        if trusted.any() and (middle := float(np.median(sigma[trusted]))) > 0:
            variance[trusted] = (sigma[trusted] / middle) ** 2
            trusted &= sigma <= LOST * middle
    variance = np.clip(variance, 1 / largest, 1 / smallest)
    variance[~trusted] = 1 / REJECTED
    return variance
