"""Acts of damage to raw files and results: each ends in the undamaged volumes or in one sentence, never in others.

After an act the stages that read what was damaged run as the workflow would run them. ``benchmarks/sabotage.md`` is
the table of these acts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from speckleflow.errors import SpeckleflowError
from speckleflow.io.projections import pack_projections
from speckleflow.io.results import _SEAL_BYTES, IDENTITY, PROVENANCE, identity_of
from speckleflow.workflow.summary import show
from tests.raw_scan import RawScan
from tests.stages.chain import Chain

#: stages in the order of the workflow
ORDER = ("inspect", "correct", "retrieve", "integrate", "assemble", "reconstruct", "volume", "report", "show")


def attempt(chain: Chain, start: str) -> str | None:
    """Run all stages from one on, as the workflow does once its input has changed.

    Returns the sentence that they end in; None where they finish. The report, which is slow, is made only by acts that
    concern it.
    """
    steps = [*chain.steps(), ("report", chain.report), ("show", lambda: show(chain.results))]
    try:
        for name, call in steps:
            stage = name.split()[0]
            if ORDER.index(stage) >= ORDER.index(start) and (stage != "report" or start == "report"):
                call()
    except SpeckleflowError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def reported(finished_chain, tmp_path_factory) -> Chain:
    """The finished scan with its report; read only."""
    root = tmp_path_factory.mktemp("reported") / "p"
    shutil.copytree(finished_chain.raw.root, root)
    chain = Chain(RawScan(root, projections=6, size=(24, 48)))
    chain.report()
    return chain


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Chain:
    """The same scan and settings with other raw frames: what an older run has left."""
    raw = RawScan(tmp_path_factory.mktemp("other"), projections=6, size=(24, 48))
    for name in ("sample_01", "sample_02"):
        raw.frames[name] = raw.frames[name][::-1].copy()  # each projection has the rays of another
    chain = Chain(raw.write()).run()
    chain.report()
    return chain


@pytest.fixture
def victim(reported, tmp_path) -> Chain:
    """A copy of the finished scan to damage; times of change are kept."""
    shutil.copytree(reported.raw.root, tmp_path / "p")
    return Chain(RawScan(tmp_path / "p", projections=6, size=(24, 48)))


# ---- damage to one file ----------------------------------------------------------------------------------------


@contextmanager
def same_time(path: Path) -> Iterator[None]:
    """Change a file and leave its time of change as it was, as a bad disk does."""
    stat = path.stat()
    yield
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def zero_page(path: Path) -> None:
    """4 KB of zeros in the middle, as a power cut leaves them."""
    with same_time(path), path.open("r+b") as stream:
        stream.seek(path.stat().st_size * 2 // 5)
        stream.write(b"\0" * 4096)


def flip(path: Path, place: int) -> None:
    """Change one bit of a byte."""
    with same_time(path), path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 0x40]))


def flip_payload(path: Path) -> None:
    """One bit of a pixel, in a file without its seal, as a large one is."""
    os.truncate(path, path.stat().st_size - _SEAL_BYTES)
    names = {"corrected.h5": "reference", "slab_0001.h5": "delta", "volumes.h5": "delta"}
    with h5py.File(path, locking=False) as file:
        name = names.get(path.name, "phase" if path.parent.name == "phase" else "transmission")
        place = file[name].id.get_chunk_info(0).byte_offset + 1003
    flip(path, place)


def foreign(path: Path) -> None:
    """An HDF5 file of another program with the same datasets."""
    path.unlink()
    with h5py.File(path, "w") as file:
        for name in ("ux", "transmission", "delta", "bad_pixels"):
            file[name] = np.zeros((2, 24, 48), np.float32)


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change a result and give it the identity it would have had: another job could have written it so."""
    os.truncate(path, path.stat().st_size - _SEAL_BYTES)
    with h5py.File(path, "r+", locking=False) as file:
        change(file)
        file.flush()
        file.attrs[IDENTITY] = identity_of(file, path)


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "deleted": lambda path, _: path.unlink(),
    "emptied": lambda path, _: os.truncate(path, 0),
    "cut to a third": lambda path, _: os.truncate(path, path.stat().st_size // 3),
    "bit flipped in the header": lambda path, _: flip(path, 60),
    "bit flipped in the payload": lambda path, _: flip_payload(path),
    "page of zeros": lambda path, _: zero_page(path),
    "file of another program": lambda path, _: foreign(path),
    "folder in its place": lambda path, _: folder_in_its_place(path),
    "copy of another run's": lambda path, theirs: shutil.copy(theirs, path),
}

