"""Training: each number against its formula; small networks and losses that can be done by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import nn

from speckleflow.errors import OutputError
from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.retrieval.espinnet.refinement import TYPICAL_BLUR_PX
from speckleflow.train import TrainConfig, loop, stream, train, validate
from speckleflow.train.checkpoint import NAME, Average
from speckleflow.train.loss import (
    BORDER_PX,
    LEAST_BROAD_PX,
    LEAST_PHASE_PX2,
    LEAST_SIGMA_PX,
    broad_loss,
    contrast_loss,
    displacement_loss,
    laplace,
    phase_loss,
    relative_error,
    scene_loss,
)
from speckleflow.train.networks import Trainable, enlarged, rmse, scale_weights, to_detector_grid
from speckleflow.train.stream import Batch, SceneStream, generator, make_batch

STEPS, CROP = 6, 64
TINY = {
    "steps": STEPS,
    "batch": 2,
    "crop_px": CROP,
    "subsets": 0,
    "validate_every": 4,
    "validation_scenes": 2,
    "workers": 0,
    "average": 0.5,
    "gradient_norm": 100.0,
    "scenes": {"positions": [1, 2, 3], "patterns": 2, "pattern_px": 96, "displacement_px": [0.05, 4.0]},
}


class Weight(nn.Module):
    """One number that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))


def empty_scene(batch: int, n: int) -> Batch:
    frames, field = torch.zeros(batch, n, CROP, CROP), torch.zeros(batch, 1, CROP, CROP)
    return Batch(frames, frames, field.expand(-1, 2, -1, -1), field, field, torch.zeros(batch))


class EmptyScenes:
    """Frames of no light, in the numbers that a stream of scenes has."""

    def __init__(self, config, rank, world) -> None:
        self.config = config

    def from_step(self, first):
        for step in range(first, self.config.steps):
            yield empty_scene(self.config.batch, self.config.scenes.positions[step % 3])


class Run:
    """A training run of ``Weight`` whose loss in step k is ``weight + k``; what it was called with is kept."""

    def __init__(self, monkeypatch, folder, **changes) -> None:
        self.progress: list[float] = []
        self.positions: list[int] = []
        self.slope, self.last = 1.0, math.nan
        kind = Trainable(Weight, self.loss)
        for module in (loop, validate):
            monkeypatch.setattr(module, "trainable", lambda config: kind)
        monkeypatch.setattr(loop, "SceneStream", EmptyScenes)
        held_out = {n: [empty_scene(1, n)] * 2 for n in (1, 2, 3)}
        monkeypatch.setattr(validate, "held_out", lambda config: held_out)
        self.config = TrainConfig(**{**TINY, **changes}, folder=str(folder))
        self.said: list[str] = []

    def loss(self, network, batch, progress):
        if not torch.is_grad_enabled():  # validation
            n = batch.sample.shape[1]
            return network.value.sum() + n, torch.tensor(float(10 * n + len(self.progress)))
        self.progress.append(progress)
        self.positions.append(batch.sample.shape[1])
        return self.slope * network.value.sum() + len(self.progress) - 1, torch.tensor(0.0)

    def train(self, resume: bool = False):
        train(self.config, resume=resume, say=self.said.append)
        return torch.load(f"{self.config.folder}/{NAME}", weights_only=True)


def test_the_average_is_what_a_run_leaves(monkeypatch, tmp_path):
    """The weights' decay per step, (1 + k) / (10 + k) up to the configured one, in the file; not the last step's."""
    state = Run(monkeypatch, tmp_path, learning_rate=0.1, weight_decay=0.0).train()
    written = load_file(tmp_path / "weights.safetensors")
    assert torch.equal(written["value"], state["average"]["value"])
    assert float(written["value"]) > float(state["network"]["value"]) + 0.01  # the loss pulls downward


def test_young_averages_follow_faster():
    network = Weight()
    average, slow, capped = Average(network, 0.999), Average(network, 0.999), Average(network, 0.2)
    with torch.no_grad():
        network.value += 1
    for _ in range(3):
        average.update(network)
        capped.update(network)
    assert float(average.network.value) == pytest.approx(1 - 2 / 11 * 3 / 12 * 4 / 13, rel=1e-5)
    assert float(capped.network.value) == pytest.approx(1 - 2 / 11 * 0.2 * 0.2, rel=1e-5)
    for _ in range(50):
        slow.update(network)
    assert float(slow.network.value) == pytest.approx(1, abs=1e-6)


