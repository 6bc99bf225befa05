"""The double exposure: fringes are taken off before tracking, put back after, and what does not fit is flagged."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval.base import FLAG_MISFIT
from speckleflow.retrieval.cade.network import StrainNetF
from speckleflow.retrieval.consistency import Consistency
from speckleflow.retrieval.double_exposure.network import Generator, from_transmission
from speckleflow.retrieval.double_exposure.retriever import DoubleExposure
from speckleflow.retrieval.double_exposure.settings import DoubleExposureSettings
from speckleflow.retrieval.umpa.retriever import Umpa
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.scan.acquisition import Acquisition
from speckleflow.testing.patterns import make_pair, rms
from speckleflow.train.checkpoint import save_weights

ABOUT = {
    "network": "double_exposure",
    "width": repr(1 / 32),
    "inputs": "1",
    "energy_kev": "15.0",
    "pixel_size_um": "3.25",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(Generator(1 / 32), path, ABOUT)
    return str(path)


class Known(nn.Module):
    """A generator that answers a given in-line image, and nothing where the frames are equal."""

    inputs = 1

    def __init__(self, inline: Tensor) -> None:
        super().__init__()
        self.answer = from_transmission(inline)

    def forward(self, x: Tensor) -> Tensor:
        if not x.any():
            return torch.zeros_like(x)
        rows, columns = (n - m for n, m in zip(x.shape[-2:], self.answer.shape, strict=True))
        padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return nn.functional.pad(self.answer[None, None], padding, mode="replicate")


def knowing(weights: str, inline: Tensor, **settings) -> DoubleExposure:
    method = DoubleExposure(DoubleExposureSettings(weights=weights, **settings))
    method.generator = Known(inline)
    return method


def wave(amplitude, period):
    return lambda x, y: amplitude * np.sin(2 * np.pi * x / period) * np.cos(2 * np.pi * y / (1.3 * period))


def rings(shape):
    """Fringes that no window of a tracker resolves: bright and dark circles 3 px apart."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    away = ((y - 40) ** 2 + (x - 60) ** 2).sqrt() - 25
    return 1 + 0.35 * torch.cos(2 * torch.pi * away / 6) * torch.exp(-0.5 * (away / 6) ** 2)


SHAPE = (96, 127)


@pytest.fixture(scope="module")
def fringed():
    """A pair whose sample is multiplied by fringes on the detector grid, and the fringes."""
    pair = make_pair(SHAPE, 1, ux=wave(0.8, 90), uy=wave(-0.5, 70), darkfield=lambda x, y: 0.7 + 0 * x)
    return pair, rings(SHAPE)


def test_a_frame_over_its_in_line_image_is_tracked_as_if_there_were_no_fringes(weights, fringed):
    pair, fringes = fringed
    sample = (pair.sample * fringes)[None]
    alone = Umpa(UmpaSettings())
    clean = alone(pair.sample[None], alone.prepare(pair.reference))
    spoiled = alone(sample, alone.prepare(pair.reference))
    method = knowing(weights, fringes / fringes.mean(), softness=0.02)
    fields = method(sample, method.prepare(pair.reference))
    softer = knowing(weights, fringes / fringes.mean())
    by_default = softer(sample, softer.prepare(pair.reference))
    for name in ("ux", "uy"):
        truth = getattr(pair, name)
        assert rms(getattr(by_default, name), truth) < 0.2 * rms(getattr(spoiled, name), truth)
        assert rms(getattr(spoiled, name), truth) > 3 * rms(getattr(clean, name), truth)
        # measured 1.0 times the error without fringes; with the default softness 0.06 of the spoiled one
        assert rms(getattr(fields, name), truth) < 1.3 * rms(getattr(clean, name), truth) + 0.002
    # what softness takes off the pattern's contrast in dark fringes it adds in bright ones: measured 0.015 of 0.158
    assert rms(by_default.darkfield, pair.darkfield) < 0.2 * rms(spoiled.darkfield, pair.darkfield)
    # the fringes are put back where their rays came from
    from speckleflow.retrieval.sampling import pull

    u = torch.tensor(np.stack([pair.ux, pair.uy]), dtype=torch.float32)[None]
    expected = pull(fringes[None, None], u)[0, 0].numpy()
    assert rms(fields.transmission_measured, expected) < 0.02


def test_misfit_is_small_where_the_model_holds_and_flags_where_it_does_not(weights, fringed):
    pair, fringes = fringed
    sample = (pair.sample * fringes)[None].clone()
    method = knowing(weights, fringes / fringes.mean())
    state = method.prepare(pair.reference)
    inner = (0, slice(12, -12), slice(12, -12))
    check = Consistency.of(pair.reference)
    good = check.check(sample, method(sample, state), 0.5)
    assert float(good.misfit[inner].median()) < 0.15
    assert float((good.flags[inner] & FLAG_MISFIT > 0).float().mean()) < 0.01
    invented = fringes.clone()
    invented[60:76, 90:106] *= torch.tensor([[1.5, 0.7], [0.7, 1.5]]).repeat(
        8, 8
    )  # a grid that no frame shows
    liar = knowing(weights, invented / invented.mean())
    bad = check.check(sample, liar(sample, liar.prepare(pair.reference)), 0.5)
    inside = (bad.flags[0, 62:74, 92:104] & FLAG_MISFIT > 0).float().mean()
    elsewhere = (bad.flags[0, 12:50, 12:80] & FLAG_MISFIT > 0).float().mean()
    assert float(inside) > 0.7  # measured 0.76
    assert float(elsewhere) < 0.02


