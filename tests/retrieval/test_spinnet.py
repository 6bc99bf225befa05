"""SPINNet: the published structure moves images the right way, and its fields come onto the reference grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speckleflow.retrieval.base import FLAG_EDGE
from speckleflow.retrieval.spinnet import published
from speckleflow.retrieval.spinnet.retriever import Single, Spinnet
from speckleflow.retrieval.spinnet.settings import SpinnetSettings
from speckleflow.testing.patterns import make_pair
from speckleflow.train.checkpoint import save_weights

SHIFT = (4.0, -8.0)  # px at full resolution: whole pixels at the scales 1/2 and 1/4
INNER = np.s_[..., 24:-24, 24:-24]


class Constant(nn.Module):
    """Stands for an estimator: keeps what it is given and answers the same everywhere."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values, self.inputs = torch.tensor(values), torch.empty(0)

    def forward(self, image: Tensor) -> Tensor:
        self.inputs = image
        return self.values.view(1, -1, 1, 1).expand(len(image), -1, *image.shape[-2:])


@pytest.fixture
def moved() -> tuple[Tensor, Tensor]:
    """One frame and the same moved by SHIFT, (1, 1, y, x)."""
    pair = make_pair(
        (128, 160), 1, size=6.0, ux=lambda x, y: 0 * x + SHIFT[0], uy=lambda x, y: 0 * y + SHIFT[1]
    )
    return pair.reference[None], pair.sample[None]


@pytest.fixture
def answering() -> published.Spinnet:
    """A network whose estimators answer the truth at every level, its features being the means of 2 x 2 pixels."""
    network = published.Spinnet().eval()
    for level in range(5):
        side = 2.0 ** (5 - level)
        network.displacement[level] = Constant(SHIFT[0] / side, SHIFT[1] / side)
        network.transmission[level] = Constant(0.5 + 0.1 * level)
        network.encoder_reference[level] = network.encoder_sample[level] = nn.AvgPool2d(2)
    network.refine_displacement, network.refine_transmission = Constant(0.25, -0.5), Constant(0.125)
    return network


def test_the_sample_is_pulled_back_before_its_transmission_is_estimated(moved, answering):
    """What the estimator of T sees of the sample is the reference, as far as the displacement is right."""
    levels = answering.levels(*moved)
    assert [tuple(level.displacement.shape[-2:]) for level in levels] == [
        (4, 5),
        (8, 10),
        (16, 20),
        (32, 40),
        (64, 80),
    ]
    for level in (3, 4):  # the scales 1/4 and 1/2
        reference, pulled, before = answering.transmission[level].inputs.split(1, 1)
        assert float((pulled - reference)[..., 6:-6, 6:-6].abs().max()) < 1e-5
        assert float((pulled - reference).std()) < 0.5 * float(reference.std())
        torch.testing.assert_close(before, torch.full_like(before, 0.4 + 0.1 * level))


def test_the_reference_is_moved_along_before_it_is_compared(moved, answering):
    """With the right displacement the correlation of every level is largest without a shift."""
    answering.levels(*moved)
    for level in (3, 4):
        seen = answering.displacement[level].inputs
        u, correlation = seen[:, :2], seen[:, 2:]
        side = 2 ** (5 - level)
        torch.testing.assert_close(u[0, :, 5, 7], torch.tensor(SHIFT) / side)  # twice the coarser level's
        sample = nn.functional.avg_pool2d(moved[1], side)
        centre = correlation[
            :, 24:25
        ]  # the sample times the reference that was carried along: the sample's square
        torch.testing.assert_close(centre[..., 6:-6, 6:-6], (sample**2)[..., 6:-6, 6:-6], atol=1e-4, rtol=0)


def test_refiners_add_and_see_both_images(moved, answering):
    found = answering(*moved)
    torch.testing.assert_close(
        found.displacement[0, :, 40, 50], torch.tensor([SHIFT[0] + 0.25, SHIFT[1] - 0.5])
    )
    assert float(found.transmission[0, 0, 40, 50]) == pytest.approx(0.9 + 0.125)
    reference, sample, u, t = answering.refine_displacement.inputs.split((1, 1, 2, 1), 1)
    assert torch.equal(reference, moved[0])
    assert torch.equal(sample, moved[1])
    torch.testing.assert_close(u[0, :, 3, 4], torch.tensor(SHIFT))
    assert float(t[0, 0, 3, 4]) == pytest.approx(0.9)
    # the sample is pulled back by the refined displacement
    reference, pulled, u, _ = answering.refine_transmission.inputs.split((1, 1, 2, 1), 1)
    torch.testing.assert_close(u[0, :, 3, 4], torch.tensor([SHIFT[0] + 0.25, SHIFT[1] - 0.5]))
    shifted = make_pair((128, 160), 1, size=6.0, ux=lambda x, y: 0 * x - 0.25, uy=lambda x, y: 0 * x + 0.5)
    assert float((pulled - shifted.sample)[INNER].abs().max()) < 0.02
    assert torch.equal(reference, moved[0])


