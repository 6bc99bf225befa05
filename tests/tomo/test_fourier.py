"""The Fourier backend against filtered back-projection summed term by term in float64."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.tomo.backends import make_backend

ANGLES = np.array([3.0, 17.0, 40.0, 47.0, 80.0, 111.0, 122.0, 150.0, 168.0])
#: half of both neighbouring gaps (15, 14, 23, 7, 33, 31, 11, 28, 18 before each), in degrees
WEIGHTS = np.array([14.5, 18.5, 15.0, 20.0, 32.0, 21.0, 19.5, 23.0, 16.5])


def back_projection(sinogram: np.ndarray, axis_px: float, response, length: int) -> np.ndarray:
    """Sum over angles of weight x filtered projection at axis + x cos + y sin, y up the rows.

    The projections are convolved with the ramp's kernel (1/4; -1 / (pi n)^2 for odd n) without wrap-around and
    interpolated by trigonometric polynomials of ``length`` pixels; ``response`` is a window over the frequency in
    cycles per pixel.
    """
    columns = sinogram.shape[1]
    n = np.fft.fftfreq(length, 1 / length)
    kernel = np.where(n % 2 != 0, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2, 0.0)
    kernel[0] = 0.25
    frequency = np.fft.fftfreq(length)
    transfer = np.fft.fft(kernel).real * response(np.abs(frequency))
    y, x = np.mgrid[:columns, :columns] - (columns - 1) / 2
    out = np.zeros((columns, columns))
    for projection, angle, weight in zip(sinogram, np.deg2rad(ANGLES), np.deg2rad(WEIGHTS), strict=True):
        spectrum = np.fft.fft(projection, length) * transfer
        s = axis_px + x * np.cos(angle) + y * np.sin(angle)
        wave = np.exp(2j * np.pi * frequency * s[..., None])
        out += weight * (wave @ spectrum).real / length
    return out


def hann(frequency: np.ndarray) -> np.ndarray:
    return np.cos(np.pi * frequency) ** 2


@pytest.mark.parametrize(("columns", "axis_px"), [(16, 7.5), (17, 5.2)])
def test_every_term_up_to_the_nyquist_frequency(columns, axis_px):
    """Without a window the sum depends on the length of the transform, so that it is the backend's own."""
    data = np.random.default_rng(2).normal(size=(1, len(ANGLES), columns)).astype(np.float32)
    backend = make_backend("fourier", ANGLES, columns, axis_px, "ramlak")
    wanted = back_projection(data[0].astype(np.float64), axis_px, np.ones_like, backend.padded)
    error = np.abs(backend(data)[0] - wanted).max() / np.abs(wanted).max()
    print(error)
    assert error < 6e-5


@pytest.mark.parametrize(("columns", "axis_px"), [(16, 7.5), (17, 5.2), (18, 13.4)])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_term(columns, axis_px, threads):
    """Three rows (an odd number: slices are made in pairs), soft filter: no frequency near Nyquist matters."""
    data = np.random.default_rng(1).normal(size=(3, len(ANGLES), columns)).astype(np.float32)
    backend = make_backend("fourier", ANGLES, columns, axis_px, "hann", threads=threads)
    np.testing.assert_allclose(np.rad2deg(backend.weights), WEIGHTS)
    slices = backend(data)
    y, x = np.mgrid[:columns, :columns] - (columns - 1) / 2
    inside = x**2 + y**2 <= (min(axis_px, columns - 1 - axis_px) + 0.5) ** 2
    for found, sinogram in zip(slices, data, strict=True):
        wanted = back_projection(sinogram.astype(np.float64), axis_px, hann, 16 * columns)
        error = np.abs(found - wanted)[inside].max() / np.abs(wanted[inside]).max()
        assert error < 6e-4  # measured 2e-5 to 3e-4