def test_the_generator_is_shown_frames_without_beam_absorption_and_common_displacement(weights):
    pair = make_pair(SHAPE, 1)
    shown = []
    method = DoubleExposure(DoubleExposureSettings(weights=weights))

    class Recorder(nn.Module):
        inputs = 1

        def forward(self, x: Tensor) -> Tensor:
            shown.append(x)
            return torch.zeros_like(x)

    method.generator = Recorder()
    tilt = torch.linspace(0.8, 1.2, SHAPE[1])
    state = method.prepare(900 * tilt * pair.reference)
    frame = 300 * tilt * pair.reference.roll((3, -5), (-2, -1))
    fields = method(frame[None], state)
    nothing, sample = shown
    assert nothing.abs().max() == 0
    # what is left is what the slope of the beam makes of the displacement at the border
    assert sample[..., 24:-24, 24:-24].abs().max() < 0.02
    inner = (..., slice(24, -24), slice(24, -24))
    assert float((fields.transmission[inner] - 1 / 3).abs().max()) < 0.02


@pytest.mark.parametrize("shape", [(64, 80), (65, 81), (79, 95)])
def test_odd_sizes_are_padded_and_cut_to_the_pixel(weights, shape):
    method = DoubleExposure(DoubleExposureSettings(weights=weights))

    class Difference(nn.Module):
        inputs = 1

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-2] % 16 == 0
            assert x.shape[-1] % 16 == 0
            return x

    method.generator = Difference()
    pair = make_pair(shape, 1)
    state = method.prepare(pair.reference)
    frame = pair.reference[0] / state.scale * (1 + 0.1 * torch.sin(torch.arange(float(shape[1]))))
    inline = method.inline_image(frame, state)
    flat, reference = frame / state.beam, state.reference[0] / state.beam
    level = flat.mean() / reference.mean()
    assert torch.allclose(inline, level * 4 ** (flat / level - reference), atol=1e-5)


@pytest.mark.parametrize("tracker", ["umpa", "spinnet", "cade"])
def test_trackers_are_interchangeable(weights, tracker):
    pair = make_pair(SHAPE, 1, ux=wave(0.5, 90), uy=wave(-0.4, 70))
    method = knowing(weights, torch.ones(SHAPE), tracker=tracker)
    fields = method(pair.sample[None], method.prepare(pair.reference))
    assert {name for name, _ in fields.items()} == method.spec.output_fields
    assert rms(fields.ux, pair.ux) < 0.3 * float(np.sqrt(np.mean(pair.ux**2)))


@pytest.mark.parametrize("tracker", ["espinnet", "absorption", "double_exposure"])
def test_methods_that_cannot_track_a_single_frame_are_refused(weights, tracker):
    with pytest.raises(ConfigError, match=rf"tracker: expected a method that .*, found '{tracker}'"):
        DoubleExposure(DoubleExposureSettings(weights=weights, tracker=tracker))


def test_another_energy_or_pixel_size_is_warned_of_with_both_numbers(weights, caplog):
    pair = make_pair((64, 80), 1)
    method = DoubleExposure(DoubleExposureSettings(weights=weights))
    with caplog.at_level(logging.WARNING, "speckleflow"):
        method.prepare(pair.reference, Acquisition(energy_kev=15.2, pixel_x_m=3.25e-6))
        method.prepare(pair.reference)
        assert not caplog.records
        for _ in range(2):  # a reference of another time is no other scan
            method.prepare(pair.reference, Acquisition(energy_kev=30.0, pixel_x_m=1.3e-6))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "trained for energy_kev = 15 keV, the scan has 30 keV" in messages[0]
    assert "trained for pixel_size_um = 3.25 um, the scan has 1.3 um" in messages[1]


def test_weights_of_another_structure_are_refused(tmp_path):
    path = tmp_path / "cade.safetensors"
    save_weights(StrainNetF(1 / 32), path, {"width": repr(1 / 32)})
    with pytest.raises(InputError, match=r"cade.safetensors: expected the 56 tensors of Generator, found 46"):
        DoubleExposure(DoubleExposureSettings(weights=str(path)))
    save_weights(Generator(1 / 32), path, {**ABOUT, "inputs": "2"})
    with pytest.raises(InputError, match=r"Generator with 'layers.1.weight' of shape \(2, 2, 7, 7\)"):
        DoubleExposure(DoubleExposureSettings(weights=str(path)))