def test_counts_are_copied_into_the_average():
    network = nn.BatchNorm2d(1)
    average = Average(network, 0.9)
    network.num_batches_tracked += 7
    average.update(network)
    assert int(average.network.num_batches_tracked) == 7


def test_rows_of_the_curve(monkeypatch, tmp_path):
    """Steps 4 and 6: the mean loss since the row before, pixels shown, the learning rate, held-out numbers."""
    run = Run(monkeypatch, tmp_path, learning_rate=1e-9)
    rows = run.train()["progress"]["curve"]
    assert [row["step"] for row in rows] == [4, 6]
    assert [row["training_loss"] for row in rows] == pytest.approx([(0 + 1 + 2 + 3) / 4, (4 + 5) / 2])
    assert [row["pixels"] for row in rows] == [4 * 2 * CROP**2, 6 * 2 * CROP**2]  # two scenes a step
    peak = [loop.one_cycle(STEPS, 0.05)(step) for step in (4, 6)]
    assert [row["learning_rate"] / 1e-9 for row in rows] == pytest.approx(peak)
    assert [[row[f"loss_N{n}"] for n in (1, 2, 3)] for row in rows] == [pytest.approx([1, 2, 3])] * 2
    assert [[row[f"rmse_N{n}"] for n in (1, 2, 3)] for row in rows] == [[14, 24, 34], [16, 26, 36]]
    assert "training_loss=1.5" in run.said[0]


def test_one_cycle():
    """A straight rise over a tenth of 100 steps, half a cosine down to a hundredth."""
    factor = loop.one_cycle(100, 0.1)
    values = [factor(step) for step in (0, 4, 9, 10, 55, 100)]
    assert values == pytest.approx([0.1, 0.5, 1, 1, 0.505, 0.01])


def test_a_loss_that_is_not_finite_stops_the_run(monkeypatch, tmp_path):
    run = Run(monkeypatch, tmp_path)
    run.slope = math.nan
    with pytest.raises(OutputError, match="the loss of step 0 is not finite"):
        run.train()
    assert not list(tmp_path.iterdir())


def test_a_gradient_is_the_mean_over_the_passes_and_bounded(monkeypatch, tmp_path):
    """Passes over all positions and over parts of them, from the least configured number on."""
    run = Run(monkeypatch, tmp_path, subsets=4)
    run.slope = 7.0
    network = Weight()
    batch = Batch(*(torch.zeros(1, 3, 4, 4),) * 2, *(torch.zeros(1, 1, 4, 4),) * 3, torch.zeros(1))
    loss, _ = loop._step(run.config, Trainable(Weight, run.loss), network, batch, 0, 1)
    assert run.positions[0] == 3
    assert {*run.positions[1:]} == {1, 2}
    assert len(run.positions) == 5
    assert float(network.value.grad) == pytest.approx(7)
    assert float(loss) == pytest.approx(2)  # 0, 1, 2, 3, 4
    bounded = run.config.model_copy(update={"gradient_norm": 2.5})
    loop._step(bounded, Trainable(Weight, run.loss), network, batch, 0, 1)
    assert float(network.value.grad) == pytest.approx(2.5, rel=1e-5)


def test_finer_scales_join_with_the_steps(monkeypatch, tmp_path):
    run = Run(monkeypatch, tmp_path, coarse_first=0.5)
    run.train()
    assert run.progress == pytest.approx([step / 6 / 0.5 for step in range(6)])


def test_weights_of_the_scales():
    assert scale_weights(3, 1.0) == pytest.approx([0.49, 0.7, 1])
    assert scale_weights(3, 0.4) == pytest.approx([0.7, 1, 0])
    assert scale_weights(3, 0.0) == pytest.approx([1, 0, 0])


