"""What the command line refuses for one stack or one sinogram: before anything is computed, with nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from speckleflow.errors import SpeckleflowError
from speckleflow.stages.by_hand import reconstruct_files, retrieve_files

DEFAULTS = {
    "reference": "r.npy", "sample": "s.npy", "output": Path("out.h5"), "method": "umpa", "flat": None, "dark": None,
    "geometry": (None, None, None), "grid": "reference", "window": None, "weights": None, "device": "cpu",
}  # fmt: skip


class Hostile:
    """What a pickle may hold: a command that is run when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stacks in a folder whose name has a space and an umlaut."""
    folder = tmp_path / "Zähne 2026"
    folder.mkdir()
    monkeypatch.chdir(folder)
    reference = 1000 * (1 + 0.2 * np.random.default_rng(0).normal(size=(4, 32, 40)))
    sample = 0.8 * np.roll(reference, 1, 2)
    for name, stack in {
        "r": reference, "s": sample, "four": sample[None], "complex": sample + 0j, "zero": 0 * sample,
        "negative": -sample, "clipped": np.minimum(80 * sample, 65535).astype(np.uint16), "bool": sample > 900,
    }.items():  # fmt: skip
        np.save(f"{name}.npy", stack)
    Path("short.npy").write_bytes(Path("s.npy").read_bytes()[:3000])
    with h5py.File("stacks.h5", "w") as file:
        file["a/s"] = sample
    (folder / "taken.h5").mkdir()
    np.save("one_r.npy", reference[:1])
    np.save("one_s.npy", sample[:1])
    torch.save({"weights": Hostile()}, "hostile.pt")
    torch.save({"model_state_dict": {"other.weight": torch.zeros(3, 3)}}, "other.pt")
    Path("text.safetensors").write_text("no weights")
    Path("notes.h5").write_text("not a result")
    return folder


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"sample": "four.npy"}, ["four.npy", "(N, y, x)", "(1, 4, 32, 40)"]),
        ({"sample": "complex.npy"}, ["complex.npy", "complex128"]),
        ({"sample": "bool.npy"}, ["bool.npy", "bool of shape"]),
        ({"sample": "zero.npy"}, ["zero.npy: expected an image in the sample frames", "only 0"]),
        (
            {"sample": "negative.npy"},
            ["negative.npy: expected sample frames brighter than the dark (0 counts)"],
        ),
        ({"sample": "clipped.npy"}, ["clipped.npy: expected sample frames below saturation", "at 65535"]),
        ({"sample": "short.npy"}, ["short.npy: expected a complete image file, found damage"]),
        ({"sample": "r.npy"}, ["r.npy: expected other frames than the reference's, found the same ones"]),
        ({"sample": "stacks.h5"}, ["expected stacks.h5:/dataset", "the file holds a"]),
        ({"sample": "stacks.h5:"}, ["expected stacks.h5:/dataset", "no dataset named"]),
        ({"sample": "stacks.h5:/a/t"}, ["expected a dataset /a/t", "/a holds s"]),
        ({"sample": ""}, ["an empty name"]),
        ({"method": "umpaa"}, ["did you mean 'umpa'"]),
        ({"weights": "w.pt"}, ["method 'umpa' has no weights; leave out --weights"]),
        ({"method": "espinnet", "weights": "gone.pt"}, ["weights: expected a file, found no gone.pt"]),
        (
            {"method": "espinnet", "weights": "hostile.pt"},
            ["hostile.pt: expected a checkpoint of tensors", "nothing was executed"],
        ),
        (
            {"method": "espinnet", "weights": "other.pt"},
            ["other.pt", "expected the 426 tensors", "another structure"],
        ),
        ({"method": "espinnet", "weights": "text.safetensors"}, ["text.safetensors"]),
        (
            {"method": "espinnet", "reference": "one_r.npy", "sample": "one_s.npy"},
            ["at least 2 diffuser position(s)", "'espinnet'", "found 1"],
        ),
        ({"device": "cuda"}, ["expected a GPU for 'cuda'", "none"]),
        ({"method": "absorption", "window": "7"}, ["'absorption' has no window; leave out --window"]),
        ({"window": "-3"}, ["expected auto or an odd number from 1 to 63, found '-3'"]),
        ({"geometry": (20000.0, 1.3, 0.2)}, ["1 to 1000 keV (was it given in eV?), found 20000 keV"]),
        ({"geometry": (20.0, 1.3, 0.2), "grid": "detector"}, ["leave out --grid detector"]),
        ({"output": Path("fields.tif")}, ["--output fields.tif", ".h5 or .hdf5"]),
        ({"output": Path("taken.h5")}, ["--output taken.h5", "found a folder"]),
        ({"output": Path("notes.h5")}, ["--output notes.h5", "an earlier result, found another file"]),
        (
            {"output": Path("stacks.h5"), "sample": "stacks.h5:/a/s"},
            ["another file than the input, found the same"],
        ),
        ({"output": Path("r.npy/out.h5")}, ["r.npy is no folder"]),
    ],
)
def test_refused_in_a_sentence_and_nothing_written(folder: Path, changes: dict, parts: list[str]):
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SpeckleflowError) as refused:
        retrieve_files(**{**DEFAULTS, **changes})
    for part in parts:
        assert part in str(refused.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_dataset_with_or_without_a_slash_and_an_earlier_result_replaced(folder: Path):
    for sample in ("stacks.h5:/a/s", "stacks.h5:a/s"):
        retrieve_files(**{**DEFAULTS, "sample": sample, "method": "absorption"})
        with h5py.File("out.h5") as file:
            assert file["transmission"].shape == (32, 40)


def test_a_brighter_sample_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]):
    retrieve_files(**{**DEFAULTS, "reference": "s.npy", "sample": "r.npy", "method": "absorption"})
    assert (
        "r.npy is 1.25 times as bright as s.npy; are sample and reference swapped" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("sinogram", "angles", "axis", "output", "parts"),
    [
        ("no.npy", "a.npy", 20.0, "out.npy", ["no.npy", "no such file"]),
        ("s.npy", "a.npy", 20.0, "out.npy", ["expected real numbers of shape (angle, x)"]),
        ("sino.npy", "nan.npy", 20.0, "out.npy", ["angles", "1 NaN"]),
        ("sino.npy", "a.npy", 99.0, "out.npy", ["inside the image, 0 to 39 px", "99"]),
        ("sino.npy", "a.npy", 20.0, "out.tif", ["--output out.tif", ".npy"]),
        ("sino.npy", "a.npy", 20.0, "sino.npy", ["another file than the input, found the same"]),
        ("sino.npy", "radians.npy", 20.0, "out.npy", ["angles in degrees", "looks like radians"]),
    ],
)
def test_sinograms_refused(
    folder: Path, sinogram: str, angles: str, axis: float, output: str, parts: list[str]
):
    theta = np.arange(60) * 3.0
    np.save("sino.npy", np.random.default_rng(1).normal(size=(60, 40)))
    np.save("a.npy", theta)
    np.save("nan.npy", np.where(theta == 6, np.nan, theta))
    np.save("radians.npy", np.deg2rad(theta))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SpeckleflowError) as refused:
        reconstruct_files(Path(sinogram), Path(angles), axis, "fourier", "shepp", Path(output))
    for part in parts:
        assert part in str(refused.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
