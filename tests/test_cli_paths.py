"""Every command with a path of the wrong kind: one sentence and exit status 1 or 2, never a traceback.

Commands and their paths come from the command line itself, so that a new command is tried as it is added.
"""

from __future__ import annotations

import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import typer

from speckleflow import cli


@dataclass(frozen=True)
class Parameter:
    """An argument or option of a command."""

    name: str
    kinds: tuple[type, ...]
    argument: bool
    required: bool

    @property
    def is_path(self) -> bool:
        return Path in self.kinds or self.name in PATHS_AS_TEXT


def parameters(command: object) -> list[Parameter]:
    """The parameters of a command, from its function."""
    hints = typing.get_type_hints(command, include_extras=True)
    found = []
    for name, parameter in inspect.signature(command).parameters.items():  # type: ignore[arg-type]
        annotated = hints[name]
        if typing.get_origin(annotated) is not typing.Annotated:  # Optional[Annotated[...]]
            annotated = typing.get_args(annotated)[0]
        kind, about = typing.get_args(annotated)
        found.append(
            Parameter(
                name,
                typing.get_args(kind) or (kind,),
                isinstance(about, typer.models.ArgumentInfo),
                parameter.default is inspect.Parameter.empty,
            )
        )
    return found


COMMANDS = {
    info.name or info.callback.__name__: parameters(info.callback)
    for info in cli.app.registered_commands
    if info.callback is not None
}

#: options that are paths though they are typed as text
PATHS_AS_TEXT = {"reference", "sample", "flat", "dark", "weights", "sinogram", "angles_deg"}
#: what a command needs beside the path that is tried
OTHERS = {
    "config": "config.yaml",
    "folder": ".",
    "reference": "stack.npy",
    "sample": "stack.npy",
    "sinogram": "sinogram.npy",
    "angles_deg": "angles.npy",
    "axis": "10.5",
    "results": "results",
    "first": "a/volumes.h5",
    "second": "b/volumes.h5",
    "to": "tiff",
    "scan": "a",
    "methods": "umpa",
}
#: outputs with another ending than .h5
OUTPUT = {
    "reconstruct": "out.npy",
    "export-network": "out.onnx",
    "export": "out",
    "evaluate": "out.csv",
    "fsc": "out.png",
}
#: the least work where a path is right
SMALL = {
    "evaluate": ["--scenes", "1", "--positions", "2", "--photons", "500"],
    "benchmark": ["--only", "no such part"],  # else it runs for hours
}


def paths() -> list[tuple[str, str]]:
    """(command, parameter) of every path on the command line."""
    return [(name, p.name) for name, command in COMMANDS.items() for p in command if p.is_path]


def _absent(folder: Path) -> Path:
    return folder / "absent" / "none.h5"


def _folder(folder: Path) -> Path:
    (folder / "folder.h5").mkdir()
    return folder / "folder.h5"


def _empty(folder: Path) -> Path:
    (folder / "empty.h5").touch()
    return folder / "empty.h5"


def _below_a_file(folder: Path) -> Path:
    return folder / "config.yaml" / "a.h5"


def _rubbish(folder: Path) -> Path:
    (folder / "rubbish.h5").write_bytes(np.random.default_rng(0).bytes(5000))
    return folder / "rubbish.h5"


def _rubbish_npy(folder: Path) -> Path:
    (folder / "rubbish.npy").write_bytes(b"\x93NUMPY\x01\x00" + np.random.default_rng(0).bytes(5000))
    return folder / "rubbish.npy"


def _yaml(folder: Path) -> Path:
    (folder / "other.yaml").write_text("just a sentence\n")
    return folder / "other.yaml"


