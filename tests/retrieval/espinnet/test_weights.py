"""Weight files: what fits is loaded, anything else is one sentence, and no file can run code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval.espinnet import weights
from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.retrieval.espinnet.published import Espinnet
from speckleflow.train.checkpoint import save_weights
from speckleflow.weights import find


def test_round_trip(tmp_path):
    torch.manual_seed(1)
    network, other = FastEspinnet(), FastEspinnet()
    save_weights(network, tmp_path / "w.safetensors", {"sigma_factor": "0.8"})
    file = weights.load(other, tmp_path / "w.safetensors")
    assert file.number("sigma_factor", 1.0) == 0.8
    assert len(file.sha256) == 64
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


class Evil:
    """Runs code when it is unpickled the careless way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickle_with_code_is_refused_and_not_run(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "model.pt"
    torch.save({"model_state_dict": Evil(mark)}, path)
    with pytest.raises(InputError, match="nothing was executed"):
        weights.load(Espinnet(), path)
    path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(InputError, match="nothing was executed"):
        weights.load(Espinnet(), path)
    assert not mark.exists()


def test_wrong_structure(tmp_path):
    network = Espinnet()
    tensors = dict(network.state_dict())
    tensors.pop("upsample.conv.weight")
    torch.save({"model_state_dict": tensors}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"1 missing .* 'upsample.conv.weight'"):
        weights.load(Espinnet(), tmp_path / "a.pt")
    tensors["upsample.conv.weight"] = torch.zeros(2, 1, 5, 5)
    torch.save({"model_state_dict": tensors}, tmp_path / "b.pt")
    with pytest.raises(InputError, match=r"shape \(2, 1, 3, 3\), found shape \(2, 1, 5, 5\)"):
        weights.load(Espinnet(), tmp_path / "b.pt")
    torch.save([1, 2], tmp_path / "c.pt")
    with pytest.raises(InputError, match="model_state_dict"):
        weights.load(Espinnet(), tmp_path / "c.pt")


def test_damaged_files(tmp_path):
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(b"\x00" * 100)
        with pytest.raises(InputError, match=name):
            weights.load(Espinnet(), tmp_path / name)


def test_names_of_distributed_training(tmp_path):
    network = Espinnet()
    tensors = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model_state_dict": tensors}, tmp_path / "a.pt")
    weights.load(Espinnet(), tmp_path / "a.pt")


def test_missing_weights():
    with pytest.raises(ConfigError, match="needs `weights:`"):
        find("umpa", "shipped")
    with pytest.raises(ConfigError, match=r"expected a file, found no nowhere\.pt"):
        find("espinnet", "nowhere.pt")
