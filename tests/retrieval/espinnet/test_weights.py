"""Weight files: what fits is loaded, anything else is one sentence, and no file can run code."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from speckleflow.config.models import Retrieval
from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.espinnet import weights
from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.retrieval.espinnet.published import Espinnet
from speckleflow.train.checkpoint import save_weights
from speckleflow.weights import digest, find


def test_round_trip(tmp_path):
    torch.manual_seed(1)
    network, other = FastEspinnet(), FastEspinnet()
    save_weights(network, tmp_path / "w.safetensors", {"sigma_factor": "0.8"})
    file = weights.load(other, tmp_path / "w.safetensors")
    assert file.number("sigma_factor", 1.0) == 0.8
    assert file.sha256 == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    assert file.number("nothing_of_the_kind", 1.5) == 1.5
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
    with pytest.raises(InputError, match=r"expected a file, found no nowhere\.pt"):
        find("espinnet", "nowhere.pt")
    with pytest.raises(InputError, match="cannot be read"):
        find("espinnet", "/proc/self/mem")


def test_names_of_the_published_checkpoint():
    """Each of its parts is one of ours, whatever stands before."""
    names = Espinnet().state_dict().keys()
    for theirs, ours in (
        ("netFeatures.Feature(Lv0).0.0.weight", "encoder.0.0.0.weight"),
        ("netFeatures.Feature(Lv4).1.1.bias", "encoder.4.1.1.bias"),
        ("netFeaturesLast.FeatureLast.1.0.weight", "encoder_full.1.0.weight"),
        ("Upsample.conv.weight", "upsample.conv.weight"),
        ("module.flow_estimators.3.NetMain_flow.5.bias", "displacement.3.5.bias"),
        ("t_estimator.NetMain_T.0.0.weight", "transmission.0.0.weight"),
        ("d_estimator.NetMain_D.0.0.weight", "darkfield.0.0.weight"),
        ("flow_refiner.NetMain_refiner.5.bias", "refine_displacement.5.bias"),
        ("t_refiner.NetMain_refiner.5.bias", "refine_transmission.5.bias"),
        ("d_refiner.NetMain_refiner.5.bias", "refine_darkfield.5.bias"),
    ):
        assert ours in names
        translated = weights._translate_name(theirs.removeprefix("module."), weights.PUBLISHED_NAMES)
        assert translated == ours


def test_weights_of_earlier_versions_keep_loading(tmp_path):
    """The fusion head was called ``join`` in files written until then, the shipped ones among them."""
    torch.manual_seed(1)
    network, other = FastEspinnet(), FastEspinnet()
    earlier = {name.replace("fusion.", "join."): value for name, value in network.state_dict().items()}
    assert any(name.startswith("join.") for name in earlier)
    save_file(earlier, tmp_path / "w.safetensors")
    weights.load(other, tmp_path / "w.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_network_that_has_grown_keeps_what_the_file_lacks(tmp_path):
    torch.manual_seed(1)
    small = {
        name: value for name, value in FastEspinnet().state_dict().items() if not name.startswith("last")
    }
    save_file(small, tmp_path / "small.safetensors")
    grown = FastEspinnet()
    before = {name: value.clone() for name, value in grown.state_dict().items()}
    with pytest.raises(InputError, match=r"2 missing and 0 of another structure.*'last.bias'"):
        weights.load(grown, tmp_path / "small.safetensors")
    weights.load(grown, tmp_path / "small.safetensors", partial=True)
    for name, value in grown.state_dict().items():
        assert torch.equal(value, small.get(name, before[name])), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    network = FastEspinnet()
    with torch.no_grad():
        network.last.bias[1] = value
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"finite weights, found NaN or infinity in 'last\.bias'"):
        weights.load(FastEspinnet(), tmp_path / "w.safetensors")


def test_headers_of_other_files_are_empty(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(FastEspinnet(), path, {"network": "espinnet-fast", "n": "5"})
    assert {"network": "espinnet-fast", "n": "5"}.items() <= weights.about(path).items()
    for content in (
        b"",
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 4) + b"abcd",
        struct.pack("<Q", 2) + b"[]",
    ):
        path.write_bytes(content)
        assert weights.about(path) == {}


def test_the_digest_is_that_of_the_file_that_is_used(tmp_path):
    """SHA-256 of the method's own weights, read anew when the file changes; None for a method without any."""
    for method, file in (("espinnet", "espinnet-fast.safetensors"), ("spinnet", "spinnet.safetensors")):
        shipped = Path(find(method, "shipped"))
        assert shipped.name == file
        expected = hashlib.sha256(shipped.read_bytes()).hexdigest()
        assert digest(Retrieval(method=method)) == expected
    assert digest(Retrieval(method="umpa")) is None
    path = tmp_path / "mine.safetensors"
    retrieval = Retrieval(method="spinnet", spinnet={"weights": str(path)}, espinnet={"weights": "other"})
    for content in (b"one", b"another"):
        path.write_bytes(content)
        assert digest(retrieval) == hashlib.sha256(content).hexdigest()
    os.utime(path, ns=(1, 1))
    path.write_bytes(b"Another")  # as long as before
    assert digest(retrieval) == hashlib.sha256(b"Another").hexdigest()
    path.unlink()
    with pytest.raises(InputError, match=r"expected a file, found no .*mine\.safetensors"):
        digest(retrieval)


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"\x80\x02.", b"\x80\x02}q\x00.", b"\x80\x02u.", b"\x80\x02X\x01", b"PK\x03\x04", b"R."],
)
def test_a_checkpoint_that_is_none_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt: expected a checkpoint of tensors"):
        weights.load(Espinnet(), path)


@pytest.mark.parametrize(
    ("method", "theirs", "ours"),
    [
        ("spinnet", "espinnet", "spinnet or spinnet-published"),
        ("espinnet", "spinnet", "espinnet or espinnet-fast"),
    ],
)
def test_weights_of_another_method_of_the_same_structure_are_refused(method, theirs, ours):
    """Their tensors fit, so that nothing else would tell."""
    spec = registry.spec_of(method)
    path = find(theirs, "shipped")
    with pytest.raises(
        InputError, match=rf"expected weights of the network {ours} for method '{method}', found"
    ):
        registry.get(method)(spec.settings(weights=str(path)))