def _hdf5(folder: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["a/b"] = np.ones((3, 4))
    return folder / "other.h5"


def _tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "colour.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    return folder / "colour.tif"


def _cut_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "cut.tif", np.random.default_rng(0).integers(0, 9, (8, 64, 64), np.uint8))
    content = (folder / "cut.tif").read_bytes()
    (folder / "cut.tif").write_bytes(content[: len(content) // 3])
    return folder / "cut.tif"


def _name_too_long(folder: Path) -> Path:
    return folder / ("a" * 300 + ".h5")


def _zeros(folder: Path) -> Path:
    return Path("/dev/zero")


def _nothing(folder: Path) -> Path:
    return Path("/dev/null")


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.h5")
    return folder / "pipe.h5"


def _link_to_itself(folder: Path) -> Path:
    (folder / "loop.h5").symlink_to("loop.h5")
    return folder / "loop.h5"


def _forbidden(folder: Path) -> Path:
    (folder / "forbidden").mkdir()
    (folder / "forbidden" / "a.h5").write_text("secret")
    (folder / "forbidden").chmod(0)
    return folder / "forbidden" / "a.h5"


KINDS = [
    _absent, _folder, _empty, _below_a_file, _rubbish, _rubbish_npy, _yaml, _hdf5, _tiff, _cut_tiff,
    _name_too_long, _zeros, _nothing, _pipe, _link_to_itself, _forbidden,
]  # fmt: skip


UNWRITABLE = [_folder, _below_a_file, _name_too_long, _zeros, _nothing, _forbidden]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with all that the commands need but the path that is tried; root's powers are given up in it."""
    place = tmp_path / "work"
    place.mkdir()
    frames = np.random.default_rng(1).uniform(900, 1100, (3, 48, 48)).astype(np.float32)
    np.save(place / "stack.npy", frames)
    np.save(place / "sinogram.npy", frames[0])
    np.save(place / "angles.npy", np.arange(48) * 3.75)
    (place / "config.yaml").write_text("scans: scans.tsv\n")
    (place / "scans.tsv").write_text("scan\na\n")
    monkeypatch.chdir(place)
    root = os.geteuid() == 0
    if root:
        for above in (tmp_path, *tmp_path.parents[:3]):
            if above != Path("/tmp") and "pytest" in above.name:
                above.chmod(0o755)
        place.chmod(0o777)
    yield place
    if root:
        os.seteuid(0)
    for locked in place.glob("forbidden"):
        locked.chmod(0o755)


def arguments(command: str, tried: str, path: Path) -> list[str]:
    """A complete command line with ``path`` for the parameter that is tried."""
    words: list[str] = []
    trailing: list[str] = []
    for parameter in COMMANDS[command]:
        name = parameter.name
        if name == tried:
            value = str(path)
        elif not parameter.required:
            continue
        else:
            value = OUTPUT.get(command, "out.h5") if name == "output" else str(OTHERS[name])
        if parameter.argument:
            trailing.append(value)
        else:
            words += [f"--{name.replace('_', '-')}", value]
    if tried == "weights":
        words += ["--method", "espinnet"]
    return [command, *words, *SMALL.get(command, []), *trailing]


def run(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Exit status and what stands on the error stream; any other exception than the program's own is raised."""
    monkeypatch.setattr(sys, "argv", ["speckleflow", *words])
    status = 0
    try:
        cli.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return status, capsys.readouterr().err


def cases() -> list[tuple[str, str, Callable[[Path], Path]]]:
    """(command, parameter, kind of path), but for outputs only what cannot be replaced."""
    return [(*path, kind) for path in paths() for kind in (UNWRITABLE if path[1] == "output" else KINDS)]


@pytest.mark.parametrize(
    ("command", "parameter", "kind"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}{case[2].__name__}") for case in cases()],
)
def test_a_path_of_the_wrong_kind(folder, monkeypatch, capsys, command, parameter, kind):
    path = kind(folder)
    before = {p for p in folder.rglob("*") if "forbidden" not in str(p)}
    if kind is _forbidden and os.geteuid() == 0:
        os.seteuid(65534)
    writes = parameter == "output"
    words = arguments(command, parameter, path)
    if command == "evaluate" and writes:
        monkeypatch.setattr("speckleflow.evaluate.table.evaluate", lambda *a, **k: [{"method": "umpa"}])
        monkeypatch.setattr("speckleflow.evaluate.table.markdown", lambda *a, **k: "")
    status, said = run(words, monkeypatch, capsys)
    os.seteuid(os.getuid())
    assert status in (1, 2), said
    if status == 1:
        lines = said.strip().splitlines()
        assert all(line.startswith("speckleflow: ") for line in lines[:1]), said
        assert len(lines) == 1, said
        assert len(said) < 1500, said
    assert {p for p in folder.rglob("*") if "forbidden" not in str(p)} == before, "something was left behind"


def test_every_command_has_been_tried():
    tried = {command for command, _ in paths()}
    assert set(COMMANDS) - tried == {"methods"}  # the one that takes no path