#: kind of result -> the first stage that reads it
READ_BY = {
    "corrected.h5": "retrieve",
    "fields/block_0001.h5": "integrate",
    "phase/block_0001.h5": "assemble",
    "projections.h5": "reconstruct",
    "slabs/slab_0001.h5": "volume",
    "volumes.h5": "report",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READ_BY)
def test_a_damaged_result_is_named_by_the_next_stage(victim, other, name, damage):
    """Nine acts on each of the six kinds of result files."""
    path = victim.path(name)
    if name == "projections.h5" and damage == "bit flipped in the payload":
        with h5py.File(path, locking=False) as file:
            assert all(file[key].is_virtual for key in ("ux", "phase", "flags")), "it has no payload"
        return
    DAMAGES[damage](path, other.path(name))
    finished = {
        p: p.read_bytes() for p in (victim.path("volumes.h5"), victim.path("report.html")) if p.is_file()
    }
    sentence = attempt(victim, READ_BY[name])
    assert sentence is not None, "silent"
    assert "\n" not in sentence
    assert ": expected " in sentence
    assert ", found " in sentence
    # of projections of another run the blocks are told apart, by the identities that it lists
    assert (path.name if damage != "copy of another run's" else ".h5") in sentence
    assert all(p.read_bytes() == content for p, content in finished.items()), (
        "what is finished stays as it was"
    )
    assert not list(victim.results.rglob("*.part"))


# ---- other acts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    """An act, the stage from which the workflow goes on, and the words it ends in; None: the undamaged volumes."""

    start: str
    damage: Callable[[Chain, Chain], object]
    words: str | None


def volumes(chain: Chain) -> dict[str, bytes]:
    with h5py.File(chain.path("volumes.h5"), locking=False) as file:
        return {name: file[name][:].tobytes() for name in ("delta", "mu", "darkfield")}


def raw(chain: Chain, name: str = "sample_02") -> Path:
    return chain.raw.path(name)


def swap(one: Path, two: Path) -> None:
    third = one.with_suffix(".third")
    one.rename(third), two.rename(one), third.rename(two)


def shuffle_frames(path: Path) -> None:
    with same_time(path), h5py.File(path, "r+", locking=False) as file:
        file["exchange/data"][...] = file["exchange/data"][...][::-1]


def dark_frame(chain: Chain) -> None:
    """Frame 3 of one position without light, as inspection lets it pass that looks at five of six frames."""
    with h5py.File(raw(chain), "r+", locking=False) as file:
        file["exchange/data"][3] = 100 + np.arange(48) % 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speckleflow.inspection.scan.LOOK_BYTES", 0)
        chain.inspect()
    chain.correct()


def virtual_raw(chain: Chain) -> None:
    """Raw frames that a master file gathers from two files, one of which goes after inspection."""
    path = raw(chain)
    with h5py.File(path, "r+", locking=False) as master:
        frames = master["exchange/data"][:]
        del master["exchange/data"]
        layout = h5py.VirtualLayout(frames.shape, frames.dtype)
        for part in range(2):
            with h5py.File(path.with_name(f"part_{part}.hdf"), "w") as file:
                file["data"] = frames[3 * part : 3 * part + 3]
            layout[3 * part : 3 * part + 3] = h5py.VirtualSource(f"part_{part}.hdf", "data", (3, 24, 48))
        master.create_virtual_dataset("exchange/data", layout)
    chain.inspect()
    chain.correct()
    path.with_name("part_1.hdf").unlink()


