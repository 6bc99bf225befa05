from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from speckleflow.errors import InputError
from speckleflow.retrieval.base import FLAG_BOUND, FLAG_EDGE, FLAG_FOLD
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.lowpass import CANDIDATES, choose_low_pass
from speckleflow.retrieval.single import retrieve_stack as retrieve_by
from speckleflow.retrieval.spectrum import spectrum
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.testing.patterns import make_pair, rms

retrieve_stack = partial(retrieve_by, method="umpa")


def wavy(amplitude: float, period: float, phase: float = 0.0):
    k = 2 * np.pi / period
    return lambda x, y: amplitude * np.sin(k * x + phase) * np.cos(k * y - phase)


SMOOTH = {
    "ux": wavy(1.5, 70),
    "uy": wavy(-1.0, 80, 1.0),
    "transmission": lambda x, y: 0.8 + 0.1 * np.sin(x / 15),
    "darkfield": lambda x, y: 0.8 + 0.15 * np.cos(y / 15),
}


#: rms errors of (u_x, u_y, T, D) per window. A square window holds u, T and D for constant, hence its errors.
MEASURED = {
    "auto": (0.0074, 0.0050, 0.0015, 0.0025),
    7: (0.049, 0.038, 0.0128, 0.0136),
    3: (0.030, 0.0265, 0.0068, 0.0099),
}


@pytest.mark.parametrize("window", MEASURED)
def test_smooth_fields_come_back(window):
    pair = make_pair((96, 112), positions=8, photons=20000, conserve=True, **SMOOTH)
    fields = retrieve_stack(pair.reference, pair.sample, settings=UmpaSettings(window=window))
    for name, measured in zip(("ux", "uy", "transmission", "darkfield"), MEASURED[window], strict=True):
        assert rms(getattr(fields, name), getattr(pair, name)) < 1.3 * measured, name
    ux_y, ux_x = np.gradient(pair.ux)
    uy_y, uy_x = np.gradient(pair.uy)
    gathered = pair.transmission / ((1 + ux_x) * (1 + uy_y) - ux_y * uy_x)
    assert (
        rms(fields.transmission_measured, gathered) < {"auto": 7e-4, 7: 3.5e-3, 3: 2.3e-3}[window]
    )  # 1.4 x measured
    if window == "auto":  # no wild values at the border either: the phase is integrated over it
        for found, truth in ((fields.ux, pair.ux), (fields.uy, pair.uy)):  # 0.0100, 0.0075
            assert rms(found[:, 1:-1, 1:-1], truth[1:-1, 1:-1], 1) < 0.015
    inside = fields.flags[0, 12:-12, 12:-12]
    assert not inside.any()
    half = {"auto": 2, 7: 3, 3: 1}[window]
    edges = (fields.flags[0] & FLAG_EDGE) > 0
    for side in (edges, edges.T, edges.flip(0), edges.flip(1).T):
        assert bool(side[:half].all())
    assert not edges[half + 3 : -half - 3, half + 3 : -half - 3].any()  # rays move by up to 1.5 px


@pytest.mark.parametrize("positions", [3, 5, 12])
def test_fringes_of_transmission_are_no_displacement(positions):
    """Bright and dark fringes of 20 %, 6 px apart, on a sample that displaces nothing. With one transmission a window
    the error is 0.25, 0.19 and 0.11 px."""
    fringes = lambda x, y: 0.8 + 0.16 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 6)  # noqa: E731
    pair = make_pair((80, 96), positions, photons=20000, transmission=fringes)
    fields = retrieve_stack(pair.reference, pair.sample)
    error = max(rms(fields.ux, pair.ux), rms(fields.uy, pair.uy))
    assert error < 0.016  # measured: 0.0126, 0.0121, 0.0116


@pytest.mark.parametrize("level", [3e-3, 5e4])
def test_the_level_of_the_beam_is_not_in_the_fields(level):
    pair = make_pair((48, 64), positions=4, photons=20000, **SMOOTH)
    one = retrieve_stack(pair.reference, pair.sample)
    other = retrieve_stack(level * pair.reference, level * pair.sample)
    for name, field in one.items():
        if name != "flags":
            torch.testing.assert_close(dict(other.items())[name], field, atol=1.2e-5, rtol=0)  # 4e-6


def test_displacement_points_where_the_ray_lands():
    """A feature moved to the right and down by the sample has u_x > 0 and u_y > 0."""
    pair = make_pair(positions=4)
    moved = torch.roll(pair.reference, (3, 2), dims=(-2, -1))  # down 3, right 2
    fields = retrieve_stack(pair.reference, moved)
    assert rms(fields.ux, np.full_like(pair.ux, 2.0), 32) < 1e-3  # (rolled-in rows disturb the border)
    assert rms(fields.uy, np.full_like(pair.uy, 3.0), 32) < 1e-3


