"""The ONNX file of a method says what the method says, and nothing is written when it cannot be made."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.retrieval.espinnet import export, fast, refinement
from speckleflow.retrieval.espinnet.export import Whole
from speckleflow.retrieval.espinnet.retriever import Espinnet
from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.sampling import pull
from speckleflow.stages.export_network import export_network
from speckleflow.train.checkpoint import save_weights


@pytest.mark.slow
def test_what_is_traced_gives_what_the_method_gives(monkeypatch):
    """The branches that only a traced graph takes (convolutions for band matrices, no threads), computed at once."""
    scene = scenes(Cell("mask", 3, 5000.0), count=1, size=76)  # no multiple of 8
    reference = 700 * scene.reference[0]
    sample = 700 * scene.sample * torch.tensor([1.0, 1.01, 1.0])[:, None, None]
    method = Espinnet(EspinnetSettings())
    state = method.prepare(reference)
    fields = dict(method(sample, state).items())
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with torch.inference_mode():
        maps = Whole(method.structure, state.whole).eval()(reference, sample)
    assert set(method.structure.maps[: len(maps)]) == set(fields) - {"flags"}
    for name, found in zip(method.structure.maps, maps, strict=False):
        off = (found - fields[name]).abs()
        assert off.shape == (1, 76, 76)
        assert float(off.square().mean().sqrt()) < 2e-5, name
        assert float(off.max()) < 5e-4, name


@pytest.mark.long  # tracing takes two minutes
def test_the_file_gives_what_the_method_gives(tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason="ONNX is written by onnx and onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run by onnxruntime")
    # two scales and two windows do all that more of them do, in a third of the time that tracing takes
    monkeypatch.setattr(fast, "SCALES", (4, 2))
    monkeypatch.setattr(refinement, "SCALES", (4.0, 0.8))
    monkeypatch.setattr(refinement, "COARSE_SCALES", (2.0,))
    scene = scenes(Cell("mask", 3, 5000.0), count=1, size=76)  # no multiple of 8
    reference, sample = 700 * scene.reference[0].numpy(), 700 * scene.sample.numpy()
    np.save(tmp_path / "reference.npy", reference)
    output = tmp_path / "network.onnx"
    export_network(method="espinnet", reference=str(tmp_path / "reference.npy"), output=output, weights=None)
    session = runtime.InferenceSession(output)
    # another frame of the same scan, one of its positions brighter
    sample *= np.array([1.0, 1.01, 1.0], np.float32)[:, None, None]
    names = [entry.name for entry in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"reference": reference, "sample": sample}), strict=True))
    method = Espinnet(EspinnetSettings())
    fields = dict(method(torch.from_numpy(sample), method.prepare(torch.from_numpy(reference))).items())
    assert set(found) == set(fields) - {"flags"}
    for name, values in found.items():
        off = np.abs(values - fields[name].numpy())
        assert off.shape == (1, 76, 76)
        assert np.sqrt(np.mean(off**2)) < 2e-5, name
        assert off.max() < 5e-4, name
    about = session.get_modelmeta().custom_metadata_map
    assert about["speckleflow.weights_sha256"] == method.weights_sha256
    assert {path.name for path in tmp_path.iterdir()} == {"network.onnx", "reference.npy"}


@pytest.mark.parametrize("method", ["espinnet", "spinnet"])
def test_the_weights_of_the_user_are_those_that_are_exported(tmp_path, monkeypatch, method):
    """Of the file that ``--weights`` names, not the ones that come with the package; corrected frames as they are."""
    torch.manual_seed(1)
    weights = tmp_path / "mine.safetensors"
    save_weights(fast.FastEspinnet(), weights, {"sigma_factor": "1.25"})
    exported = []

    class Program:
        def save(self, path, external_data):
            assert external_data is False
            path.write_bytes(b"graph")

    monkeypatch.setattr(export, "check_packages", lambda: None)
    monkeypatch.setattr(export, "to_onnx", lambda *given: exported.append(given) or Program())
    frames = (
        np.random.default_rng(1)
        .integers(100, 200, (1 if method == "spinnet" else 3, 64, 80))
        .astype(np.uint16)
    )
    np.save(tmp_path / "reference.npy", frames)
    output = tmp_path / "net.onnx"
    export_network(
        method=method, reference=str(tmp_path / "reference.npy"), output=output, weights=str(weights)
    )
    ((retriever, stack),) = exported
    assert retriever.spec.name == method
    assert retriever.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert torch.equal(stack, torch.from_numpy(frames.astype(np.float32)))
    assert output.read_bytes() == b"graph"


def test_a_published_structure_is_one_function_of_two_stacks(shared_data):
    """What is exported of it is the network's answer on the detector grid, padding taken off."""
    path = shared_data("espinnet-parity") / "random_model_001500.pt"
    method = Espinnet(EspinnetSettings(weights=str(path)))
    truth = torch.from_numpy(np.load(path.parent / "input_output.npz")["input"])
    reference, sample = truth[:20, :100], truth[None, 20:, :100]
    with torch.inference_mode():
        ux, uy, t, d = Whole(method.structure, None)(reference, sample)
        fields = method(sample, method.prepare(reference))
    assert ux.shape == uy.shape == t.shape == d.shape == (1, 100, 192)
    # f(x) = f'(x + u(x)) to bilinear interpolation
    u = torch.stack((fields.ux, fields.uy), 1)
    inside = (..., slice(16, -16), slice(16, -16))
    for name, field in (("ux", ux), ("uy", uy), ("transmission", t), ("darkfield", d)):
        off = (pull(field[:, None], u)[:, 0] - getattr(fields, name))[inside]
        assert float(off.abs().max()) < 0.008, name  # measured: 0.0026


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"method": "umpa"}, "method 'umpa' has no network to export"),
        ({"output": "net.pt"}, "ends in .onnx, found 'net.pt'"),
        ({"output": "there.onnx"}, "expected a new file, found one of that name"),
    ],
)
def test_refused_in_a_sentence(tmp_path, changes, parts):
    (tmp_path / "there.onnx").write_bytes(b"x")
    np.save(tmp_path / "reference.npy", np.ones((3, 64, 64), np.float32))
    wanted = {"method": "espinnet", "output": "net.onnx", **changes}
    with pytest.raises(ConfigError, match=parts):
        export_network(
            method=wanted["method"],
            reference=str(tmp_path / "reference.npy"),
            output=tmp_path / wanted["output"],
            weights=None,
        )
    assert (tmp_path / "there.onnx").read_bytes() == b"x"
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.slow
def test_a_missing_package_is_named(tmp_path):
    code = (
        "import sys; sys.modules['onnxscript'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'onnxscript' else find(name, *a)\n"
        "from speckleflow.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export-network", "--reference", "r.npy", "--output", "net.onnx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'speckleflow[onnx]'" in done.stderr
    assert not list(tmp_path.iterdir())
