"""Runs of CADE's network and the double exposure's generator: repeatable, resumed bit by bit, and they learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speckleflow.errors import ConfigError, InputError, OutputError
from speckleflow.retrieval.double_exposure.network import from_transmission
from speckleflow.train import read_train_config, train
from speckleflow.train.cade import (
    SCALE_WEIGHTS,
    CadeConfig,
    end_point_error,
    multiscale_loss,
)
from speckleflow.train.checkpoint import NAME
from speckleflow.train.double_exposure import (
    FEWEST_PAIRS,
    DoubleExposureConfig,
    PairPool,
    adversarial,
    feature_distance,
    read_pairs,
)
from speckleflow.train.perceptual import COUNTED, Vgg19

CADE = CadeConfig(
    network="cade",
    width=1 / 16,
    patterns={"patterns": 2, "pattern_px": 64},
    crop_px=32,
    batch=4,
    epochs=50,
    epoch_steps=4,
    average=0.95,
    validate_every=2,
    validation_pairs=8,
    checkpoint_minutes=1e-6,
    workers=0,
)
DOUBLE = DoubleExposureConfig(
    network="double_exposure",
    width=1 / 32,
    samples={"exposures": 3, "size_px": 64},
    crop_px=64,
    steps=200,
    pixel_weight=10.0,
    average=0.95,
    validate_every=2,
    validation_pairs=3,
    checkpoint_minutes=1e-6,
    workers=0,
)
RUNS = {"cade": CADE, "double_exposure": DOUBLE}


@pytest.fixture(params=RUNS)
def config(request):
    return RUNS[request.param]


def short(config, steps):
    """The same run of fewer steps."""
    name = "epochs" if isinstance(config, CadeConfig) else "steps"
    changes = {name: steps} if name == "steps" else {name: steps, "epoch_steps": 1}
    return config.model_copy(update=changes)


def silent(_):
    pass


def equal(a, b):
    """Whether two states are the same, tensor by tensor."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


class Killed(Exception):
    pass


