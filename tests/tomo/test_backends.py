"""One truth for every backend: orientation, scale, unit, axis, sense and spacing of the angles."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, image, sinogram

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.backends import BACKENDS, make_backend
from speckleflow.tomo.filters import FILTERS
from speckleflow.tomo.geometry import angular_weights, field_of_view

#: the others are in test_iterative.py: they take steps, and not to a filter's accuracy
FBP = ("fourier", "astra", "tomopy")
RNG = np.random.default_rng(5)
ANGLES = {
    "180": np.arange(150) * 180 / 150,
    "180 clockwise": -np.arange(150) * 180 / 150,
    "180 inclusive": np.linspace(0, 180, 151),
    "90 to 270": 90 + np.arange(150) * 180 / 150,
    "360": np.arange(301) * 360 / 301,
    "golden": (np.arange(150) * 111.246) % 360,
    "uneven": np.sort(RNG.uniform(0, 180, 400)),
}


def phantom(radius: float) -> list[Ellipse]:
    """No symmetry: a disc, an ellipse to the right and towards the source, a hole, a small dense disc."""
    return [
        Ellipse(1.0, 0.05 * radius, -0.03 * radius, 0.85 * radius, 0.75 * radius, 20),
        Ellipse(0.8, 0.45 * radius, 0.2 * radius, 0.3 * radius, 0.12 * radius, 35),
        Ellipse(-0.6, -0.3 * radius, 0.35 * radius, 0.2 * radius, 0.2 * radius),
        Ellipse(2.0, -0.2 * radius, -0.5 * radius, 0.09 * radius, 0.09 * radius),
    ]


def backend(name, *args, **options):
    try:
        return make_backend(name, *args, **options)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("angles", ANGLES, ids=ANGLES.keys())
@pytest.mark.parametrize(("columns", "axis_px"), [(96, 47.5), (97, 48.0), (97, 44.3), (96, 52.75)])
@pytest.mark.parametrize("name", FBP)
def test_slice_equals_the_truth(name, columns, axis_px, angles):
    solids = phantom(min(axis_px, columns - 1 - axis_px))
    truth = image(solids, columns, supersample=4)
    data = sinogram(solids, ANGLES[angles], columns, axis_px)
    other = sinogram([Ellipse(0.5, -10, 14, 9, 5)], ANGLES[angles], columns, axis_px)
    found = backend(name, ANGLES[angles], columns, axis_px)(np.stack([data, other, -data]))
    inside = field_of_view(columns, axis_px)
    error = np.sqrt(np.mean((found[0] - truth)[inside] ** 2)) / truth[inside].std()
    # An aligned slice is off by its edges alone; any flip, transposition, or half a pixel is far beyond this.
    assert error < 0.1  # measured 0.051 to 0.079
    for flipped in (truth[::-1], truth[:, ::-1], truth.T, truth[::-1, ::-1].T, np.rot90(truth)):
        assert np.sqrt(np.mean((found[0] - flipped)[inside] ** 2)) / truth[inside].std() > 0.4
    # Sub-pixel place: the error has no part along either derivative of the truth.
    for axis in (0, 1):
        gradient = np.gradient(truth, axis=axis)
        shift = np.sum(((found[0] - truth) * gradient)[inside]) / np.sum(gradient[inside] ** 2)
        assert abs(shift) < 0.04  # measured 0.027 at most
    # Scale: the flat middle of the big ellipse, per pixel.
    flat = image([Ellipse(1, 0, 0, 6, 6)], columns) > 0
    np.testing.assert_allclose(found[0][flat].mean(), truth[flat].mean(), rtol=0.003)  # measured 0.0016
    np.testing.assert_allclose(found[2], -found[0], atol=2e-3)  # rows do not mix


@pytest.mark.parametrize("name", FBP[1:])
@pytest.mark.parametrize("filter", FILTERS)
def test_backends_agree_filter_by_filter(name, filter):
    angles, columns, axis_px = ANGLES["180"], 96, 46.2
    data = sinogram(phantom(45.0), angles, columns, axis_px)[None]
    inside = field_of_view(columns, axis_px)
    peer = backend(name, angles, columns, axis_px, filter)(data)[0]
    ours = make_backend("fourier", angles, columns, axis_px, filter)(data)[0]
    measured = {"ramlak": 0.067, "shepp": 0.053, "hann": 0.024, "parzen": 0.019}[filter]  # astra
    assert np.sqrt(np.mean((peer - ours)[inside] ** 2)) / ours[inside].std() < 1.2 * measured


def test_softer_filters_blur_more_and_keep_the_mean():
    columns, axis_px = 96, 47.5
    disc = [Ellipse(1.0, 3, -5, 20, 20)]
    data = sinogram(disc, ANGLES["180"], columns, axis_px)[None]
    slices = [make_backend("fourier", ANGLES["180"], columns, axis_px, f)(data)[0] for f in FILTERS]
    rough = [np.abs(np.diff(s[40:56], axis=1)).max() for s in slices]
    assert rough == sorted(rough, reverse=True)
    inside = field_of_view(columns, axis_px)
    for found in slices:
        np.testing.assert_allclose(found[inside].sum(), np.pi * 20**2, rtol=0.01)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_do_not_depend_on_their_company(name):
    """Two real slices share a complex transform: bits change with the partner, by 1e-4 of the maximum at most."""
    angles, columns = np.arange(60) * 3.0, 48
    data = np.stack([sinogram(phantom(20 + i), angles, columns, 23.5) for i in range(7)])
    plan = backend(name, angles, columns, 23.5)
    together = plan(data)
    for rows in (1, 3, 5):
        np.testing.assert_allclose(plan(data[:rows]), together[:rows], atol=5e-4)  # measured 2.7e-4 of 3.2
    for rows in (2, 4, 6):
        np.testing.assert_array_equal(plan(data[:rows]), together[:rows])
    np.testing.assert_array_equal(plan(data[4:]), together[4:])


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
@pytest.mark.parametrize("name", BACKENDS)
def test_threads_change_no_bit(name, rows):
    angles, columns = np.arange(61) * 2.9, 47
    data = np.random.default_rng(9).normal(size=(rows, 61, columns)).astype(np.float32)
    one = backend(name, angles, columns, 21.3, threads=1)(data)
    for threads in (2, 3, 7):
        plan = backend(name, angles, columns, 21.3, threads=threads)
        for _ in range(3):
            np.testing.assert_array_equal(plan(data), one)


def test_weights_of_the_angles():
    np.testing.assert_allclose(angular_weights(np.arange(180)), np.pi / 180)
    np.testing.assert_allclose(angular_weights(-np.arange(0, 360, 0.5)), np.pi / 720)
    ends = angular_weights(np.linspace(0, 180, 181))
    np.testing.assert_allclose(ends[[0, -1]], np.pi / 360)
    np.testing.assert_allclose(angular_weights(RNG.permutation(np.arange(180))), np.pi / 180)
    for angles in ANGLES.values():
        np.testing.assert_allclose(angular_weights(angles).sum(), np.pi)
    # half of both gaps each, 10 20 30 40 50 30 degrees wide; 190 is 10 seen from behind, and they share 15
    uneven = angular_weights([100, 0, 190, 30, 150, 10, 60])
    np.testing.assert_allclose(np.rad2deg(uneven), [45, 20, 7.5, 25, 40, 7.5, 35])
    np.testing.assert_allclose(np.rad2deg(angular_weights([7.0, 7.0])), 90)


@pytest.mark.parametrize(("count", "ends_deg"), [(175, 1.0), (176, 3.0), (177, 2.5)])
def test_a_gap_of_more_than_five_steps_is_a_missing_wedge(count, ends_deg):
    """1-degree steps and a gap of 6, 5, 4 degrees: the neighbours of the first do not stand for it."""
    weights = np.rad2deg(angular_weights(np.arange(count)))
    np.testing.assert_allclose(weights[1:-1], 1.0)
    np.testing.assert_allclose(weights[[0, -1]], ends_deg)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axis_px": 50.0}, "inside the image, 0 to 47 px"),
        ({"angles_deg": [0.0, np.nan]}, "1 NaN or infinite"),
        ({"filter": "cosine"}, "ramlak, shepp, hann, parzen"),
        ({"device": "cuda"}, "device cpu"),
    ],
)
def test_impossible_geometry_is_refused(change, words):
    geometry = {"angles_deg": [0.0, 90.0], "columns": 48, "axis_px": 23.5} | change
    with pytest.raises((InputError, ConfigError), match=words):
        make_backend("fourier", **geometry)


def test_unfit_sinograms_are_refused():
    plan = make_backend("fourier", np.arange(10), 48, 23.5)
    with pytest.raises(InputError, match=r"10 angles, 48 columns.*\(1, 9, 48\)"):
        plan(np.zeros((1, 9, 48)))
    with pytest.raises(InputError, match="1 NaN"):
        plan(np.where(np.arange(480).reshape(1, 10, 48) == 7, np.nan, 0))
    with pytest.raises(ConfigError, match=r"fourier, astra, tomopy.*'gridrec'"):
        make_backend("gridrec", np.arange(10), 48, 23.5)


#: a sample wider than the view: two discs in a third that no projection sees the end of
WIDE = [
    Ellipse(0.01, 0, 0, 150, 130, 20),
    Ellipse(0.03, 12, 8, 28, 22, 10),
    Ellipse(0.05, -18, -12, 10, 12),
]


@pytest.mark.parametrize("name", FBP)
def test_edge_padding_keeps_a_sample_wider_than_the_view_flat(name):
    """Beside the discs, near the axis and at the rim; the truth is 0.01."""
    angles, columns, axis_px = np.arange(180.0), 128, 61.0
    data = sinogram(WIDE, angles, columns, axis_px, 3)[None]
    y, x = np.indices((columns, columns)) - (columns - 1) / 2
    radius, between = np.hypot(x, y), image(WIDE, columns) < 0.011
    off = {}
    for padding in ("zero", "edge"):
        found = backend(name, angles, columns, axis_px, padding=padding)(data)[0] - 0.01
        off[padding] = [
            float(found[between & (radius < 35)].mean()),
            float(found[(radius > 50) & (radius < 58)].mean()),
        ]
    np.testing.assert_allclose(off["zero"], [0.0068, 0.0160], atol=0.001)  # what cupping is
    np.testing.assert_allclose(off["edge"], [-0.0013, -0.0025], atol=0.001)
    inside = sinogram(phantom(40.0), angles, columns, axis_px)[None]  # air at the edges: the same
    one, other = (backend(name, angles, columns, axis_px, padding=p)(inside) for p in ("zero", "edge"))
    np.testing.assert_allclose(one, other, atol=1e-5)