def masked(chain: Chain) -> Path:
    """The scan with a mask of bad pixels, inspected and corrected."""
    path = chain.raw.root / "mask.npy"
    np.save(path, np.zeros((24, 48), np.uint8))
    chain.sections = {"correct": {"mask": "mask.npy"}}
    chain.inspect()
    chain.correct()
    return path


def edited(path: Path, key: str, value: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}, indent=1, sort_keys=True) + "\n")


def manifest_of_scan_b(chain: Chain) -> None:
    from speckleflow.scan.spec import ScanSpec
    from speckleflow.stages.inspect import inspect

    shutil.copytree(chain.raw.root / "raw/a", chain.raw.root / "raw/b")
    inspect(ScanSpec("b", chain.config, chain.raw.root), output=chain.manifest)


def settings_changed(chain: Chain, **sections: dict) -> None:
    chain.sections = sections


def older_settings(chain: Chain, step: str, **sections: dict) -> None:
    """A file (block or slab 1) of other settings, in the place of the right one."""
    before = Chain(chain.raw, sections=sections)
    if step == "integrate":
        kept = chain.files("fields")[1].read_bytes()
        before.retrieve(1)
        before.integrate(1)
        chain.files("fields")[1].write_bytes(kept)
    elif step == "retrieve":
        before.retrieve(1)
    else:
        kept = chain.path("projections.h5").read_bytes()
        before.assemble()
        before.reconstruct(1)
        chain.path("projections.h5").write_bytes(kept)


def set_provenance(key: str, value: str) -> Callable[[h5py.File], None]:
    return lambda file: file[PROVENANCE].attrs.__setitem__(key, value)


def without_darkfield(file: h5py.File) -> None:
    del file["darkfield"]


def dead_and_living_writers(chain: Chain) -> None:
    """Private files of a killed job and of one that still runs (this process)."""
    for pid in (4_194_305, os.getpid()):  # more than the largest process number of Linux
        name = f".volumes.h5.{socket.gethostname()}-{pid}-abcdef.part"
        chain.path(name).write_bytes(b"half")


def packed(chain: Chain) -> None:
    """One file in place of projections.h5 and all blocks."""
    pack_projections(chain.path("projections.h5"), chain.path("packed.h5"))
    shutil.rmtree(chain.path("fields"))
    shutil.rmtree(chain.path("phase"))
    chain.path("packed.h5").replace(chain.path("projections.h5"))


def moved(chain: Chain) -> None:
    """The whole project to another folder."""
    root = chain.raw.root.with_name("elsewhere")
    shutil.move(chain.raw.root, root)
    chain.raw.root = root


def alone(chain: Chain) -> None:
    shutil.rmtree(chain.path("fields"))
    shutil.rmtree(chain.path("phase"))


