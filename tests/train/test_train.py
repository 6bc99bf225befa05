"""Training: exact resume after kill -9, held-out numbers, refusals."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from speckleflow.errors import ConfigError, InputError
from speckleflow.train import TrainConfig, read_train_config, train
from speckleflow.train.checkpoint import NAME
from speckleflow.train.loss import ONE_SIGMA, quantile_loss, scene_loss
from speckleflow.train.stream import SceneStream

TINY = {
    "network": "espinnet-fast",
    "steps": 50,
    "batch": 1,
    "crop_px": 64,
    "subsets": 0,
    "validate_every": 25,
    "validation_scenes": 1,
    "checkpoint_minutes": 0.02,
    "workers": 0,
    "scenes": {"positions": [1, 2], "patterns": 3, "pattern_px": 96, "displacement_px": [0.05, 4.0]},
}
#: what batch normalisation counts, of every layer that is run
NORM = ("running_mean", "running_var", "num_batches_tracked")
RUN = "import sys; from speckleflow.train import *; train(read_train_config(sys.argv[1]), resume=True)"


def _tensors(folder: Path) -> dict:
    return torch.load(folder / NAME, weights_only=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(TrainConfig(**TINY, folder=str(folder)), say=lambda _: None)
    return folder


@pytest.mark.slow
def test_resumes_bit_for_bit_after_kill_9(uninterrupted, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump({**TINY, "folder": str(tmp_path / "run")}))
    process = subprocess.Popen([sys.executable, "-c", RUN, str(config)], start_new_session=True)
    while not (tmp_path / "run" / NAME).exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    steps = _tensors(tmp_path / "run")["progress"]["step"]
    assert 0 < steps < TINY["steps"]
    train(read_train_config(config), resume=True, say=lambda _: None)
    whole, resumed = _tensors(uninterrupted), _tensors(tmp_path / "run")
    assert resumed["progress"]["curve"] == whole["progress"]["curve"]
    for part in ("network", "average"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), name


@pytest.mark.slow
def test_curve_and_weights_are_written(uninterrupted):
    rows = (uninterrupted / "curve.csv").read_text().splitlines()
    assert rows[0].startswith("step,pixels,learning_rate,training_loss,loss_N1,rmse_N1")
    assert [int(row.split(",")[0]) for row in rows[1:]] == [25, 50]
    assert (uninterrupted / "weights.safetensors").stat().st_size > 100_000


@pytest.mark.slow
def test_parts_train_alone(tmp_path):
    """Only the chosen part changes; a structure without parts refuses."""
    first = tmp_path / "first"
    train(TrainConfig(**{**TINY, "steps": 1}, part="pyramid", folder=str(first)), say=lambda _: None)
    start = load_file(first / "weights.safetensors")
    values = {**TINY, "steps": 2, "average": 0.0, "start_from": str(first / "weights.safetensors")}
    for part, own in (
        ("pyramid", lambda name: not name.startswith("fusion.")),
        ("fusion", lambda n: n.startswith("fusion.")),
    ):
        folder = tmp_path / part
        train(TrainConfig(**values, part=part, folder=str(folder)), say=lambda _: None)
        found = load_file(folder / "weights.safetensors")
        changed = {name for name in found if not torch.equal(found[name], start[name])}
        assert changed
        assert all(own(name) for name in changed)
    with pytest.raises(ConfigError, match="part: expected one of all"):
        train(TrainConfig(**{**TINY, "network": "espinnet"}, part="fusion", folder=str(tmp_path / "x")))


@pytest.mark.slow
def test_coarse_scales_of_the_published_structure_train_alone(tmp_path):
    """What works at full resolution stays; scales join one by one."""
    values = {**TINY, "network": "espinnet", "part": "coarse", "subsets": 0, "crop_px": 64, "average": 0.0}
    found = []
    for steps in (1, 2):
        folder = tmp_path / str(steps)
        train(TrainConfig(**{**values, "steps": steps}, folder=str(folder)), say=lambda _: None)
        found.append(load_file(folder / "weights.safetensors"))
    changed = {name for name in found[0] if not torch.equal(found[0][name], found[1][name])}
    learned = {name.split(".")[0] for name in changed if not name.endswith(NORM)}
    assert learned == {"encoder", "upsample", "displacement"}
    assert not any(name.startswith("displacement.5.") for name in changed)  # the one of full resolution


def test_losses_are_least_at_the_truth():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(3, 2, 40, 40, generator=generator)
    noise = 0.1 * torch.randn(truth.shape, generator=generator)
    # a tenth of the error: ln 10 of the RMSE
    more, less = scene_loss(truth + noise, truth), scene_loss(truth + 0.1 * noise, truth)
    assert float(more - less) == pytest.approx(math.log(10), abs=0.1)
    # sigma is learned to hold 68 % of the errors, though they are not Gaussian
    errors = noise * torch.where(torch.rand(noise.shape, generator=generator) < 0.1, 10.0, 1.0)
    guesses = torch.linspace(-4, 0, 81)
    losses = [quantile_loss(truth + errors, truth, torch.full((3, 1, 40, 40), float(g))) for g in guesses]
    best = guesses[int(torch.stack(losses).argmin())].exp()
    assert float((errors.abs() < best).float().mean()) == pytest.approx(ONE_SIGMA, abs=0.02)


@pytest.mark.slow
def test_refuses_to_overwrite_or_to_mix_runs(uninterrupted):
    with pytest.raises(ConfigError, match="--resume"):
        train(TrainConfig(**TINY, folder=str(uninterrupted)))
    with pytest.raises(InputError, match="learning_rate"):
        train(TrainConfig(**TINY, folder=str(uninterrupted), learning_rate=0.5), resume=True)


def test_scenes_depend_on_seed_and_step_alone():
    config = TrainConfig(**TINY)
    first, again = SceneStream(config), SceneStream(config)
    a = first[7]
    again[3]  # whatever was drawn before
    b = again[7]
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(first[8].displacement, a.displacement)
    assert not torch.equal(SceneStream(config, rank=1, world=2)[7].displacement, a.displacement)


def test_config_errors_name_the_key(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("stepz: 3\n")
    with pytest.raises(ConfigError, match="stepz"):
        read_train_config(path)
    path.write_text("crop_px: 100\n")
    with pytest.raises(ConfigError, match="crop_px"):
        read_train_config(path)
    with pytest.raises(ConfigError, match="expected a configuration file, found none there"):
        read_train_config(tmp_path / "none.yaml")


@pytest.mark.slow
def test_command_line(tmp_path):
    from typer.testing import CliRunner

    from speckleflow.cli import app

    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump({**TINY, "steps": 2, "folder": str(tmp_path / "run")}))
    result = CliRunner().invoke(app, ["train", "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "weights.safetensors").exists()
    result = CliRunner().invoke(app, ["train", "--config", str(config)])
    assert isinstance(result.exception, ConfigError)
    result = CliRunner().invoke(app, ["evaluate", "umpa", "--positions", "two"])
    assert "expected numbers" in str(result.exception)
