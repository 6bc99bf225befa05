from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.retrieval.patterns import make_pair, rms

from speckleflow.config.models import UmpaSettings
from speckleflow.errors import InputError
from speckleflow.retrieval.base import FLAG_BOUND, FLAG_EDGE, FLAG_FOLD
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.lowpass import CANDIDATES, choose_low_pass
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.retrieval.spectrum import spectrum
from speckleflow.retrieval.umpa import Umpa


def wavy(amplitude: float, period: float, phase: float = 0.0):
    k = 2 * np.pi / period
    return lambda x, y: amplitude * np.sin(k * x + phase) * np.cos(k * y - phase)


SMOOTH = {
    "ux": wavy(1.5, 70),
    "uy": wavy(-1.0, 80, 1.0),
    "transmission": lambda x, y: 0.8 + 0.1 * np.sin(x / 15),
    "darkfield": lambda x, y: 0.8 + 0.15 * np.cos(y / 15),
}


@pytest.mark.parametrize(
    ("window", "u_error", "d_error"), [("auto", 0.01, 0.01), (7, 0.055, 0.012), (3, 0.04, 0.02)]
)
def test_smooth_fields_come_back(window, u_error, d_error):
    pair = make_pair(positions=8, photons=20000, **SMOOTH)
    fields = retrieve_stack(pair.reference, pair.sample, "umpa", UmpaSettings(window=window))
    assert rms(fields.ux, pair.ux) < u_error
    assert rms(fields.uy, pair.uy) < u_error
    assert rms(fields.transmission, pair.transmission) < 0.004
    assert rms(fields.darkfield, pair.darkfield) < d_error
    if window == "auto":  # no wild values at the border either: the phase is integrated over it
        assert rms(fields.ux[:, 1:-1, 1:-1], pair.ux[1:-1, 1:-1], 1) < 0.03
    inside = fields.flags[0, 12:-12, 12:-12]
    assert not inside.any()
    assert bool((fields.flags[0, 0] & FLAG_EDGE).all())


def test_displacement_points_where_the_ray_lands():
    """A feature moved to the right and down by the sample has u_x > 0 and u_y > 0."""
    pair = make_pair(positions=4)
    moved = torch.roll(pair.reference, (3, 2), dims=(-2, -1))  # down 3, right 2
    fields = retrieve_stack(pair.reference, moved)
    assert rms(fields.ux, np.full_like(pair.ux, 2.0), 32) < 1e-3  # (rolled-in rows disturb the border)
    assert rms(fields.uy, np.full_like(pair.uy, 3.0), 32) < 1e-3


def test_large_displacements_are_found_and_the_limit_is_flagged():
    shift = lambda x, y: np.full(np.broadcast(x, y).shape, -9.3)  # noqa: E731
    pair = make_pair((128, 128), 5, ux=shift, photons=5000)
    found = retrieve_stack(pair.reference, pair.sample, "umpa", UmpaSettings(max_displacement_px=12))
    assert rms(found.ux, pair.ux, 24) < 0.01
    short = retrieve_stack(pair.reference, pair.sample, "umpa", UmpaSettings(max_displacement_px=4))
    assert float(short.ux.abs().max()) <= 4.0
    assert float(((short.flags & FLAG_BOUND) > 0).float()[0, 24:-24, 24:-24].mean()) > 0.6


def limb(x, y):
    """The edge of a solid: a displacement that grows towards the limb and ends within two pixels."""
    inside = 1 / (1 + np.exp((x - 48) / 0.8))
    return 1.2 * np.exp(np.minimum(x - 48, 0) / 9) * inside


def test_auto_serves_edges_and_plains_at_once():
    pair = make_pair((64, 96), 10, ux=limb, photons=20000, contrast=0.3)
    edge = (slice(None), slice(42, 54))
    plain = (slice(None), slice(64, 84))

    def error(window, part):
        fields = retrieve_stack(pair.reference, pair.sample, "umpa", UmpaSettings(window=window))
        difference = (fields.ux[0].numpy() - pair.ux)[8:-8]
        return float(np.sqrt(np.mean(difference[part] ** 2)))

    assert error("auto", edge) < 0.7 * error(7, edge)
    assert error("auto", edge) < 1.1 * error(3, edge)
    assert error("auto", plain) < 0.8 * error(3, plain)


def test_crossing_rays_are_flagged():
    pair = make_pair((64, 96), 8, ux=lambda x, y: -2.5 * np.tanh((x - 48) / 1.5), photons=20000)
    fields = retrieve_stack(pair.reference, pair.sample)
    folded = (fields.flags[0] & FLAG_FOLD) > 0
    assert bool(folded[20:-20, 46:51].any(dim=1).all())
    assert not folded[8:-8, :36].any()
    assert not folded[8:-8, 60:].any()