RAW = "expected the raw file that was inspected"
ACTS: dict[str, Act] = {
    "raw: deleted": Act("retrieve", lambda c, _: raw(c).unlink(), f"{RAW}, found no such file"),
    "raw: reference deleted": Act("correct", lambda c, _: raw(c, "reference_01").unlink(), f"{RAW}, found no"),
    "raw: truncated": Act("retrieve", lambda c, _: os.truncate(raw(c), 9000), f"{RAW}, found one of 9000 bytes"),
    "raw: emptied": Act("retrieve", lambda c, _: os.truncate(raw(c), 0), f"{RAW}, found one of 0 bytes"),
    "raw: changed": Act("retrieve", lambda c, _: os.utime(raw(c)), f"{RAW}, found one that was changed since"),
    "raw: frames in another order, same size and time": Act(
        "retrieve", lambda c, _: shuffle_frames(raw(c)), f"{RAW}, found another one of the same size and time"
    ),
    "raw: bit flipped in the header": Act("retrieve", lambda c, _: flip(raw(c), 60), "found another one"),
    "raw: bit flipped in the payload": Act("retrieve", lambda c, _: flip(raw(c), 30_000), "found another one"),
    "raw: two positions swapped": Act(
        "retrieve", lambda c, _: swap(raw(c, "sample_01"), raw(c, "sample_03")), f"sample_01.h5: {RAW}"
    ),
    "raw: dangling link": Act(
        "retrieve", lambda c, _: (raw(c).unlink(), raw(c).symlink_to("gone.h5")), f"{RAW}, found no such file"
    ),
    "raw: file of a new position arrives": Act(
        "retrieve", lambda c, _: [shutil.copy(raw(c, f"{r}_03"), raw(c, f"{r}_04")) for r in ("sample", "reference")],
        None,
    ),
    "raw: dark frame in mid-scan": Act(
        "retrieve", lambda c, _: dark_frame(c), "sample_02.h5, frame 3: expected a frame that can be used .angle 90"
    ),
    "raw: half of a virtual dataset gone": Act(
        "retrieve", lambda c, _: virtual_raw(c), "sample_02.h5, frame 3: expected a frame that can be used"
    ),
    "raw: replaced, inspected again, corrected.h5 kept": Act(
        "retrieve", lambda c, _: (shuffle_frames(raw(c)), c.inspect()),
        "corrected.h5: expected a result of the raw",
    ),
    "raw: replaced, inspected again, fields kept": Act(
        "integrate", lambda c, _: (shuffle_frames(raw(c)), c.inspect()),
        "block_0000.h5: expected a result of the raw",
    ),
    "raw: replaced, inspected again, projections kept": Act(
        "report", lambda c, _: (shuffle_frames(raw(c)), c.inspect()),
        "projections.h5: expected a result of the raw",
    ),
    "mask: deleted": Act("correct", lambda c, _: masked(c).unlink(), f"mask.npy: {RAW}, found no such file"),
    "mask: changed": Act(
        "retrieve", lambda c, _: np.save(masked(c), np.eye(24, 48, dtype=np.uint8)),
        f"mask.npy: {RAW}, found one that",
    ),
    "manifest: deleted": Act("correct", lambda c, _: c.manifest.unlink(), "expected a manifest, found no such file"),
    "manifest: cut": Act("assemble", lambda c, _: os.truncate(c.manifest, 300), "expected a manifest, found damage"),
    "manifest: number edited": Act(
        "integrate", lambda c, _: edited(c.manifest, "n_positions", 2), "found one changed or damaged since"
    ),
    "manifest: of scan b": Act("report", lambda c, _: manifest_of_scan_b(c), "the manifest of scan a, found that of b"),
    "settings: changed in mid-run": Act(
        "retrieve", lambda c, _: settings_changed(c, geometry={"distance_m": 0.3}),
        r"geometry.distance_m: null -> 0.3",
    ),
    "fields: two blocks swapped": Act(
        "assemble", lambda c, _: swap(c.files("fields")[0], c.files("fields")[2]),
        "block_0000.h5: expected projections from 0",
    ),
    "fields: one block twice": Act(
        "assemble", lambda c, _: shutil.copy(c.files("fields")[0], c.files("fields")[1]),
        "block_0001.h5: expected projections from 2",
    ),
    "fields: block of older settings": Act(
        "assemble", lambda c, _: older_settings(c, "retrieve", retrieval={"umpa": {"window": 5}}),
        "block_0001.h5: expected a block made with the settings of block_0000.h5",
    ),
    "fields: block of older raw data": Act(
        "assemble", lambda c, o: shutil.copy(o.files("fields")[1], c.files("fields")[1]),
        "block_0001.h5: expected a block made with the raw files of block_0000.h5",
    ),
    "fields: block of another scan": Act(
        "assemble", lambda c, _: rewrite(c.files("fields")[1], set_provenance("scan", "b")),
        "block_0001.h5: expected a block made with the scan of block_0000.h5",
    ),
    "fields: block of other weights": Act(
        "assemble", lambda c, _: rewrite(c.files("fields")[1], set_provenance("weights_sha256", "f" * 64)),
        "block_0001.h5: expected a block made with the weights of block_0000.h5",
    ),
    "fields: last block left out": Act(
        "assemble", lambda c, _: setattr(c, "blocks", c.blocks[:2]),
        "expected projections to 6, found projections to 5",
    ),
    "fields: dataset removed": Act(
        "assemble", lambda c, _: rewrite(c.files("fields")[1], without_darkfield),
        "expected the datasets of block_0000.h5",
    ),
    "fields: all of another run": Act(
        "assemble", lambda c, o: shutil.copytree(o.path("fields"), c.path("fields"), dirs_exist_ok=True),
        "expected the phase of .*block_0000.h5, found the phase of another version",
    ),
    "phase: two blocks swapped": Act(
        "assemble", lambda c, _: swap(c.files("phase")[0], c.files("phase")[2]),
        "block_0000.h5: expected projections from 0",
    ),
    "phase: block of older settings": Act(
        "assemble", lambda c, _: older_settings(c, "integrate", integrate={"boundary": "dct"}),
        "block_0001.h5: expected a block made with the settings of block_0000.h5",
    ),
    "projections: fields and phase deleted": Act("reconstruct", lambda c, _: alone(c), "block_0000.h5: expected"),
    "projections: packed in its place": Act("reconstruct", lambda c, _: packed(c), None),
    "projections: of another axis": Act(
        "reconstruct", lambda c, _: settings_changed(c, tomography={"axis_px": 22.0}),
        "tomography.axis_px: 23.5 -> 22.0",
    ),
    "slabs: two swapped": Act(
        "volume", lambda c, _: swap(c.path("slabs/slab_0000.h5"), c.path("slabs/slab_0001.h5")),
        "slab_0000.h5: expected rows from 0",
    ),
    "slabs: of another axis": Act(
        "volume", lambda c, _: older_settings(c, "reconstruct", tomography={"axis_px": 22.0}),
        "slab_0001.h5: expected",
    ),
    "slabs: dataset removed": Act(
        "volume", lambda c, _: rewrite(c.path("slabs/slab_0001.h5"), without_darkfield),
        "slab_0001.h5: expected .*darkfield",
    ),
    "summary: deleted": Act("show", lambda c, _: c.path("summary.json").unlink(), "found no such file"),
    "summary: cut": Act("show", lambda c, _: os.truncate(c.path("summary.json"), 40), "found damage"),
    "summary: a warning taken out": Act(
        "show", lambda c, _: edited(c.path("summary.json"), "warnings", ["all is well"]),
        "changed or damaged since",
    ),
    "timings: no table": Act(
        "report", lambda c, _: (c.path("logs").mkdir(), c.path("logs/volume.tsv").write_bytes(b"\xff\0\x01")), None
    ),
    "writers: one killed, one alive": Act("volume", lambda c, _: dead_and_living_writers(c), None),
    "project: moved to another folder": Act("reconstruct", lambda c, _: moved(c), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTS)
def test_an_act_ends_in_a_sentence_or_in_the_undamaged_volumes(victim, reported, other, name):
    act = ACTS[name]
    act.damage(victim, other)
    sentence = attempt(victim, act.start)
    if act.words is None:
        assert sentence is None
        assert volumes(victim) == volumes(reported)
        return
    good = reported.path("volumes.h5").read_bytes()
    assert sentence is not None, "silent"
    assert re.search(act.words, sentence), sentence
    assert "\n" not in sentence
    assert victim.path("volumes.h5").read_bytes() == good, "what is finished stays as it was"
    assert not list(victim.results.rglob("*.part"))