def test_minutes_end_a_leg_and_the_next_goes_on(monkeypatch, tmp_path):
    """The clock is set: a second a call. Keys that say how long a run goes may differ from leg to leg."""
    clock = iter(range(10_000))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    first = Run(monkeypatch, tmp_path, minutes=0.1, threads=1)
    state = first.train()
    assert 0 < state["progress"]["step"] < STEPS
    assert f"stopped after 0.1 minutes at step {state['progress']['step']}" in first.said[-1]
    second = Run(monkeypatch, tmp_path, minutes=10, checkpoint_minutes=9)
    whole = second.train(resume=True)
    assert second.said[0] == f"resumed after step {state['progress']['step']} of {STEPS}"
    assert whole["progress"]["step"] == STEPS
    assert len(second.progress) == STEPS - state["progress"]["step"]
    assert whole["progress"]["seconds"] > state["progress"]["seconds"]


# scenes


def test_a_seed_gives_its_own_scenes_and_patterns():
    config = TrainConfig(**TINY)
    other = config.model_copy(update={"seed": 2})
    one, two = SceneStream(config), SceneStream(other)
    assert not torch.equal(one[3].displacement, two[3].displacement)
    assert not torch.equal(one.bank.images[0], two.bank.images[0])
    counts = [[s[k].sample.shape[1] for k in range(6)] for s in (one, two, SceneStream(config, 1, 2))]
    assert counts[0] == counts[2]  # all processes of a run take the same N
    assert counts[0] != counts[1]
    assert {*counts[0], *counts[1]} == {1, 2, 3}


def test_held_out_scenes_are_the_same_for_all_runs():
    config = TrainConfig(**TINY)
    mine = validate.held_out(config)
    other = validate.held_out(config.model_copy(update={"seed": 2}))
    assert list(mine) == [1, 2, 3]
    assert all(len(batches) == 2 for batches in mine.values())
    for n, batches in mine.items():
        for batch, same, largest in zip(batches, other[n], mine[3], strict=True):
            assert torch.equal(batch.sample, same.sample)
            assert torch.equal(batch.sample, largest.sample[:, :n])
    assert not torch.equal(mine[1][0].displacement, mine[1][1].displacement)
    training = SceneStream(config.model_copy(update={"batch": 1}))
    assert not any(torch.equal(training[k].displacement, b.displacement) for k in (0, 1) for b in mine[3])


def test_scenes_are_told_their_blur_in_three_ways(monkeypatch):
    """A third exactly, a third with a normal error of 0.3 px, a third the usual 0.7 px."""
    count, blur = 30_000, 0.9
    one = torch.ones(count, 1, 1)
    frames = 1 + torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(3))
    scene = SimpleNamespace(
        reference=4 * frames, sample=3 * frames.flip(1), ux=one * 0.1, uy=one * 0.2,
        transmission=one * 0.3, darkfield=one * 0.4,
        blur_px=torch.full((count,), blur),
    )  # fmt: skip
    monkeypatch.setattr(stream, "random_batch", lambda *_: scene)
    monkeypatch.setattr(stream, "level_flux", lambda reference, sample: sample)
    batch = make_batch(generator("cpu", 5), count, 2, 1, None, TrainConfig(**TINY).scenes)
    told = batch.blur_px
    exact, assumed = told == blur, told == TYPICAL_BLUR_PX
    for chosen in (exact, assumed):
        assert float(chosen.float().mean()) == pytest.approx(1 / 3, abs=0.01)  # 4 standard deviations
    error = told[~exact & ~assumed] - blur
    assert (float(error.mean()), float(error.std())) == pytest.approx((0, 0.3), abs=0.01)
    mean = 4 * frames.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(batch.reference, 4 * frames / mean)
    assert torch.allclose(batch.sample, 3 * frames.flip(1) / mean)
    assert batch.displacement.shape == (count, 2, 1, 1)
    assert batch.displacement[0].flatten().tolist() == pytest.approx([0.1, 0.2])
    assert (float(batch.transmission[0]), float(batch.darkfield[0])) == pytest.approx((0.3, 0.4))


