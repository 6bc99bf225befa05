"""Slices from few angles, a wedge and noise, against the phantom; the projector against exact line integrals."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, image, sinogram
from tests.tomo.test_backends import phantom

from speckleflow.tomo.backends import make_backend
from speckleflow.tomo.backends.iterative import DISCREPANCY, IterativeBackend
from speckleflow.tomo.backends.projector import FourierProjector
from speckleflow.tomo.backends.registry import BACKENDS, backend_class
from speckleflow.tomo.geometry import field_of_view
from speckleflow.tomo.sinogram_noise import sinogram_noise

ITERATIVE = ("sirt", "cgls", "tv")
#: 30 angles, clockwise, neither from 0 nor even, about an axis beside the centre
FEW = 40 - np.arange(30) * 6.0 - np.tile([0.0, 1.0, 0.4], 10)
COLUMNS, AXIS_PX, NOISE = 97, 44.3, 1.0


def few_angles(noise: float, angles=FEW, columns=COLUMNS, axis_px=AXIS_PX):
    """Truth, its sinogram with noise of a standard deviation in value x pixel (the greatest is 97), and the circle."""
    solids = phantom(min(axis_px, columns - 1 - axis_px))
    data = sinogram(solids, angles, columns, axis_px, 3)
    data += noise * np.random.default_rng(3).normal(size=data.shape).astype(np.float32)
    return image(solids, columns, supersample=4), data, field_of_view(columns, axis_px)


def error(found, truth, inside):
    return float(np.sqrt(np.mean((found - truth)[inside] ** 2)) / truth[inside].std())


def test_what_is_iterative_is_known():
    assert [name for name in ("fourier", "astra", *ITERATIVE) if not backend_class(name).linear] == [
        *ITERATIVE
    ]
    assert set(BACKENDS) == {"fourier", "astra", "tomopy", *ITERATIVE}


@pytest.mark.parametrize(("columns", "axis_px", "side"), [(48, 20.2, 48), (47, 26.0, 47), (47, 20.0, 95)])
def test_projector_gives_line_integrals_and_its_transpose(columns, axis_px, side):
    solids = phantom(20.0)
    projector = FourierProjector(FEW, columns, axis_px, side)
    exact = sinogram(solids, FEW, columns, axis_px, 5)
    slice_ = image(solids, side, supersample=6)
    # measured 0.0125 to 0.0135, from the edges; a quarter of a pixel of the axis gives at least twice as much
    off = np.std(projector.project(slice_) - exact)
    assert off / exact.std() < 0.02
    moved = FourierProjector(FEW, columns, axis_px + 0.25, side).project(slice_)
    assert np.std(moved - exact) > 2 * off
    rng = np.random.default_rng(1)
    lines = rng.normal(size=exact.shape).astype(np.float32)
    slice_ = rng.normal(size=slice_.shape).astype(np.float32)
    one, other = np.vdot(projector.project(slice_), lines), np.vdot(slice_, projector.back_project(lines))
    scale = np.linalg.norm(projector.project(slice_)) * np.linalg.norm(lines)
    assert abs(one - other) / scale < 2e-5  # measured 5e-6
    # the norm: no slice is stretched by more, and a constant one nearly by as much
    flat = np.ones((side, side), np.float32)
    stretched = np.linalg.norm(projector.project(flat)) / np.linalg.norm(flat)
    assert stretched < projector.norm() < 1.25 * stretched


@pytest.mark.parametrize(("name", "measured"), [("sirt", 0.189), ("cgls", 0.179), ("tv", 0.087)])
def test_few_angles_with_noise_beat_filtered_back_projection(name, measured):
    truth, data, inside = few_angles(NOISE)
    solver = make_backend(name, FEW, COLUMNS, AXIS_PX, threads=1)
    found = solver(data[None])[0]
    filtered = {
        filter: error(make_backend("fourier", FEW, COLUMNS, AXIS_PX, filter)(data[None])[0], truth, inside)
        for filter in ("shepp", "hann", "parzen")
    }  # measured 0.277, 0.160, 0.169
    off = error(found, truth, inside)
    assert off < 1.05 * measured
    assert off < 0.75 * filtered["shepp"]  # the filter unless another is set
    assert name != "tv" or off < 0.6 * min(filtered.values())
    for flipped in (truth[::-1], truth[:, ::-1], truth.T, truth[::-1, ::-1].T):
        assert error(found, flipped, inside) > 0.4
    # the discrepancy principle: the difference left is the noise
    rest = FourierProjector(FEW, COLUMNS, AXIS_PX).project(found) - data
    assert solver.counts["fits_noise"] == 1
    assert 0.85 * NOISE < np.sqrt(np.mean(rest**2)) < 1.15 * NOISE


def test_more_noise_is_smoothed_more_without_a_setting():
    """The error of tv grows more slowly than the noise, and the difference left is the noise each time."""
    errors = []
    for noise in (0.3, 1.0, 3.0):
        truth, data, inside = few_angles(noise)
        found = make_backend("tv", FEW, COLUMNS, AXIS_PX)(data[None])[0]
        errors.append(error(found, truth, inside))
        rest = FourierProjector(FEW, COLUMNS, AXIS_PX).project(found) - data
        assert np.sqrt(np.mean(rest**2)) == pytest.approx(noise, rel=0.2)
    assert errors == sorted(errors)
    assert errors[2] < 4 * errors[0]


def test_a_missing_wedge():
    """120 degrees of 180: total variation leaves a third of the error of the best filter."""
    angles = np.arange(40) * 3.0
    truth, data, inside = few_angles(0.3, angles)
    found = error(make_backend("tv", angles, COLUMNS, AXIS_PX)(data[None])[0], truth, inside)
    filtered = min(
        error(make_backend("fourier", angles, COLUMNS, AXIS_PX, f)(data[None])[0], truth, inside)
        for f in ("shepp", "hann", "parzen")
    )
    assert found < 0.4 * filtered


@pytest.mark.parametrize(("name", "rise"), [("sirt", 0.002), ("cgls", 0.004), ("tv", 0.004)])
def test_edge_padding_keeps_a_sample_wider_than_the_view_flat(name, rise):
    """Between the middle and the rim of a sample of 0.01 a pixel three times as wide as the view."""
    angles, columns, axis_px = np.arange(60) * 3.0, 47, 22.0
    data = sinogram([Ellipse(0.01, 1, 2, 75, 65, 20)], angles, columns, axis_px, 3)[None]
    y, x = np.indices((columns, columns)) - (columns - 1) / 2
    rim, middle = (np.hypot(x, y) > 17) & (np.hypot(x, y) < 21), np.hypot(x, y) < 10
    off = {}
    for padding in ("zero", "edge"):
        found = make_backend(name, angles, columns, axis_px, padding=padding)(data)[0]
        off[padding] = float(found[rim].mean() - found[middle].mean())
    assert off["zero"] > 0.006
    assert abs(off["edge"]) < rise


@pytest.mark.parametrize("name", ITERATIVE)
def test_rule_and_counts(name):
    """A sinogram of nothing needs no step, and one without noise as many as it is allowed or until it fits."""
    solver = make_backend(name, FEW, 32, 14.2)
    assert isinstance(solver, IterativeBackend)
    assert np.all(solver(np.zeros((2, 30, 32), np.float32)) == 0)
    assert solver.counts == {"steps": 0, "fits_noise": 2}
    solver(sinogram(phantom(12.0), FEW, 32, 14.2, 3)[None])
    assert 0 < solver.counts["steps"] <= type(solver).most
    assert f"{DISCREPANCY:g} times the noise" in solver.stopping_rule()
    assert f"{type(solver).most} steps" in solver.stopping_rule()
    assert make_backend("fourier", FEW, 32, 14.2).stopping_rule() == ""


def correlated(rng, shape):
    """Noise of standard deviation 1 whose power falls as one over the frequency, as that of an integrated phase."""
    frequency = np.fft.rfftfreq(shape[1])
    frequency[0] = frequency[1]
    lines = np.fft.irfft(np.fft.rfft(rng.normal(size=shape), axis=1) / np.sqrt(frequency), shape[1], axis=1)
    return lines / lines.std()


@pytest.mark.parametrize("kind", ["white", "correlated"])
@pytest.mark.parametrize(
    ("count", "span", "columns"), [(180, 180.0, 256), (600, 360.0, 256), (60, 120.0, 200), (30, 180.0, 97)]
)
def test_noise_of_a_sinogram(kind, count, span, columns):
    """Of 1 % of the greatest value, in the presence of a sample with edges that fills the view."""
    angles = np.random.default_rng(2).permutation(np.arange(count) * span / count)
    clean = sinogram(phantom(0.44 * columns), angles, columns, columns / 2 - 3.3, 3)
    noise = 0.01 * clean.max()
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        drawn = rng.normal(size=clean.shape) if kind == "white" else correlated(rng, clean.shape)
        found.append(sinogram_noise(clean + noise * drawn, angles) / noise)
    assert 0.84 < np.mean(found) < 1.15  # measured 0.88 to 1.05
    assert sinogram_noise(clean, angles) / noise < 0.15
    assert sinogram_noise(clean[:2], angles[:2]) == 0