def test_resumes_bit_for_bit(config, tmp_path):
    whole, cut = (
        short(config, 5).model_copy(update={"folder": str(tmp_path / name)}) for name in ("whole", "cut")
    )
    train(whole, say=silent)

    def kill(line):
        if line.startswith("step=4"):
            raise Killed  # after the step, before its checkpoint

    with pytest.raises(Killed):
        train(cut, say=kill)
    assert torch.load(tmp_path / "cut" / NAME, weights_only=True)["progress"]["step"] == 3
    train(cut, resume=True, say=silent)
    one, other = (torch.load(tmp_path / name / NAME, weights_only=True) for name in ("whole", "cut"))
    for state in (one, other):  # the clock
        state["progress"].pop("seconds")
    assert equal(one, other)
    curve = (tmp_path / "whole" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["step", "2", "4", "5"]
    assert curve == (tmp_path / "cut" / "curve.csv").read_text().splitlines()


def test_a_seed_decides_the_step(config):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        learner = config.model_copy(update={"seed": seed}).learner()
        learner.step(learner.batches[0])
        states.append(learner.network.state_dict())
    assert equal(states[0], states[1])
    assert not equal(states[0], states[2])


def test_200_steps_lower_the_loss(config):
    torch.manual_seed(1)
    if config.network == "cade":  # broad, bright, and faster than the paper: what 200 steps can learn
        pairs = {"patch_px": (64,), "photons": (1e5, 1e5), "transmission_min": 0.9}
        changes = {"width": 1 / 8, "learning_rate": 2e-3, "milestones": ()}
        config = config.model_copy(update={**changes, "pairs": config.pairs.model_copy(update=pairs)})
    learner = config.learner()
    before = learner.validate(learner.network)
    for step in range(200):
        learner.step(learner.batches[step])
    after = learner.validate(learner.network)
    if config.network == "cade":
        assert before["epe"] == pytest.approx(
            before["epe_of_zero"], rel=0.05
        )  # begins near zero displacement
        assert after["epe"] < 0.85 * before["epe"]  # measured 0.70
    else:
        # measured 0.6 of the untrained one's, which is worse than an empty image
        assert after["rmse"] < 0.8 * before["rmse"]


def test_resuming_with_another_configuration_is_refused(config, tmp_path):
    run = short(config, 1).model_copy(update={"folder": str(tmp_path)})
    train(run, say=silent)
    with pytest.raises(ConfigError, match="there is a run in this folder already"):
        train(run, say=silent)
    with pytest.raises(InputError, match=r"expected a run with seed = 7, found 1"):
        train(run.model_copy(update={"seed": 7}), resume=True, say=silent)


def test_a_loss_that_is_not_finite_ends_the_run(config, tmp_path, monkeypatch):
    run = short(config, 3).model_copy(update={"folder": str(tmp_path)})
    kind = type(run.learner())
    monkeypatch.setattr(kind, "step", lambda self, batch: math.nan)
    with pytest.raises(OutputError, match=r"the loss of step 0 is not finite"):
        train(run, say=silent)


def test_weights_say_what_they_are(config, tmp_path):
    from speckleflow.retrieval.espinnet.weights import about

    path = train(short(config, 1).model_copy(update={"folder": str(tmp_path)}), say=silent)
    header = about(path)
    assert header["network"] == config.network
    assert float(header["width"]) == config.width
    assert header["steps"] == "1"
    energy = {"cade": 30.0, "double_exposure": 15.0}[config.network]
    assert float(header["energy_kev"]) == energy
    assert all(torch.isfinite(t).all() for t in load_file(path).values())


@pytest.mark.parametrize("name", ["cade", "cade-cpu", "double-exposure", "double-exposure-cpu"])
def test_shipped_configurations_are_read(name):
    config = read_train_config(f"config/train/{name}.yaml")
    assert config.network == name.removesuffix("-cpu").replace("-", "_")
    if name == "cade":  # the paper's Table 1 and sec. II
        assert (config.width, config.batch, config.epochs, config.learning_rate) == (1.0, 16, 350, 1e-3)
        assert (config.beta, config.weight_decay) == (0.999, 4e-4)
        assert config.milestones == (40, 80, 120, 160, 200, 240)
        assert config.epoch_steps == 21841 // 16
    if name == "double-exposure":  # sec. 2.3: 2880 pairs, batch 1, 100 epochs
        assert (config.width, config.inputs, config.batch, config.steps) == (1.0, 1, 1, 288_000)
        assert (config.perceptual_weight, config.pixel_weight) == (10.0, 0.0)


def test_the_learning_rate_is_halved_at_the_milestones():
    torch.manual_seed(0)
    learner = CADE.model_copy(update={"epoch_steps": 2, "milestones": (1, 3)}).learner()
    rates = []
    for step in range(7):
        rates.append(learner.optimizer.param_groups[0]["lr"])
        learner.step(learner.batches[step])
    assert rates == pytest.approx([1e-3, 1e-3] + 4 * [5e-4] + [2.5e-4])
    decays = [(len(g["params"]), g["weight_decay"]) for g in learner.optimizer.param_groups]
    assert decays == [(23, 4e-4), (23, 0)]  # 10 + 5 + 8 layers; biases are free


def test_multiscale_loss_weighs_sums_of_end_point_errors():
    truth = torch.zeros(2, 2, 32, 32)
    truth[:, 0], truth[:, 1] = 3.0, 4.0  # every pixel's error is 5 px
    scales = [torch.zeros(2, 2, 32 // k, 32 // k) for k in (16, 8, 4, 2, 1)]
    pixels = [32 * 32, 16 * 16, 8 * 8, 4 * 4, 2 * 2]
    assert SCALE_WEIGHTS == (0.005, 0.01, 0.02, 0.08, 0.32)
    expected = 5 * sum(w * n for w, n in zip(SCALE_WEIGHTS, pixels, strict=True))
    assert float(multiscale_loss(scales, truth)) == pytest.approx(expected, rel=1e-6)
    truth[..., ::2] = -truth[..., ::2]  # on the coarser scales the mean is zero
    assert float(multiscale_loss(scales, truth)) == pytest.approx(5 * 0.005 * 1024, rel=1e-4)
    assert end_point_error(truth, truth).max() < 1e-5


def test_adversarial_losses_are_those_of_equation_2():
    logits = torch.tensor([0.0, 2.0])
    sure = 1 / (1 + math.exp(-2))
    assert float(adversarial(logits, real=True)) == pytest.approx(-(math.log(0.5) + math.log(sure)) / 2)
    assert float(adversarial(logits, real=False)) == pytest.approx(-(math.log(0.5) + math.log(1 - sure)) / 2)
    made = [[torch.full((1, 2), 1.0), torch.full((4,), 9.0)], [torch.full((3,), 2.0), torch.full((4,), 9.0)]]
    wanted = [[torch.full((1, 2), 0.5), torch.zeros(4)], [torch.full((3,), 0.0), torch.zeros(4)]]
    assert float(feature_distance(made, wanted)) == pytest.approx((0.5 + 2.0) / 2)  # the logits do not count


def own_pairs(folder, count, shape=(80, 96)):
    generator = np.random.default_rng(0)
    speckle, inline = (generator.uniform(0.5, 1.5, (count, *shape)).astype("float32") for _ in range(2))
    reference = generator.uniform(0.5, 1.5, shape).astype("float32")
    for name, stack in (("speckle", speckle), ("inline", inline), ("reference", reference)):
        np.save(folder / f"{name}.npy", stack)
    return {"folder": str(folder), "energy_kev": 20.0, "pixel_size_um": 2.0}


def test_own_pairs_are_read_and_a_tenth_is_held_out(tmp_path):
    section = own_pairs(tmp_path, 30)
    config = DoubleExposureConfig.model_validate({**DOUBLE.model_dump(), "own_pairs": section})
    pools = [PairPool(config, kind).pool for kind in (0, 1)]
    assert [len(pool) for pool in pools] == [27, 3]
    speckle, reference = (np.load(tmp_path / f"{name}.npy") for name in ("speckle", "reference"))
    assert np.array_equal(pools[1][0].speckle, speckle[27])
    assert np.array_equal(pools[0][5].reference, reference)
    x, wanted = PairPool(config)[0]
    assert x.shape == wanted.shape == (1, 1, 64, 64)
    assert config.learner().about()["energy_kev"] == "20.0"


def test_too_few_or_wrong_pairs_are_refused(tmp_path):
    own_pairs(tmp_path, FEWEST_PAIRS - 1)
    with pytest.raises(ConfigError, match=rf"expected at least {FEWEST_PAIRS} pairs .*, found 19"):
        read_pairs(str(tmp_path), 64)
    own_pairs(tmp_path, FEWEST_PAIRS)
    assert len(read_pairs(str(tmp_path), 64)) == FEWEST_PAIRS
    with pytest.raises(InputError, match=r"at least crop_px = 128 pixels, found 80 x 96"):
        read_pairs(str(tmp_path), 128)
    np.save(tmp_path / "inline.npy", np.ones((FEWEST_PAIRS, 80, 95), "float32"))
    with pytest.raises(InputError, match=r"expected shape \(20, 80, 96\)"):
        read_pairs(str(tmp_path), 64)
    (tmp_path / "reference.npy").unlink()
    with pytest.raises(InputError, match="expected one stack 'reference'"):
        read_pairs(str(tmp_path), 64)


def test_pairs_are_read_before_any_worker_starts(tmp_path):
    """Else the sentence is lost in a worker's traceback."""
    section = own_pairs(tmp_path, FEWEST_PAIRS - 1)
    values = {**DOUBLE.model_dump(), "own_pairs": section, "workers": 1, "folder": str(tmp_path / "run")}
    with pytest.raises(ConfigError) as problem:
        train(DoubleExposureConfig.model_validate(values))
    assert str(problem.value).startswith(f"{tmp_path}: expected at least {FEWEST_PAIRS} pairs")
    assert "\n" not in str(problem.value)
    assert not (tmp_path / "run").exists()


def test_crops_of_a_pair_stay_together(tmp_path):
    section = own_pairs(tmp_path, FEWEST_PAIRS)
    for name in ("speckle", "inline"):  # all three show the same
        np.save(tmp_path / f"{name}.npy", np.load(tmp_path / "reference.npy")[None].repeat(FEWEST_PAIRS, 0))
    config = DoubleExposureConfig.model_validate({**DOUBLE.model_dump(), "own_pairs": section, "inputs": 2})
    for step in range(4):
        x, wanted = PairPool(config)[step]
        assert x[:, 0].abs().max() == 0
        assert torch.allclose(wanted[:, 0], from_transmission(1 + x[:, 1]), atol=1e-6)


def test_a_users_vgg_is_loaded_and_weighs_its_layers(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "vgg19.pth"
    torch.save({**Vgg19().state_dict(), "classifier.0.weight": torch.zeros(3)}, path)
    vgg = Vgg19.load(str(path))
    image, other = torch.rand(2, 1, 1, 32, 32) * 2 - 1
    assert float(vgg.distance(image, image)) == 0.0
    # by the layers' outputs, each alone
    outputs = []
    for part in (image, other):
        x = ((part + 1) / 2).expand(-1, 3, -1, -1)
        x = (x - vgg.mean) / vgg.deviation
        found = []
        for layer in vgg.features:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                found.append(x)
        outputs.append(found)
    expected = sum(
        weight * float((outputs[0][k - 1] - outputs[1][k - 1]).abs().mean()) for k, weight in COUNTED.items()
    )
    assert float(vgg.distance(image, other)) == pytest.approx(expected, rel=1e-5)
    assert [len(o) for o in outputs] == [13, 13]
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="expected VGG-19's weights by torchvision's names"):
        Vgg19.load(str(path))
    with pytest.raises(ConfigError, match="vgg19: expected a file, found no"):
        Vgg19.load(str(tmp_path / "none.pth"))


def test_the_papers_perceptual_loss_needs_its_weights(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("network: double_exposure\nperceptual: vgg19\n")
    with pytest.raises(ConfigError, match="needs vgg19:"):
        read_train_config(path)
    path.write_text("network: cade\nwidht: 1\n")
    with pytest.raises(ConfigError, match="widht"):
        read_train_config(path)