def test_random_numbers_depend_on_every_part_of_a_key():
    keys = [(0, 0), (0, 1), (1, 0), (0, 0, 0), (0, -1), (1, -1), (2, 0), (0,)]
    first = {float(torch.rand((), generator=generator("cpu", *key))) for key in keys}
    assert len(first) == len(keys)


# losses


def test_relative_error_is_that_of_the_truth():
    """Eq. (3): twice the truth and nothing at all are both wrong by 1; scenes count alike, whatever their size."""
    truth = torch.stack([torch.full((2, 4, 6), 0.5), torch.full((2, 4, 6), 3.0)])
    assert float(relative_error(2 * truth, truth)) == pytest.approx(1)
    assert float(relative_error(0 * truth, truth)) == pytest.approx(1)
    assert float(relative_error(truth + 0.5, truth)) == pytest.approx((1 + 1 / 36) / 2)
    assert float(relative_error(truth + 0.5, 0 * truth, floor=2.0)) == pytest.approx((1 / 4 + 3.5**2 / 4) / 2)


def test_likelihood_of_laplace_errors():
    """sqrt(2) |e| / sigma + ln sigma, weighted by the root of sigma; sigma from 1e-3 to 30 px."""
    sigma, error = torch.tensor([1.0, 4.0]).reshape(1, 1, 1, 2), torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    each = [math.sqrt(2), math.sqrt(2) * 2 / 4 + math.log(4)]
    expected = (1 * each[0] + 2 * each[1]) / 3
    assert float(laplace(error, 0 * error, sigma.log())) == pytest.approx(expected, rel=1e-5)
    one = torch.ones(1, 1, 1, 1)
    assert float(laplace(one, 0 * one, -100 * one)) == pytest.approx(math.sqrt(2) / 1e-3 + math.log(1e-3))
    assert float(laplace(one, 0 * one, 100 * one)) == pytest.approx(math.sqrt(2) / 30 + math.log(30))


def test_loss_of_a_scale_is_taken_at_that_scale():
    """Half the L1 error, a tenth of eq. (3) with a floor of 0.1 px, against the mean over the scale's pixels."""
    truth = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 2, 8, 8)
    coarse = truth.reshape(1, 2, 4, 2, 4, 2).mean((3, 5))
    assert float(displacement_loss(coarse, None, truth)) == pytest.approx(0, abs=1e-6)
    relative = 0.25 / (float(coarse.square().mean()) + 0.01)
    assert float(displacement_loss(coarse + 0.5, None, truth)) == pytest.approx(0.25 + 0.1 * relative)
    assert float(displacement_loss(coarse + 9, None, 0 * truth)) > 0.1 * 10  # eq. (3) is cut at ten
    sigma = torch.full((1, 1, 4, 4), 0.5)
    more = displacement_loss(coarse + 0.5, sigma.log(), truth) - displacement_loss(coarse + 0.5, None, truth)
    assert float(more) == pytest.approx(math.sqrt(2) + math.log(0.5), rel=1e-4)


def test_eq_3_is_cut_at_ten():
    found = torch.full((1, 2, 8, 8), 5.0)
    assert float(displacement_loss(found, None, 0 * found)) == pytest.approx(0.5 * 5 + 0.1 * 10)


def test_losses_are_logarithms_of_errors_without_the_border():
    inside = torch.zeros(2, 2, 40, 48)
    inside[0] += 0.03
    inside[1] += 0.2
    found = inside.clone()
    found[..., :BORDER_PX, :] = found[..., -BORDER_PX:, :] = 9
    found[..., :BORDER_PX] = found[..., -BORDER_PX:] = 9
    zero = torch.zeros_like(found)
    expected = sum(0.5 * math.log(e**2 + LEAST_SIGMA_PX**2) for e in (0.03, 0.2)) / 2
    assert float(scene_loss(found, zero)) == pytest.approx(expected, rel=1e-5)
    contrast = torch.full((1, 1, 5, 7), 0.02)
    assert float(contrast_loss(contrast, 0 * contrast)) == pytest.approx(
        0.5 * math.log(0.02**2 + 1e-6), rel=1e-5
    )
    far = torch.zeros(1, 2, 100, 90) + 0.004
    assert float(broad_loss(0 * far, 0 * far)) == pytest.approx(math.log(LEAST_BROAD_PX), rel=1e-5)
    smoothed = ndimage.gaussian_filter(far[0, 0].numpy(), 6, mode="constant", truncate=3)[8:-8, 8:-8]
    expected = 0.5 * math.log(np.mean(smoothed**2) + LEAST_BROAD_PX**2)
    assert float(broad_loss(far, 0 * far)) == pytest.approx(expected, abs=1e-3)
    # a constant error is a ramp of phase (measured: 1e-3 more, by the ends of the ramp)
    ramp = torch.zeros(1, 2, 40, 48)
    ramp[:, 0] = 0.1
    columns = torch.arange(48 - 2 * BORDER_PX, dtype=torch.float64)
    rms = float((0.1 * columns).std(correction=0))
    assert float(phase_loss(ramp, 0 * ramp)) == pytest.approx(
        0.5 * math.log(rms**2 + LEAST_PHASE_PX2**2), abs=3e-3
    )


