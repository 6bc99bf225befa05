"""The limit that photons set to the phase of speckle tracking: the Cramer-Rao bound without a prior.

The displacement of a pixel is known to what the frames of its surroundings tell, with T and D unknown; the phase whose
gradient it is follows by weighted least squares. Both frames count their photons.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import LinearOperator, cg

Array = NDArray[np.float64]

#: least intensity that is divided by, in units of the beam
LEAST = 1e-3


def displacement_information(
    pattern: Array, transmission: Array, darkfield: Array, photons: float, window_px: float = 3.0
) -> Array:
    """Fisher information (y, x, 2, 2) in 1/px^2 of the displacement (x, y), in Gaussian windows.

    Parameters
    ----------
    pattern : reference (N, y, x) without noise, in units of the beam.
    transmission, darkfield : true T and D (y, x).
    photons : photons per pixel and frame in the empty beam.
    window_px : width of the windows in which T, D and the displacement are taken to be the same.

    Notes
    -----
    T and D are nuisance parameters (Schur complement); with one frame nothing but the displacement can be told and
    they are taken as known.
    """
    along_y, along_x = np.gradient(pattern, axis=(1, 2))
    detail = pattern - 1
    strength = transmission * darkfield
    # the sample's noise, and the reference's as the model carries it over
    variance = transmission * (1 + darkfield * detail) + strength**2 * pattern
    jacobian = np.stack(
        [1 + darkfield * detail, transmission * detail, -strength * along_x, -strength * along_y]
    )
    weighted = jacobian * (photons / np.maximum(variance, LEAST))
    products = np.einsum("inyx,jnyx->ijyx", weighted, jacobian)
    gram = np.moveaxis(gaussian_filter(products, (0, 0, window_px, window_px)), (0, 1), (2, 3))
    displacement = gram[..., 2:, 2:]
    if len(pattern) == 1:
        return displacement
    cross = gram[..., :2, 2:]
    contrasts = gram[..., :2, :2] + 1e-9 * np.eye(2)
    return displacement - np.swapaxes(cross, -1, -2) @ np.linalg.solve(contrasts, cross)


def phase_limit(
    information: Array, inside: NDArray[np.bool_], air: NDArray[np.bool_], draws: int = 4, seed: int = 1
) -> float:
    """Root mean square error in px^2 over ``inside`` of the best phase, its mean over ``air`` taken off.

    Parameters
    ----------
    information : of the displacement, (y, x, 2, 2) in 1/px^2.
    inside, air : masks (y, x).
    draws, seed : Monte Carlo draws of the weighted least-squares phase on periodic boundaries.
    """
    height, width = information.shape[:2]
    ky, kx = 2 * math.pi * np.fft.fftfreq(height)[:, None], 2 * math.pi * np.fft.fftfreq(width)[None]
    square = kx**2 + ky**2
    square[0, 0] = 1.0
    typical = float(np.median(np.trace(information, axis1=2, axis2=3))) / 2

    def gradient(phase: Array) -> Array:
        spectrum = np.fft.fft2(phase)
        return np.stack([np.fft.ifft2(1j * k * spectrum).real for k in (kx, ky)], axis=-1)

    def transposed(field: Array) -> Array:
        parts = (1j * k * np.fft.fft2(field[..., i]) for i, k in enumerate((kx, ky)))
        return -np.fft.ifft2(sum(parts)).real

    def normal(flat: Array) -> Array:
        slope = gradient(flat.reshape(height, width))
        return transposed(np.einsum("yxij,yxj->yxi", information, slope)).ravel()

    def precondition(flat: Array) -> Array:
        spectrum = np.fft.fft2(flat.reshape(height, width)) / square / typical
        spectrum[0, 0] = 0
        return np.fft.ifft2(spectrum).real.ravel()

    size = height * width
    operator = LinearOperator((size, size), normal, dtype=np.float64)
    preconditioner = LinearOperator((size, size), precondition, dtype=np.float64)
    root = np.linalg.cholesky(information + 1e-9 * typical * np.eye(2))
    random, squares = np.random.default_rng(seed), []
    for _ in range(draws):
        noise = np.einsum("yxij,yxj->yxi", root, random.standard_normal((height, width, 2)))
        solution, _ = cg(operator, transposed(noise).ravel(), M=preconditioner, rtol=1e-4, maxiter=300)
        phase = solution.reshape(height, width)
        squares.append(np.mean((phase[inside] - phase[air].mean()) ** 2))
    return float(np.sqrt(np.mean(squares)))