def published_method(folder, **settings) -> Spinnet:
    torch.manual_seed(1)
    path = folder / "published.safetensors"
    save_weights(published.Spinnet(), path, {"network": "spinnet-published"})
    return Spinnet(SpinnetSettings(weights=str(path), **settings))


def test_the_published_structures_displacement_changes_its_grid_and_its_transmission_does_not(
    tmp_path, monkeypatch
):
    """v on the detector's grid, u(x) = v(x + u(x)); T is estimated on the reference grid."""
    method = published_method(tmp_path)
    assert type(method.structure).__name__ == "Published"
    assert "darkfield" not in dict(method.structure.fields([torch.zeros(1, 64, 64)] * 3).items())
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    v = torch.stack((3 * torch.sin(y / 18) + 2, 2.5 * torch.cos(x / 16) - 1))
    t = 0.7 + 0.2 * torch.sin(x / 9)
    fields = method.structure.fields([v[:1], v[1:], t[None]])
    assert torch.equal(fields.transmission[0], t)
    ux, uy = fields.ux[0], fields.uy[0]
    expected = 3 * torch.sin((y + uy) / 18) + 2, 2.5 * torch.cos((x + ux) / 16) - 1
    inside = (slice(8, -8), slice(8, -8))
    torch.testing.assert_close(ux[inside], expected[0][inside], atol=1e-3, rtol=0)
    torch.testing.assert_close(uy[inside], expected[1][inside], atol=1e-3, rtol=0)
    # rays that leave the image, and pixels whose neighbours do
    leaves = (x + ux < 1) | (x + ux > 126) | (y + uy < 1) | (y + uy > 94)
    assert torch.equal((fields.flags[0, 1:-1, 1:-1] & FLAG_EDGE) > 0, leaves[1:-1, 1:-1])


def test_a_known_blur_is_taken_off_the_published_structures_displacement(tmp_path):
    """T = exp(0.02 x - 0.03 y) and s = 1.5 px: +s^2 times the slope of ln T, and nothing without a blur."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    t = torch.exp(0.02 * (x - 60) - 0.03 * (y - 30))[None]
    nothing = torch.zeros(1, 64, 96)
    for blur, of in ((None, 0.0), (0.0, 0.0), (1.5, 1.5**2)):
        fields = published_method(tmp_path, detector_blur_px=blur).structure.fields([nothing, nothing, t])
        torch.testing.assert_close(fields.ux, torch.full_like(t, 0.02 * of), atol=1e-4, rtol=0)
        torch.testing.assert_close(fields.uy, torch.full_like(t, -0.03 * of), atol=1e-4, rtol=0)


def test_the_published_structure_is_given_the_frames_over_the_mean_of_the_reference(tmp_path, monkeypatch):
    method = published_method(tmp_path)
    seen = []

    def infer(reference, sample):
        seen.append((reference, sample))
        maps = torch.ones(len(sample), 3, *sample.shape[-2:])
        return torch.stack((maps[:, 0], 2 * maps[:, 0]), 1), 3 * maps[:, :1]

    monkeypatch.setattr(method.structure, "infer", infer)
    reference = 500 * (1 + 0.2 * torch.rand(1, 64, 70, generator=torch.Generator().manual_seed(2)))
    sample = torch.stack((0.5 * reference, 0.25 * reference))
    fields = method(sample, method.prepare(reference))
    assert fields.ux.shape == (2, 64, 70)
    for name, value in (("ux", 1.0), ("uy", 2.0), ("transmission", 3.0)):
        torch.testing.assert_close(getattr(fields, name), torch.full((2, 64, 70), value))
    seen.sort(key=lambda pair: -float(pair[1].mean()))  # threads take the projections in any order
    given_reference, given_sample = (torch.cat(part) for part in zip(*seen, strict=True))
    assert given_reference.shape[-2:] == (64, 96)
    level = reference / reference.mean()
    torch.testing.assert_close(given_reference[0, :, :, 13:-13], level)
    torch.testing.assert_close(given_sample[:, 0, :, 13:-13], torch.cat((0.5 * level, 0.25 * level)))


def test_the_weight_file_decides_the_structure():
    method = Spinnet(SpinnetSettings())
    assert type(method.structure) is Single


def test_the_published_structure_has_the_published_channels():
    """Six levels of features: the image, then 16, 32, 64, 96 and 128 channels, each at half the resolution."""
    network = published.Spinnet()
    image = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    for encoder in (network.encoder_reference, network.encoder_sample):
        shapes, features = [], image
        for level in encoder:
            features = level(features)
            shapes.append(tuple(features.shape[1:]))
        assert shapes == [(16, 32, 48), (32, 16, 24), (64, 8, 12), (96, 4, 6), (128, 2, 3)]
