"""The fast structure: what it must not depend on, what its closed forms give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from speckleflow.config.models import EspinnetSettings
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.retrieval import adaptive, normal
from speckleflow.retrieval.espinnet import fast, join, polish
from speckleflow.retrieval.espinnet.retriever import Espinnet
from speckleflow.retrieval.filters import filter_xy, gaussian


@pytest.fixture(scope="module")
def scene():
    return scenes(Cell("mask", 5, 5000.0), count=1, size=128)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return fast.FastEspinnet().eval()


def _run(network, reference, sample):
    with torch.inference_mode():
        return network(network.reference(reference), sample)[1]


def test_size(network):
    assert sum(p.numel() for p in network.parameters()) < 250_000


def test_order_of_positions_does_not_matter(network, scene):
    found = _run(network, scene.reference, scene.sample)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = _run(network, scene.reference[:, order], scene.sample[:, order])
    # not to rounding: the noise is characterised on the first frames
    torch.testing.assert_close(other.displacement, found.displacement, atol=1e-2, rtol=0)
    assert float((other.displacement - found.displacement).abs().mean()) < 1e-3


@pytest.mark.parametrize(("positions", "which"), [(5, 3), (3, 7)])
def test_a_grating_that_the_coarsest_scale_cannot_resolve_is_not_mistaken(positions, which):
    """Periods of 11 to 17 px are 1.4 to 2.1 pixels there: aliased, they move the other way."""
    scene = scenes(Cell("grating", positions, 500.0), count=which + 1)
    method = Espinnet(EspinnetSettings())
    reference, sample, ux, uy = (each[which] for each in (scene.reference, scene.sample, scene.ux, scene.uy))
    found = method(sample[None], method.prepare(reference))
    assert found.ux is not None
    assert found.uy is not None
    error = torch.stack((found.ux[0] - ux, found.uy[0] - uy))[:, 8:-8, 8:-8]
    assert float(error.abs().max()) < 1.0
    assert float(error.square().mean().sqrt()) < 0.05


def test_it_begins_twice_only_where_the_pattern_repeats_itself(network, scene, monkeypatch):
    begun = []
    start = fast.FastEspinnet._nothing_known
    counted = staticmethod(lambda frames: begun.append(frames.shape[-1]) or start(frames))
    monkeypatch.setattr(fast.FastEspinnet, "_nothing_known", counted)
    _run(network, scene.reference, scene.sample)
    assert begun == [16]
    begun.clear()
    repeated = scenes(Cell("grating", 5, 5000.0), count=1, size=128)
    _run(network, repeated.reference, repeated.sample)
    assert begun == [16, 32]


def test_a_pattern_that_repeats_changes_nothing_for_its_neighbours_in_a_batch(network, scene):
    repeated = scenes(Cell("grating", 5, 5000.0), count=1, size=128)
    pair = [torch.cat(two) for two in zip(repeated[:2], scene[:2], strict=True)]
    both = _run(network, *pair).displacement
    for k, each in enumerate((repeated, scene)):
        alone = _run(network, each.reference, each.sample).displacement
        torch.testing.assert_close(both[k : k + 1], alone, atol=2e-3, rtol=0)


def test_half_precision_is_for_the_convolutions_alone(network, scene):
    with torch.inference_mode():
        reference = network.reference(scene.reference)
        whole = network(reference, scene.sample)[1]
        with torch.autocast("cpu", torch.bfloat16):
            half = network(reference, scene.sample)[1]
    assert half.displacement.dtype == torch.float32
    inner = (half.displacement - whole.displacement)[..., 8:-8, 8:-8].abs()
    assert float(inner.mean()) < 2e-3  # displacements of bfloat16 would be off by 1e-2


def test_reference_is_prepared_once_for_a_batch(network, scene):
    pair = torch.cat([scene.sample, scene.sample.flip(1)])
    with torch.inference_mode():
        prepared = network.reference(scene.reference)
        together = network(prepared, pair)[1].displacement
        alone = network(prepared, pair[1:])[1].displacement
    torch.testing.assert_close(together[1:], alone, atol=3e-4, rtol=0)


def test_untrained_join_gives_the_polished_displacement(scene):
    """From a start 0.2 px off, the polish finds the truth, and a join that knows nothing keeps it."""
    torch.manual_seed(4)
    head = join.Join(fast.HIDDEN)
    reference, sample = scene.reference[0, :2], scene.sample[:, :2]
    truth = torch.stack([scene.ux, scene.uy], 1)
    start = truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        data = polish.polish([polish.fix(reference, polish.characterise(reference))], sample, start)
        found = head(
            data, start, torch.full_like(data.log_sigma, -1.0), torch.zeros(1, fast.HIDDEN, 64, 64), 2
        )

    def error(u):
        return float((u - truth)[..., 8:-8, 8:-8].square().mean().sqrt())

    assert error(data.displacement) < 0.1
    assert error(found.displacement) < error(data.displacement)  # what has curl is error
    torch.testing.assert_close(found.transmission, data.transmission)


def test_the_joins_input_is_two_by_two_pixels_then_the_hidden_state():
    generator = torch.Generator().manual_seed(2)
    seen, hidden = (
        torch.randn(2, 3, 40, 72, generator=generator),
        torch.randn(2, 5, 20, 36, generator=generator),
    )
    expected = torch.cat([torch.nn.functional.pixel_unshuffle(seen, 2), hidden], 1)
    assert torch.equal(join._as_channels(seen, hidden), expected)


def test_further_steps_find_what_is_missing(scene):
    """Data that were told a displacement wrong by a little ask for just that."""
    reference = scene.reference[0]
    fixed = polish.fix(reference, polish.characterise(reference))
    model = adaptive.linearise(
        normal.Estimate(*torch.ones(2, 128, 128), *torch.zeros(2, 128, 128)),
        normal.measure(
            normal.spline_coefficients(reference, gaussian(fixed.pattern.low_pass.sigma)),
            fixed.basis,
            *torch.zeros(2, 128, 128),
        ),
        fixed.basis,
    )
    done = torch.zeros(4, 128, 128)
    done[2], done[3] = -0.05, 0.08  # the reference against itself: the truth is zero
    model = replace(model, noise=torch.full_like(model.noise, 1e-6))
    steps, errors = polish.further_steps(model, done, fixed.pattern.gain)
    inner = steps[4:, 16:-16, 16:-16]
    torch.testing.assert_close(inner[0], torch.full_like(inner[0], 0.05), atol=5e-3, rtol=0)
    torch.testing.assert_close(inner[1], torch.full_like(inner[1], -0.08), atol=8e-3, rtol=0)
    assert float(errors[2].median()) < float(errors[0].median())  # wider windows, smaller errors


def test_curl_is_taken_off_where_it_is_noise():
    y, x = torch.meshgrid(*[torch.arange(160.0)] * 2, indexing="ij")
    bump = torch.exp(-((x - 70) ** 2 + (y - 90) ** 2) / (2 * 5.0**2))
    gradient = torch.stack(torch.gradient(bump)[::-1])[None] + 0.7
    loud, quiet = torch.zeros(1, 1, 160, 160), torch.full((1, 1, 160, 160), -7.0)  # log sigma
    kept = join.without_curl(gradient, loud)
    torch.testing.assert_close(kept, gradient, atol=1e-5, rtol=0)
    swirl = torch.stack([torch.gradient(bump)[0], -torch.gradient(bump)[1]])[None]
    assert float(join.without_curl(swirl, loud).norm() / swirl.norm()) < 0.4
    # curl that noise cannot explain is no noise
    assert float((join.without_curl(swirl, quiet) - swirl).norm() / swirl.norm()) < 0.05
    noise = torch.randn(1, 2, 160, 160, generator=torch.Generator().manual_seed(5))
    smooth = filter_xy(noise, gaussian(2.0), gaussian(2.0), "mirror")
    left = join.without_curl(smooth, loud).square().mean() / smooth.square().mean()
    assert 0.45 < float(left) < 0.6


def test_gradients_of_the_filters_are_right():
    u = torch.randn(1, 2, 24, 20, generator=torch.Generator().manual_seed(1), requires_grad=True)
    other = torch.randn(1, 2, 24, 20, generator=torch.Generator().manual_seed(2))
    (given,) = torch.autograd.grad((join.solenoidal(u) * other).sum(), u)
    step = 0.1 * torch.randn(u.shape, generator=torch.Generator().manual_seed(3))
    change = ((join.solenoidal(u + step) - join.solenoidal(u)).detach() * other).sum()
    assert float(change) == pytest.approx(float((given * step).sum()), rel=1e-3)


def test_absorption_tells_the_limb_that_windows_smear():
    """A ball of one material, its displacement smeared, beside absorption that shows its sharp limb."""
    corners = torch.arange(129.0) - 64
    thickness = (1 - (corners[:, None] / 40) ** 2 - (corners / 40) ** 2).clamp_min(0).sqrt()
    ux, uy = -3.0 * thickness.diff(dim=1), -3.0 * thickness.diff(dim=0)
    truth = torch.stack([ux[:-1] + ux[1:], uy[:, :-1] + uy[:, 1:]])[None] / 2 + 0.3
    mean = (thickness[1:, 1:] + thickness[:-1, 1:] + thickness[1:, :-1] + thickness[:-1, :-1]) / 4
    kernel = gaussian(1.5)
    smeared = filter_xy(truth, kernel, kernel, "mirror")
    suggested, agreement = join.by_absorption(smeared, torch.exp(-0.4 * mean)[None, None])

    def error(u):
        return float((u - truth)[..., 8:-8, 8:-8].square().mean().sqrt())

    assert error(suggested) < 0.8 * error(smeared)
    on_limb = (mean[None, None] > 0.1) & (mean[None, None] < 0.5)
    assert float(agreement[on_limb].median()) > 0.9  # phase and ln T both fall with the thickness
    # where nothing absorbs, nothing is suggested but the surroundings' mean
    flat, none = join.by_absorption(smeared, torch.ones(1, 1, 128, 128))
    assert float(none.abs().max()) < 1e-3
    assert error(flat) > error(smeared)