@pytest.mark.parametrize("positions", [3, 12])
def test_quality_is_the_standard_deviation_of_the_error(positions):
    pair = make_pair(positions=positions, photons=3000, ux=wavy(0.8, 90), uy=wavy(0.5, 90))
    for window in ("auto", 5):
        fields = retrieve_stack(pair.reference, pair.sample, "umpa", UmpaSettings(window=window))
        error = np.hypot(rms(fields.ux, pair.ux), rms(fields.uy, pair.uy)) / np.sqrt(2)
        expected = float(fields.quality[0, 12:-12, 12:-12].square().mean().sqrt())
        assert 0.5 < error / expected < 1.7


def test_quality_grows_with_the_noise_as_the_bound_does():
    quality = []
    for photons in (20000, 5000):
        pair = make_pair(positions=6, photons=photons)
        fields = retrieve_stack(pair.reference, pair.sample, "umpa", UmpaSettings(window=9))
        quality.append(float(fields.quality.median()))
    assert quality[1] / quality[0] == pytest.approx(2, rel=0.15)


def test_tiles_give_the_whole():
    pair = make_pair((160, 560), 3, photons=10000, **SMOOTH)
    whole = Umpa(UmpaSettings(max_displacement_px=4))
    tiled = Umpa(UmpaSettings(max_displacement_px=4))
    tiled.memory_bytes = 300e6
    one, many = whole.prepare(pair.reference), tiled.prepare(pair.reference)
    assert len(one.tiles) == 1
    assert len(many.tiles) > 1
    a, b = whole(pair.sample[None], one), tiled(pair.sample[None], many)
    for name, tolerance in {"ux": 5e-3, "uy": 5e-3, "transmission": 1e-3, "darkfield": 5e-3}.items():
        difference = (getattr(a, name) - getattr(b, name)).abs()
        assert float(difference.max()) < tolerance, name


def test_a_fine_pattern_gets_a_low_pass_and_a_coarse_one_little():
    rng = np.random.default_rng(0)
    white = torch.tensor(rng.normal(size=(4, 128, 128)), dtype=torch.float32)
    fine = 1 + 0.1 * filter_xy(white, gaussian(0.7), gaussian(0.7), "mirror")
    coarse = 1 + 0.1 * filter_xy(white, gaussian(2.0), gaussian(2.0), "mirror")
    assert choose_low_pass(spectrum(coarse)).sigma == CANDIDATES[0]
    assert choose_low_pass(spectrum(fine)).sigma >= 0.6
    assert choose_low_pass(spectrum(fine)).bias_x > 2 * abs(choose_low_pass(spectrum(coarse)).bias_x)


def test_a_fine_pattern_keeps_its_scale():
    """Small displacements of a pattern near the Nyquist frequency: biased by several per cent without low-pass."""
    pair = make_pair((128, 128), 8, ux=lambda x, y: 0.2 * np.sin(x / 12), size=0.9)
    found = retrieve_stack(pair.reference, pair.sample).ux[0, 16:-16, 16:-16].numpy()
    truth = pair.ux[16:-16, 16:-16]
    assert float((found * truth).sum() / (truth**2).sum()) == pytest.approx(1, abs=0.015)


def test_dead_beam_is_refused():
    with pytest.raises(InputError, match="expected a beam"):
        retrieve_stack(torch.zeros(3, 32, 32), torch.zeros(3, 32, 32))


def test_sim512(shared_data):
    """Simulated stack of 5000 photons a pixel: errors on the landing grid, where its truth lives."""
    data = np.load(shared_data("sim512/stack.npz"))
    for n, u_error, t_error, d_error in (
        (20, 0.005, 0.0015, 0.004),
        (5, 0.008, 0.002, 0.006),
        (3, 0.010, 0.0025, 0.007),
    ):
        fields = retrieve_stack(data["reference"][:n], data["sample"][:n], grid="landing")
        ux, uy = rms(fields.ux, data["ux"], 16), rms(fields.uy, data["uy"], 16)
        assert np.hypot(ux, uy) / np.sqrt(2) < u_error
        assert rms(fields.transmission, data["transmission"], 16) < t_error
        assert rms(fields.darkfield, data["darkfield"], 16) < d_error


@pytest.mark.parametrize("shift", [0.1, 0.25, -0.4, 1.2])
def test_constant_shifts_of_a_fine_pattern_are_found(shift):
    """A band-limited pattern moved exactly, by its spectrum: what interpolation adds is taken off."""
    white = torch.randn(6, 160, 160, generator=torch.Generator().manual_seed(2))
    reference = 1 + 0.3 * filter_xy(white, gaussian(0.75), gaussian(0.75), "mirror")
    turn = torch.exp(-2j * torch.pi * torch.fft.fftfreq(160) * shift)
    sample = torch.fft.ifft(torch.fft.fft(reference) * turn).real
    ux = retrieve_stack(reference, sample).ux[0, 24:-24, 24:-24]
    low_pass = choose_low_pass(spectrum(reference))
    assert abs(low_pass.bias_x * np.sin(2 * np.pi * shift) / (2 * np.pi)) > 1.5e-3  # what would be left
    assert float(ux.mean()) == pytest.approx(shift, abs=4e-4)
