"""What a stage writes equals what the library's functions give for the same arrays, whatever the blocks and slabs."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch

from speckleflow.correction import load_correction, prepare_correction
from speckleflow.errors import InputError
from speckleflow.io.projections import open_projections
from speckleflow.io.results import read_provenance
from speckleflow.io.scan import open_scan
from speckleflow.io.sealed_json import write_sealed
from speckleflow.phase import integrate_displacement, remove_drift
from speckleflow.retrieval import registry
from speckleflow.retrieval.consistency import Consistency
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import read_warnings
from speckleflow.stages import batches
from speckleflow.stages.report import _sinograms
from speckleflow.tomo.backends.registry import make_backend
from speckleflow.tomo.rings import remove_rings
from speckleflow.tomo.sinogram import line_integrals
from speckleflow.tomo.units import scale
from speckleflow.workflow.summary import show
from tests.raw_scan import RawScan
from tests.stages.chain import Chain

#: sorting of both contrasts
SORTED = {"phase": "sorting", "absorption": "sorting", "window_px": 5}


@pytest.fixture(scope="module")
def expected(finished_chain) -> dict[str, np.ndarray]:
    """Fields of all projections at once, by the library alone."""
    config = finished_chain.config
    scan = open_scan(ScanSpec("a", config, finished_chain.raw.root))
    correction = prepare_correction(scan)
    frames, flux = correction.correct_with_flux(scan.read_sample())
    umpa = registry.get("umpa")(config.retrieval.umpa)
    reference = torch.from_numpy(correction.reference)
    fields = umpa(torch.from_numpy(frames), umpa.prepare(reference))
    fields = Consistency.of(reference).check(torch.from_numpy(frames), fields, 0.5)
    arrays = {name: tensor.numpy() for name, tensor in fields.items()}
    arrays["ux"], arrays["uy"], arrays["drift_px"] = remove_drift(arrays["ux"], arrays["uy"], correction.air)
    return {**arrays, "flux": flux, "air": np.array(correction.air)}


def projections(chain: Chain, name: str) -> np.ndarray:
    with h5py.File(chain.path("projections.h5"), locking=False) as file:
        return file[name][:]


def test_fields_of_unequal_blocks_equal_those_of_the_whole_scan(finished_chain, expected):
    for name in ("ux", "uy", "transmission", "darkfield", "displacement_std", "misfit", "drift_px", "flux"):
        # equal to the last bits: a batch of another size is summed in another order
        np.testing.assert_allclose(projections(finished_chain, name), expected[name], atol=2e-6, err_msg=name)
    assert np.array_equal(projections(finished_chain, "flags"), expected["flags"])
    assert np.array_equal(projections(finished_chain, "raw_index"), np.arange(6))
    assert np.array_equal(projections(finished_chain, "angle_deg"), 30.0 * np.arange(6))


@pytest.mark.slow
def test_batches_are_read_in_order(chain, monkeypatch):
    """Blocks of several batches, the last of them shorter (4ed48bd would not have seen projections doubled)."""
    whole = {name: projections(chain, name) for name in ("ux", "transmission", "flux")}
    monkeypatch.setattr(batches, "BATCH_BYTES", 2 * 4 * 3 * 24 * 48)
    assert batches.batch_size(3, 24, 48) == 2
    chain.blocks = ((0, 5), (5, 6))
    for block in range(2):
        chain.retrieve(block)
        with h5py.File(chain.files("fields")[block], locking=False) as file:
            for name, values in whole.items():
                first, stop = chain.blocks[block]
                np.testing.assert_allclose(file[name][:], values[first:stop], atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("settings", "weighted"),
    [
        ({}, True),
        ({"weights": False}, False),
        ({"boundary": "dct"}, True),
        ({"ramp": True}, True),
        ({"quadratic": True}, True),
    ],
    ids=["defaults", "no weights", "boundary", "ramp", "quadratic"],
)
def test_the_phase_of_a_block_equals_that_of_its_displacement(chain, settings, weighted):
    chain.sections = {"integrate": settings}
    block = chain.files("fields")[1]
    with h5py.File(block, "r", locking=False) as file:
        fields = {name: file[name][:] for name in ("ux", "uy", "displacement_std", "flags")}
        air = tuple(int(n) for n in file.attrs["air_px"])
    assert (fields["flags"] & 4).any(), "edge flags are there, and are no reason to reject"
    chain.integrate(1)
    with h5py.File(chain.files("phase")[1], locking=False) as file:
        found = file["phase"][:]
        assert file.attrs["boundary"] == settings.get("boundary", "mirror")
    phase = {
        edge: integrate_displacement(
            fields["ux"],
            fields["uy"],
            energy_kev=20.0,
            pixel_size_m=1.3e-6,
            distance_m=0.2,
            boundary=settings.get("boundary", "mirror"),
            air=air,
            order=2 if settings.get("quadratic") else int(settings.get("ramp", False)),
            sigma=fields["displacement_std"] if weighted else None,
            reject=fields["flags"] & edge > 0 if weighted else None,
        )
        for edge in (3, 7)
    }
    assert np.array_equal(found, phase[3])
    if weighted:
        assert not np.array_equal(phase[3], phase[7])


@pytest.mark.parametrize(
    "settings", [{}, {"filter": "parzen"}, {"rings": SORTED}], ids=["defaults", "filter", "rings"]
)
def test_a_slab_equals_the_reconstruction_of_its_rows(chain, settings):
    chain.sections = {"tomography": {"axis_px": 23.25, **settings}}
    chain.assemble()
    chain.reconstruct(1)
    start, stop = chain.slabs[1]
    with h5py.File(chain.path("projections.h5"), locking=False) as file:
        assert file.attrs["rotation_axis_px"] == 23.25
        attrs = file["transmission"].attrs
        noise = attrs["noise_constant"], attrs["noise_slope"]
        rows = {name: file[name][:, start:stop] for name in ("transmission", "phase")}
    for name, contrast in (("mu", "transmission"), ("delta", "phase")):
        sinograms = np.ascontiguousarray(
            line_integrals(contrast, rows[contrast], noise).values.transpose(1, 0, 2)
        )
        if settings.get("rings"):
            sinograms = remove_rings(sinograms, {"mu": 5, "delta": 5}[name])
        backend = make_backend(
            "fourier",
            30.0 * np.arange(6),
            48,
            23.25,
            settings.get("filter", "shepp"),
            threads=1,
            device="cpu",
        )
        slices = backend(sinograms) * np.float32(scale(name, 1.3e-6, 20.0))
        with h5py.File(chain.path("slabs/slab_0001.h5"), locking=False) as file:
            assert np.array_equal(file[name][:], slices), name


def test_volumes_are_the_slabs_in_order(finished_chain):
    with h5py.File(finished_chain.path("volumes.h5"), locking=False) as file:
        for name in ("delta", "mu", "darkfield"):
            parts = []
            for k in range(2):
                path = finished_chain.path(f"slabs/slab_{k:04d}.h5")
                with h5py.File(path, locking=False) as slab:
                    parts.append(slab[name][:])
            assert [len(part) for part in parts] == [11, 13]
            assert np.array_equal(file[name][:], np.concatenate(parts))


@pytest.mark.slow
def test_excluded_projections_are_left_out_of_everything(raw_scan):
    """Two of eight, one of them dark: fields, angles and volumes are those of a scan without them."""
    tmp = raw_scan.root
    whole = RawScan(tmp / "whole", projections=8, size=(24, 48))
    without = RawScan(tmp / "without", projections=8, size=(24, 48))
    kept = [0, 1, 3, 4, 5, 7]
    for name in without.frames:
        if name.startswith("sample"):
            without.frames[name] = without.frames[name][kept]
            without.angles[name] = without.angles[name][kept]
    whole.frames["sample_02"][2] = 100
    blocks = ((0, 2), (2, 5), (5, 6))
    one = Chain(whole.write(), blocks, sections={"correct": {"exclude_projections": "2,6"}})
    other = Chain(without.write(), blocks)
    for chain in (one, other):
        chain.run()
    assert json.loads(one.manifest.read_text())["excluded"] == [2, 6]
    assert projections(one, "raw_index").tolist() == kept
    assert projections(one, "angle_deg").tolist() == [22.5 * k for k in kept]
    for name in ("ux", "transmission", "phase", "flux"):
        assert np.array_equal(projections(one, name), projections(other, name)), name
    with (
        h5py.File(one.path("volumes.h5"), locking=False) as mine,
        h5py.File(other.path("volumes.h5"), locking=False) as theirs,
    ):
        for name in ("delta", "mu", "darkfield"):
            assert np.array_equal(mine[name][:], theirs[name][:]), name


@pytest.mark.parametrize("text", ["4", "0-3"])
def test_exclusions_that_cannot_be_are_refused(raw_scan, text):
    chain = Chain(raw_scan.write(), sections={"correct": {"exclude_projections": text}})
    with pytest.raises(InputError, match=r"correct\.exclude_projections: expected"):
        chain.inspect()


def spoiled(kind: str, frame: np.ndarray) -> np.ndarray:
    frame = frame.copy()
    if kind == "dark":
        frame[:] = 100 + np.arange(frame.size).reshape(frame.shape) % 3
    elif kind == "half":
        frame[12:] = 0
    elif kind == "saturated":
        frame[:, :3] = 65535
    return frame


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"),
    [("dark", "light at 0.0% of the reference's"), ("half", "50% of its rows of one value"),
     ("saturated", "6% of its pixels at the largest count")],
)  # fmt: skip
def test_a_frame_that_cannot_be_used_is_named_with_file_number_and_angle(tmp_path, monkeypatch, kind, words):
    """In a scan that is too large for inspection to look at all frames."""
    monkeypatch.setattr("speckleflow.inspection.scan.LOOK_BYTES", 0)
    raw = RawScan(tmp_path, projections=12, size=(24, 48))
    raw.frames["sample_02"][4] = spoiled(kind, raw.frames["sample_02"][4])  # not one that inspection looks at
    chain = Chain(raw.write(), blocks=((0, 3), (3, 12)))
    chain.inspect()
    chain.correct()
    chain.retrieve(0)
    with pytest.raises(InputError) as caught:
        chain.retrieve(1)
    message = str(caught.value)
    assert message.startswith("raw/a/sample_02.h5, frame 4: expected a frame that can be used (angle 60 deg)")
    assert words in message
    assert "correct.exclude_projections: '4'" in message
    assert "\n" not in message


def test_provenance_of_the_volumes_is_the_whole_chain(finished_chain):
    """volumes.h5 alone answers how it was made."""
    found = read_provenance(finished_chain.path("volumes.h5"))
    assert (found["stage"], found["scan"]) == ("volume", "a")
    records = {record["stage"]: record for record in found["chain"]}
    assert list(records) == ["correct", "retrieve", "integrate", "assemble", "reconstruct"]
    assert records["retrieve"]["settings"]["umpa.window"] == "auto"
    assert {"files.sample", "geometry.angles", "correct.flux", "retrieval.method"} <= set(
        records["retrieve"]["settings"]
    )
    assert "espinnet.weights" not in records["retrieve"]["settings"]
    assert records["integrate"]["settings"]["integrate.weights"] is True
    assert records["reconstruct"]["settings"]["tomography.filter"] == "shepp"
    assert records["retrieve"]["versions"]["torch"] == torch.__version__.partition("+")[0] or (
        records["retrieve"]["versions"]["torch"] == torch.__version__
    )
    assert records["retrieve"]["raw_files"] == [
        f"raw/a/{role}_{n:02d}.h5" for role in ("sample", "reference") for n in (1, 2, 3)
    ]
    assert len(records["correct"]["raw_sha256"]) == 64
    with h5py.File(finished_chain.path("volumes.h5"), locking=False) as file:
        stated = {key: file.attrs[key] for key in ("energy_kev", "pixel_size_um", "distance_m")}
    assert stated == {"energy_kev": 20.0, "pixel_size_um": 1.3, "distance_m": 0.2}


@pytest.mark.slow
def test_warnings_travel_to_the_volumes_and_the_report(tmp_path):
    """An axis that is not found for sure, angles that span no half turn, an energy that contradicts the files."""
    raw = RawScan(tmp_path, projections=12, size=(24, 48))
    for name, angles in raw.angles.items():
        raw.angles[name] = None if angles is None else 1.3 * angles
    chain = Chain(
        raw.write(),
        ((0, 5), (5, 12)),
        sections={"tomography": {"axis_px": "auto"}, "geometry": {"energy_kev": 22.0}},
    ).run()
    chain.report()
    summary = json.loads(chain.path("summary.json").read_text())["warnings"]
    for words in (
        "the angles span 234 degrees, neither a half nor a full turn",
        "energy_kev is 22 keV in the scan table but 20 keV in raw/a/sample_01.h5",
        "the rotation axis is uncertain",
    ):
        assert sum(words in warning for warning in summary) == 1, words
        assert words in chain.path("report.html").read_text()
        with h5py.File(chain.path("volumes.h5"), locking=False) as file:
            assert sum(words in warning for warning in read_warnings(file)) == 1, words


def test_the_correction_on_disk_is_that_of_the_raw_files(finished_chain):
    scan = open_scan(finished_chain.spec)
    made, read = prepare_correction(scan), load_correction(finished_chain.path("corrected.h5"))
    for name in ("dark", "gain", "bad", "reference"):
        assert np.array_equal(getattr(made, name), getattr(read, name)), name
    assert (made.air, made.flux) == (read.air, read.flux)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the summary of a finished scan, found damage"),
        ("{", "the summary of a finished scan, found damage"),
        ("[]", "the summary of a finished scan, found damage"),
        ("{}", "the summary of a finished scan as it was written"),
        ('{"scan": "a", "sha256": "0"}', "the summary of a finished scan as it was written"),
    ],
)
def test_show_names_a_damaged_summary(tmp_path, text, words):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(InputError, match=f"expected {words}"):
        show(tmp_path)


@pytest.mark.parametrize("summary", [{}, {"scan": "a"}, {"scan": 1, "warnings": 2}])
def test_show_names_a_summary_of_another_version(tmp_path, summary):
    write_sealed(tmp_path / "summary.json", summary)
    with pytest.raises(InputError, match="expected a summary of this version"):
        show(tmp_path)


def test_show_prints_warnings_and_files(tmp_path, capsys):
    summary = {"scan": "a", "warnings": ["the axis [x] is uncertain"], "files": ["v.h5"], "truth": None}
    write_sealed(tmp_path / "summary.json", summary)
    show(tmp_path)
    said = capsys.readouterr().out
    assert "Warning: the axis [x] is uncertain" in said
    assert "v.h5" in said


def test_a_slab_says_how_it_was_made(finished_chain):
    with h5py.File(finished_chain.path("slabs/slab_0001.h5")) as slab:
        assert (slab.attrs["backend"], slab.attrs["filter"]) == ("fourier", "shepp")
        assert (slab.attrs["first_row"], slab.attrs["rotation_axis_px"]) == (11, 23.5)
        assert slab.attrs["voxel_size_m"] == pytest.approx(1.3e-6)


def test_the_report_shows_the_middle_row_of_every_contrast(finished_chain):
    contrasts = {"delta": "phase", "mu": "transmission", "darkfield": "darkfield"}
    with open_projections(finished_chain.path("projections.h5")) as file:
        drawn = dict(_sinograms(file))
        assert list(drawn) == list(contrasts)
        for name, contrast in contrasts.items():
            values = file.read(contrast, rows=slice(12, 13))[:, 0]
            expected = line_integrals(contrast, values, file.noise(contrast)).values
            np.testing.assert_array_equal(drawn[name].image, expected)
            assert drawn[name].row == 12


def test_volumes_say_which_pixels_were_seen_at_every_angle(finished_chain):
    """A circle about the axis (23.5 px of 48 columns): 24 px to either side of the middle of a slice."""
    with h5py.File(finished_chain.path("volumes.h5"), locking=False) as file:
        seen = file["field_of_view"][:]
        assert file["field_of_view"].attrs["part"] == seen.mean()
        assert file.attrs["padding"] in ("zero", "edge")
    y, x = np.mgrid[:48, :48] - 23.5
    np.testing.assert_array_equal(seen, x**2 + y**2 <= 24.0**2)