@pytest.mark.parametrize(("dx", "dy"), [(-9.3, 5.7), (4.6, 10.4)])
def test_large_displacements_are_found(dx, dy):
    pair = make_pair((112, 128), 5, ux=lambda x, y: 0 * x + dx, uy=lambda x, y: 0 * x + dy, photons=5000)
    found = retrieve_stack(pair.reference, pair.sample, settings=UmpaSettings(max_displacement_px=12))
    assert rms(found.ux, pair.ux, 24) < 0.01
    assert rms(found.uy, pair.uy, 24) < 0.01
    assert not found.flags[0, 24:-24, 24:-24].any()


@pytest.mark.parametrize("axis", ["x", "y"])
def test_the_limit_of_the_displacement_is_kept_and_flagged(axis):
    """A shift of 4.5 px along one axis where 4 are allowed: every pixel that has data asks for more."""
    pair = make_pair(
        (64, 80),
        5,
        photons=20000,
        ux=lambda x, y: 0 * x + 4.5 * (axis == "x"),
        uy=lambda x, y: 0 * x - 4.5 * (axis == "y"),
    )
    for window in ("auto", 5):
        short = retrieve_stack(
            pair.reference, pair.sample, settings=UmpaSettings(max_displacement_px=4, window=window)
        )
        assert float(short.ux.abs().max()) <= 4.0
        assert float(short.uy.abs().max()) <= 4.0
        flagged = ((short.flags & FLAG_BOUND) > 0).float()[0, 12:-12, 12:-12]
        assert float(flagged.mean()) > 0.99


def solid_edge(x, y):
    """The edge of a solid: a displacement that grows towards the edge and ends within two pixels."""
    inside = 1 / (1 + np.exp((x - 48) / 0.8))
    return 1.2 * np.exp(np.minimum(x - 48, 0) / 9) * inside


def test_auto_serves_edges_and_plains_at_once():
    pair = make_pair((64, 96), 10, ux=solid_edge, photons=20000, contrast=0.3)
    edge = (slice(None), slice(42, 54))
    plain = (slice(None), slice(64, 84))

    def error(window, part):
        fields = retrieve_stack(pair.reference, pair.sample, settings=UmpaSettings(window=window))
        difference = (fields.ux[0].numpy() - pair.ux)[8:-8]
        return float(np.sqrt(np.mean(difference[part] ** 2)))

    assert error("auto", edge) < 0.7 * error(7, edge)
    assert error("auto", edge) < 1.1 * error(3, edge)
    assert error("auto", plain) < 0.8 * error(3, plain)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_crossing_rays_are_flagged(axis):
    step = lambda x: -2.5 * np.tanh((x - 48) / 1.5)  # noqa: E731
    if axis == "x":
        pair = make_pair((64, 96), 8, ux=lambda x, y: step(x) + 0 * y, photons=20000)
        flags = retrieve_stack(pair.reference, pair.sample).flags[0]
    else:
        pair = make_pair((96, 64), 8, uy=lambda x, y: step(y) + 0 * x, photons=20000)
        flags = retrieve_stack(pair.reference, pair.sample).flags[0].T
    folded = (flags & FLAG_FOLD) > 0
    assert bool(folded[20:-20, 46:51].any(dim=1).all())
    assert not folded[8:-8, :36].any()
    assert not folded[8:-8, 60:].any()


#: error over expected error in wide windows, by positions
RATIO = {3: 0.93, 12: 0.745}


@pytest.mark.slow
@pytest.mark.parametrize("window", ["auto", 5, 9])
def test_the_expected_error_is_the_standard_deviation_of_the_error(window):
    """Even fields (which suit a square window) of a sample that absorbs and scatters; three patterns each."""
    even = {"ux": 0.3, "uy": -0.2, "transmission": 0.5, "darkfield": 0.6}
    fields = {name: lambda x, y, value=value: 0 * x + value for name, value in even.items()}
    for positions in (3, 12):
        squares = []
        for seed in range(3):
            pair = make_pair((80, 96), positions, photons=3000, seed=seed, **fields)
            found = retrieve_stack(pair.reference, pair.sample, settings=UmpaSettings(window=window))
            expected = float(found.displacement_std[0, 12:-12, 12:-12].square().mean())
            squares.append([rms(found.ux, pair.ux) ** 2 / expected, rms(found.uy, pair.uy) ** 2 / expected])
        ratio = np.sqrt(np.mean(squares, axis=0))
        if window == "auto":  # its widest window averages over so much that three patterns scatter by 15 %
            assert ratio.mean() == pytest.approx(RATIO[positions], rel=0.08)
        else:
            assert ratio.mean() == pytest.approx(0.925, rel=0.06)  # measured: 0.895 to 0.93


