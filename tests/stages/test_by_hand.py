"""What the command line refuses for one stack or one sinogram: before anything is computed, with nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch

from speckleflow.errors import SpeckleflowError
from speckleflow.stages.by_hand import retrieve_files
from speckleflow.stages.slice_by_hand import reconstruct_file
from tests.retrieval.wave_optics.beads import DISTANCE_M, ENERGY_KEV, GAP_M, PIXEL_M, beads, phase_error
from tests.tomo.ellipses import Ellipse, image, sinogram

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
        (
            {"sample": "short.npy"},
            ["short.npy: expected 41088 bytes, as its header says, found 3000: the file was cut short"],
        ),
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
        ({"method": "absorption", "refine": "wave"}, ["'absorption' gives none", "set it to none"]),
        ({"refine": "wave"}, ["energy_kev"]),
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


def test_beads_refined_by_wave_optics_are_nearer_to_the_truth(folder: Path):
    """From files, the diffuser behind the sample; 1.5 px of drift leaves no plane of phase."""
    scene = beads((96, 96), 4, 0.3, shift_px=1.5)
    np.save("b_r.npy", scene.reference.numpy())
    np.save("b_s.npy", scene.sample.numpy())
    errors = {}
    for refine in ("none", "wave"):
        retrieve_files(
            **{
                **DEFAULTS,
                "reference": "b_r.npy",
                "sample": "b_s.npy",
                "geometry": (ENERGY_KEV, PIXEL_M * 1e6, DISTANCE_M),
                "diffuser_distance_m": -GAP_M,
                "detector_blur_px": 1.0,
                "air": "10,10,0,0",
                "drift": True,
                "refine": refine,
            }
        )
        with h5py.File("out.h5") as file:
            errors[refine] = phase_error(torch.from_numpy(file["phase"][()]), scene.phase)
    assert errors["wave"] < 0.9 * errors["none"]


def test_drift_is_taken_off_and_a_plane_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]):
    """The stacks differ by a pixel along x: a plane of the phase, or with --drift nothing."""
    geometry = (20.0, 1.3, 0.2)
    moved = retrieve_files(**{**DEFAULTS, "geometry": geometry})
    assert "most of the phase is a plane" in capsys.readouterr().err
    assert "out.h5: 32 x 40 pixels by umpa from s.npy" in moved
    still = retrieve_files(**{**DEFAULTS, "geometry": geometry, "air": "4,4,0,0", "drift": True})
    assert "plane" not in capsys.readouterr().err
    assert still != moved
    with h5py.File("out.h5") as file:
        assert file["drift_px"][()] == pytest.approx([1, 0], abs=0.05)
        assert abs(np.median(file["ux"][8:-8, 8:-8])) < 0.05
    for changes, part in (
        ({"air": "4,4"}, "--air: expected auto or four widths"),
        ({"drift": True}, "--drift: expected"),
    ):
        with pytest.raises(SpeckleflowError, match=part):
            retrieve_files(**{**DEFAULTS, **changes})


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"sinogram": "no.npy"}, ["no.npy", "no such file"]),
        ({"sinogram": "s.npy"}, ["expected real numbers of shape (angle, x)"]),
        ({"angles_deg": "nan.npy"}, ["angles", "1 NaN"]),
        ({"axis_px": 99.0}, ["inside the image, 0 to 39 px", "99"]),
        ({"output": Path("out.h5")}, ["--output out.h5", ".npy or .tif"]),
        ({"output": Path("sino.npy")}, ["another file than the input, found the same"]),
        ({"angles_deg": "radians.npy"}, ["angles in degrees", "looks like radians"]),
        ({"angles_deg": None}, ["expected --angles-deg", "found none"]),
        ({"row": 3}, ["--row belongs to a projections.h5, found sino.npy"]),
        ({"sinogram": "turned.npy"}, ["turned.npy", "expected 60 rows", "it is transposed"]),
        ({"sinogram": "square_turned.npy", "angles_deg": "a40.npy"}, ["the same along the other axis"]),
        (
            {"sinogram": "t.npy"},
            ["t.npy", "found values of 1 in the air", "a transmission; add --transmission"],
        ),
        ({"sinogram": "counts.npy"}, ["values of 5e+03 in the air", "counts; correct them"]),
        ({"angles_deg": "tenths.npy"}, ["tenths.npy", "turn in tenths of a degree; divide them by 10"]),
        ({"sinogram": "stacks.h5"}, ["projections.h5 of the workflow", "another program with a"]),
        ({"sinogram": "fields.h5"}, ["projections at several angles", "one projection of shape (32, 40)"]),
    ],
)
def test_sinograms_refused(sinograms: Path, changes: dict, parts: list[str]):
    before = {path: path.read_bytes() for path in sinograms.rglob("*") if path.is_file()}
    arguments = {"sinogram": "sino.npy", "angles_deg": "a.npy", "axis_px": 19.5, "output": Path("out.npy")}
    arguments |= changes
    if str(arguments["sinogram"]).endswith(".h5"):
        arguments["angles_deg"] = None
    with pytest.raises(SpeckleflowError) as refused:
        reconstruct_file(**arguments)
    for part in parts:
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in sinograms.rglob("*") if path.is_file()} == before


ELLIPSES = [Ellipse(0.02, 3, -4, 9, 6), Ellipse(0.03, -5, 2, 4, 4)]


@pytest.fixture
def sinograms(folder: Path) -> Path:
    """The sinogram of two ellipses, and what may be given by mistake in its place."""
    theta = np.arange(60) * 3.0
    right = sinogram(ELLIPSES, theta, 40, 19.5, supersample=4)
    square = sinogram(ELLIPSES, np.arange(40) * 4.5, 40, 19.5, supersample=4)
    for name, values in {
        "sino": right, "a": theta, "a40": np.arange(40) * 4.5, "nan": np.where(theta == 6, np.nan, theta),
        "radians": np.deg2rad(theta), "tenths": 10 * theta, "turned": right.T, "square_turned": square.T,
        "t": np.exp(-right), "counts": 5000 * np.exp(-right),
    }.items():  # fmt: skip
        np.save(f"{name}.npy", values)
    retrieve_files(**{**DEFAULTS, "method": "absorption", "output": Path("fields.h5")})
    return folder


def test_a_sinogram_is_what_its_options_say(sinograms: Path, capsys: pytest.CaptureFixture[str]):
    """The same slice from line integrals and from transmission, as .npy and as TIFF; the axis given and found."""
    line = reconstruct_file(
        sinogram="sino.npy", angles_deg="a.npy", axis_px=19.5, output=Path("one.npy"), filter="ramlak"
    )
    assert line == "one.npy: values per pixel, 40 x 40 pixels, axis 19.50 px"
    assert capsys.readouterr().err == ""
    one = np.load("one.npy")
    true = image(ELLIPSES, 40, supersample=4)
    assert np.sqrt(np.mean((one - true) ** 2)) < 0.002  # measured: 0.0007; 0.03 is the denser ellipse
    line = reconstruct_file(
        sinogram="t.npy", angles_deg="a.npy", axis_px=None, output=Path("two.tif"), transmission=True,
        filter="ramlak",
    )  # fmt: skip
    found = float(line.split("axis ")[1].split()[0])
    assert found == pytest.approx(19.5, abs=0.03)  # measured: 19.50
    assert np.abs(tifffile.imread("two.tif") - one).max() < 0.004 * one.max()  # measured: 0.0013
    reconstruct_file(
        sinogram="square_turned.npy", angles_deg="a40.npy", axis_px=19.5, output=Path("b.npy"), as_is=True
    )
    assert "the sum over x changes by" in capsys.readouterr().err


def test_a_wide_sample_is_warned_of(sinograms: Path, capsys: pytest.CaptureFixture[str]):
    np.save("cut.npy", np.load("sino.npy")[:, 12:28])
    reconstruct_file(sinogram="cut.npy", angles_deg="a.npy", axis_px=7.5, output=Path("out.npy"))
    assert "cut.npy: the sum over x changes by" in capsys.readouterr().err


def test_a_missing_wedge_is_warned_of(sinograms: Path, capsys: pytest.CaptureFixture[str]):
    """120 of 180 degrees are covered, with steps of 3: 60 are not."""
    np.save("part.npy", np.load("sino.npy")[:40])
    np.save("a_part.npy", np.load("a.npy")[:40])
    reconstruct_file(sinogram="part.npy", angles_deg="a_part.npy", axis_px=19.5, output=Path("out.npy"))
    assert "a_part.npy: missing wedge: no projection over 60 degrees" in capsys.readouterr().err


def test_a_row_of_the_workflow_s_projections(finished_chain, tmp_path: Path):
    """The slice that the workflow made of the same row, in its unit."""
    with h5py.File(finished_chain.path("volumes.h5")) as file:
        slices = {name: file[name][7] for name in ("delta", "mu", "darkfield")}
    projections = str(finished_chain.path("projections.h5"))
    for name, true in slices.items():
        output = tmp_path / f"{name}.npy"
        line = reconstruct_file(
            sinogram=projections, angles_deg=None, axis_px=None, output=output, row=7, quantity=name
        )
        assert f"{name}{'' if name == 'delta' else ' in 1/m'} of row 7, 48 x 48 pixels, axis 23.50 px" in line
        # slices are transformed in pairs, here alone: measured at most 2e-5
        assert np.abs(np.load(output) - true).max() < 6e-5 * np.abs(true).max()
    for changes, part in (
        ({"row": 24}, "--row: expected 0 to 23, found 24"),
        ({"quantity": "nu"}, "--quantity: expected one of delta, mu, darkfield"),
        ({"transmission": True}, "leave out --transmission"),
    ):
        with pytest.raises(SpeckleflowError, match=part):
            reconstruct_file(
                sinogram=projections, angles_deg=None, axis_px=None, output=tmp_path / "o.npy", **changes
            )