def test_rmse_over_both_components():
    found = torch.stack([torch.full((4, 5), 0.3), torch.full((4, 5), -0.4)])[None]
    assert float(rmse(found, 0 * found)) == pytest.approx(math.sqrt((0.09 + 0.16) / 2))


def test_a_coarse_displacement_is_enlarged_in_its_unit():
    scale = torch.stack([torch.full((3, 4), 0.5), torch.full((3, 4), -0.25)])[None]
    large = enlarged(scale, 16)
    assert large.shape == (1, 2, 12, 16)
    assert torch.allclose(large[:, 0], torch.tensor(2.0))
    assert torch.allclose(large[:, 1], torch.tensor(-1.0))


def test_fields_on_the_detector_grid():
    """u = a x on the reference grid is a y / (1 + a) where the ray lands, y = x + u; other fields go with it."""
    a, b = 0.06, -0.04
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    other = 1 + 0.01 * x - 0.02 * y
    landed = to_detector_grid(torch.stack([a * (x - 20), b * (y - 15), other])[None])[0, :, 6:-6, 6:-6]
    at_x, at_y = ((x - 20) / (1 + a))[6:-6, 6:-6], ((y - 15) / (1 + b))[6:-6, 6:-6]
    assert torch.allclose(landed[0], a * at_x, atol=1e-4)
    assert torch.allclose(landed[1], b * at_y, atol=1e-4)
    assert torch.allclose(landed[2], 1 + 0.01 * (at_x + 20) - 0.02 * (at_y + 15), atol=1e-4)


class Predicts(FastEspinnet):
    """A network whose displacement is known and whose standard deviation is half a pixel."""

    def __init__(self, displacement) -> None:
        nn.Module.__init__(self)
        self.displacement = displacement

    def reference(self, stack, blur_px=None):
        return stack

    def forward(self, reference, sample):
        sigma = torch.full_like(self.displacement[:, :1], 0.5)
        return [], SimpleNamespace(displacement=self.displacement, log_sigma=sigma.log())


def test_factor_of_the_predicted_errors(monkeypatch):
    """Errors spread evenly from 0 to 1 px, sigma 0.5 px: 68.27 % are within 1.365 sigma; the border does not count."""
    error = (
        torch.rand(1, 2, 96, 96, generator=torch.Generator().manual_seed(2))
        * torch.tensor([1.0, -1.0])[:, None, None]
    )
    truth = torch.full_like(error, 0.7)
    found = truth + error
    found[..., :8, :] = found[..., -8:, :] = 100
    found[..., :8] = found[..., -8:] = 100
    batch = Batch(*(torch.zeros(1, 1, 96, 96),) * 2, truth, *(torch.zeros(1, 1, 96, 96),) * 2, torch.zeros(1))
    monkeypatch.setattr(validate, "held_out", lambda config: {1: [batch], 2: [batch]})
    config, device = TrainConfig(**TINY), torch.device("cpu")
    factor = validate.sigma_factor(Predicts(found), config, device)
    assert factor == pytest.approx(0.6827 / 0.5, rel=0.03)  # measured 1.36; 2560 errors: 1.3 % each
    assert validate.sigma_factor(Weight(), config, device) is None