def test_the_expected_error_of_auto_covers_what_its_windows_smear():
    """Waves and the edge of a solid, where the error is that of the windows as much as of the noise."""
    ratios = {"waves": [], "edge": [], "inside": []}
    for seed in range(3):
        pair = make_pair((80, 96), 6, photons=3000, ux=wavy(0.8, 60), uy=wavy(0.5, 60), seed=seed)
        found = retrieve_stack(pair.reference, pair.sample)
        expected = float(found.displacement_std[0, 12:-12, 12:-12].square().mean().sqrt())
        error = np.hypot(rms(found.ux, pair.ux), rms(found.uy, pair.uy)) / np.sqrt(2)
        ratios["waves"].append(error / expected)
        pair = make_pair((64, 96), 10, ux=solid_edge, photons=20000, contrast=0.3, seed=seed)
        found = retrieve_stack(pair.reference, pair.sample)
        error, std = (found.ux[0].numpy() - pair.ux)[8:-8], found.displacement_std[0].numpy()[8:-8]
        for place, part in (("edge", np.s_[:, 40:56]), ("inside", np.s_[:, 10:30])):
            ratios[place].append(np.sqrt(np.mean(error[part] ** 2) / np.mean(std[part] ** 2)))
    mean = {place: float(np.mean(values)) for place, values in ratios.items()}
    assert mean == pytest.approx({"waves": 0.92, "edge": 0.71, "inside": 0.63}, rel=0.12)


def test_the_expected_error_grows_with_the_noise_as_the_bound_does():
    expected = []
    for photons in (20000, 5000):
        pair = make_pair(positions=6, photons=photons)
        fields = retrieve_stack(pair.reference, pair.sample, settings=UmpaSettings(window=9))
        expected.append(float(fields.displacement_std.median()))
    assert expected[1] / expected[0] == pytest.approx(2, rel=0.01)  # 1.995


def test_a_fine_pattern_gets_a_low_pass_and_a_coarse_one_little():
    rng = np.random.default_rng(0)
    white = torch.tensor(rng.normal(size=(4, 128, 128)), dtype=torch.float32)
    fine = 1 + 0.1 * filter_xy(white, gaussian(0.7), gaussian(0.7), "mirror")
    coarse = 1 + 0.1 * filter_xy(white, gaussian(2.0), gaussian(2.0), "mirror")
    assert choose_low_pass(spectrum(coarse)).sigma == CANDIDATES[0]
    assert choose_low_pass(spectrum(fine)).sigma >= 0.6
    assert choose_low_pass(spectrum(coarse)).bias_x < 0.002


def test_a_fine_pattern_keeps_its_scale():
    """Small displacements of a pattern near the Nyquist frequency: biased by several per cent without low-pass."""
    pair = make_pair((128, 128), 8, ux=lambda x, y: 0.2 * np.sin(x / 12), size=0.9)
    found = retrieve_stack(pair.reference, pair.sample).ux[0, 16:-16, 16:-16].numpy()
    truth = pair.ux[16:-16, 16:-16]
    assert float((found * truth).sum() / (truth**2).sum()) == pytest.approx(1, abs=0.01)  # 0.9946


def test_dead_beam_is_refused():
    with pytest.raises(InputError, match="expected a beam"):
        retrieve_stack(torch.zeros(3, 32, 32), torch.zeros(3, 32, 32))


def test_sim512(shared_data):
    """Simulated stack of 5000 photons a pixel: errors on the detector grid, where its truth lives."""
    # the middle: its rows alone take a third of the time
    data = {name: field[..., 170:342, :] for name, field in np.load(shared_data("sim512/stack.npz")).items()}
    for n, u_error, t_error, d_error in (  # 1.2 times what is measured, or a little more
        (20, 0.0045, 0.00066, 0.0037),
        (5, 0.0076, 0.0009, 0.0046),
        (3, 0.0091, 0.001, 0.0052),
    ):
        fields = retrieve_stack(data["reference"][:n], data["sample"][:n], grid="detector")
        ux, uy = rms(fields.ux, data["ux"], 16), rms(fields.uy, data["uy"], 16)
        assert np.hypot(ux, uy) / np.sqrt(2) < u_error
        # it follows eq. (1), which conserves no light
        assert rms(fields.transmission_measured, data["transmission"], 16) < t_error
        assert rms(fields.darkfield, data["darkfield"], 16) < d_error


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("shift", [0.1, 0.25, -0.4, 1.2])
def test_constant_shifts_of_a_fine_pattern_are_found(axis, shift):
    """A band-limited pattern, fine along x alone, moved exactly: nothing of the interpolation is left."""
    white = torch.randn(6, 112, 144, generator=torch.Generator().manual_seed(2))
    reference = 1 + 0.3 * filter_xy(white, gaussian(0.75), gaussian(2.0), "mirror")
    turn = torch.exp(-2j * torch.pi * torch.fft.fftfreq(144) * shift)
    sample = torch.fft.ifft(torch.fft.fft(reference) * turn).real
    low_pass = choose_low_pass(spectrum(reference))
    assert abs(low_pass.bias_x * np.sin(2 * np.pi * shift) / (2 * np.pi)) > 1.5e-3  # what would be left
    if axis == "x":
        fields = retrieve_stack(reference, sample)
        along, across = fields.ux[0], fields.uy[0]
    else:
        fields = retrieve_stack(reference.mT.contiguous(), sample.mT.contiguous())
        along, across = fields.uy[0].T, fields.ux[0].T
    assert float(along[24:-24, 24:-24].mean()) == pytest.approx(shift, abs=4e-4)
    assert abs(float(across[24:-24, 24:-24].mean())) < 4e-4
