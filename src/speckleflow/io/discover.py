"""A scan table proposed from what lies in a folder: HDF5 scans, image stacks, folders of images.

    proposal = propose_scans(folder);  proposal.text() -> the table;  proposal.unclear -> what was not understood

Words in the names of files and folders say what is a reference, flat or dark; headers say how many frames there are.
Numbers are diffuser positions only where reference and sample files of the same name carry the same ones. Two series
of single images whose numbers agree are then one view at all positions.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speckleflow.config.load import SCAN_NAME
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.images import is_image
from speckleflow.io.names import natural_key
from speckleflow.io.open import HDF5_SUFFIXES, open_source

#: words that say what frames are, apart from digits and separators; all other frames are a sample's
ROLE_WORDS = {
    "reference": ("reference", "references", "ref", "refs", "diffuser"),
    "flat": ("flat", "flats", "flatfield", "white", "whites", "ob", "openbeam", "brightfield", "ff"),
    "dark": ("dark", "darks", "darkfield", "drk", "bias"),
    "sample": (
        "sample",
        "samples",
        "sam",
        "proj",
        "projs",
        "projection",
        "projections",
        "tomo",
        "object",
        "obj",
    ),
}
_ROLES = {word: role for role, words in ROLE_WORDS.items() for word in words}
#: levels of folders, and files, that are looked at
_DEEPEST, _MOST_FILES = 6, 200_000
#: an image file of this many frames or more, without angles, is a stack of projections; of fewer, positions or repeats
_FEW = 2
#: a reference series of as many images as a sample series has are diffuser positions, up to this number
_MOST_POSITIONS = 100
_GEOMETRY = ("energy_kev", "pixel_size_um", "distance_m")
#: of the configuration, in the order of the table; those that no scan sets are left out
_COLUMNS = (
    "files.sample",
    "files.reference",
    "files.flat",
    "files.dark",
    "retrieval.method",
    "geometry.angles",
    "geometry.angle_stop_deg",
    *(f"geometry.{key}" for key in _GEOMETRY),
)


@dataclass(frozen=True)
class Unit:
    """One file, or one series of images in a folder, as the workflow would read it.

    Attributes
    ----------
    path : file, folder or pattern, as the table names it.
    role : 'sample', 'reference', 'flat' or 'dark', by its name.
    """

    path: str
    role: str
    source: FrameSource = field(repr=False)

    @property
    def folder(self) -> Path:
        return Path(self.path).parent

    @property
    def size(self) -> tuple[int, ...]:
        """Rows and columns of its frames."""
        return tuple(self.source.shape[-2:])


@dataclass
class Proposal:
    """A scan table that can be opened again, and what could not be made out.

    Attributes
    ----------
    scans : name of each scan -> its cells by column.
    unclear : one sentence for every file that belongs to no scan, and for what is to be filled in.
    """

    scans: dict[str, dict[str, str]]
    unclear: list[str]

    def text(self) -> str:
        """The table: tab-separated, with what is unclear as comments above it."""
        columns = [c for c in _COLUMNS if any(c in row for row in self.scans.values())]
        stream = io.StringIO()
        for sentence in self.unclear:
            stream.write(f"# {sentence}\n")
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(["scan", *columns, "note"])
        for name, row in self.scans.items():
            table.writerow([name, *(row.get(column, "") for column in columns), row["note"]])
        return stream.getvalue()


def propose_scans(folder: str | Path, root: str | Path = ".") -> Proposal:
    """Look through a folder and group what it holds into scans; headers are read, no frames.

    Parameters
    ----------
    folder : where the data are.
    root : the project's folder, from which the table names files that lie below it.

    Raises
    ------
    InputError
        There is no such folder, or nothing in it that can be read.
    """
    folder, root = Path(folder), Path(root)
    if not folder.is_dir():
        raise InputError(folder, expected="a folder with raw data", found="none there")
    unclear: list[str] = []
    units = list(_units(folder, root, unclear))
    samples = [unit for unit in units if unit.role == "sample"]
    if not samples:
        more = f" ({unclear[0]})" if unclear else ""
        raise InputError(
            folder, expected="HDF5 scans, image stacks or folders of images", found=f"no sample frames{more}"
        )
    others = {role: [u for u in units if u.role == role] for role in ("reference", "flat", "dark")}
    scans: dict[str, dict[str, str]] = {}
    taken: set[str] = set()
    top = _shown(folder, root)
    for group in _groups(samples, others["reference"], top):
        row, used = _row(group, others, Path(top))
        scans[_scan_name(group, top, scans)] = row
        taken |= used | {unit.path for unit in group.samples}
    unclear += [
        f"{u.path}: {u.role} frames that belong to no scan by name and size"
        for u in units
        if u.path not in taken
    ]
    unclear += _to_fill_in(scans)
    unclear += _alike([unit for unit in samples if unit.path in taken and not others["reference"]])
    return Proposal(scans, unclear)


@dataclass(frozen=True)
class _Group:
    """The sample units of one scan, with the references of the same numbers, and their patterns."""

    samples: tuple[Unit, ...]
    pattern: str
    references: tuple[Unit, ...] = ()
    reference_pattern: str | None = None
    #: the images of a series are the diffuser positions of one view
    one_view: bool = False

    @property
    def frames(self) -> int:
        """Projections of the scan."""
        return 1 if self.one_view else int(self.samples[0].source.shape[0])

    @property
    def positions(self) -> int:
        """Diffuser positions that have a file of their own."""
        return len(self.samples[0].source.files) if self.one_view else len(self.samples)


def _units(folder: Path, root: Path, unclear: list[str]) -> Iterator[Unit]:
    """Everything below a folder that can be opened as frames."""
    count = 0

    def unread(error: OSError) -> None:
        unclear.append(f"{error.filename}: not looked at, {(error.strerror or str(error)).lower()}")

    for here, folders, names in os.walk(folder, onerror=unread):
        place = Path(here)
        folders[:] = sorted(
            (f for f in folders if not f.startswith(".") and not (place / f).is_symlink()), key=natural_key
        )
        if len(place.relative_to(folder).parts) >= _DEEPEST:
            folders.clear()
        count += len(names)
        if count > _MOST_FILES:
            unclear.append(f"{_shown(place, root)}: not looked at, more than {_MOST_FILES} files before it")
            return
        visible = sorted((n for n in names if not n.startswith(".")), key=natural_key)
        files = [place / n for n in visible if (place / n).is_file()]
        unclear += [
            f"{_shown(place / n, root)}: no regular file" for n in visible if not (place / n).is_file()
        ]
        hdf5 = [f for f in files if f.suffix.lower() in HDF5_SUFFIXES]
        images = [f for f in files if f not in set(hdf5) and is_image(f)]
        strange = [f.name for f in files if f not in {*hdf5, *images}]
        if strange:
            shown = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
            unclear.append(f"{_shown(place, root)}: not read: {shown}")
        for path in [*hdf5, *_series(place, images)]:
            name = _shown(path, root)
            try:
                yield Unit(name, _role(path.relative_to(folder)), open_source(path, name))
            except InputError as error:
                unclear.append(error.parts[0][0])


def _series(folder: Path, images: Sequence[Path]) -> Iterator[Path]:
    """Stacks by themselves; series of single images as their folder or, beside other kinds, as a pattern."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        kinds[re.sub(r"\d+", "#", image.name)].append(image)
    for kind, members in kinds.items():
        try:
            frames = open_source(members[0], members[0].name).shape[0]
        except InputError:
            frames = 0  # said where the file is opened as a unit
        if len(members) < 3 or frames != 1 or "#" not in kind:
            yield from members
        elif len(kinds) == 1:
            yield folder
        else:
            before, after = kind.split("#")[0], kind.rsplit("#")[-1]
            yield folder / f"{before}*{after}"


def _role(path: Path) -> str:
    """What a path says its frames are: its last part that has such a word decides."""
    for part in reversed(path.parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _ROLES:
                return _ROLES[word]
    return "sample"


def _plain(path: str) -> tuple[str, int | None]:
    """A path without the words of its role and with '#' for its last number, and that number."""
    words = [re.findall(r"[^\W\d_]+|\d+", part.lower()) for part in Path(path).with_suffix("").parts]
    text = "/".join(filter(None, ("_".join(w for w in part if w not in _ROLES) for part in words)))
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return text, None
    last = numbers[-1]
    return f"{text[: last.start()]}#{text[last.end() :]}", int(last[0])


def _groups(samples: list[Unit], references: list[Unit], top: str) -> Iterator[_Group]:
    """Scans of several positions where references carry the same numbers; every other unit is a scan of its own.

    Numbers in the path of the folder that is looked through, ``top``, mean nothing.
    """
    numbered: dict[str, dict[int, Unit]] = defaultdict(dict)
    partners: dict[str, dict[int, Unit]] = defaultdict(dict)
    for units, found in ((samples, numbered), (references, partners)):
        for unit in units:
            key, number = _plain(os.path.relpath(unit.path, top))
            if number is not None and "*" not in unit.path:
                found[key].setdefault(number, unit)
    grouped: set[str] = set()
    for key, members in numbered.items():
        shared = next(
            (partners[above] for above in _above(key) if set(members) <= set(partners[above])), None
        )
        if shared is None:
            continue
        chosen = tuple(members[n] for n in sorted(members))
        held = tuple(shared[n] for n in sorted(members))
        pattern, other = (_pattern([unit.path for unit in units], top) for units in (chosen, held))
        if pattern and other:
            grouped |= {unit.path for unit in chosen}
            yield _Group(chosen, pattern, held, other)
    for unit in samples:
        if unit.path not in grouped:
            yield _view(unit, references, top) or _Group((unit,), unit.path)


def _view(sample: Unit, references: Sequence[Unit], top: str) -> _Group | None:
    """One view at several positions: a series of single images, and one of references with the same numbers."""
    numbers = _series_numbers(sample)
    if not numbers:
        return None
    name = _plain(os.path.relpath(sample.path, top))[0]
    for reference in references:
        alike = _plain(os.path.relpath(reference.path, top))[0] in _above(name)
        if alike and reference.size == sample.size and _series_numbers(reference) == numbers:
            patterns = [_pattern(_members(unit), top) for unit in (sample, reference)]
            if None not in patterns:
                return _Group((sample,), str(patterns[0]), (reference,), patterns[1], one_view=True)
    return None


def _members(series: Unit) -> list[str]:
    """Paths of the images of a series, as the table names them."""
    place = series.folder if "*" in series.path else Path(series.path)
    return [str(place / file.name) for file in series.source.files]


def _series_numbers(unit: Unit) -> list[str]:
    """The last numbers in the names of a series of single images; empty for other units and for long series."""
    files = unit.source.files
    if not _FEW <= len(files) == unit.source.shape[0] <= _MOST_POSITIONS:
        return []
    return [re.findall(r"\d+", file.stem)[-1] for file in files]


def _alike(samples: Sequence[Unit]) -> Iterator[str]:
    """Series of the same numbers and size in one folder, one of which may be the reference of the other."""
    for place, first in enumerate(samples):
        for second in samples[place + 1 :]:
            numbers = _series_numbers(first)
            if numbers and (first.folder, first.size, numbers) == (
                second.folder, second.size, _series_numbers(second)
            ):  # fmt: skip
                yield (
                    f"{first.path} and {second.path} carry the same numbers: if one is taken without the sample, write "
                    "it into files.reference of the other, with {position} in the place of the numbers"
                )


def _above(key: str) -> Iterator[str]:
    """A key in its own folder, and in those above: references that several scans share."""
    *folders, name = key.split("/")
    for level in range(len(folders), -1, -1):
        yield "/".join([*folders[:level], name])


def _pattern(paths: Sequence[str], top: str) -> str | None:
    """The path with {position} in the place of the number in which these differ; None if there is no such."""
    if len(paths) == 1:
        found = [m for m in re.finditer(r"\d+", paths[0]) if m.start() >= len(top) * paths[0].startswith(top)]
        return _with_position(paths[0], found[-1]) if found else None
    for place, match in reversed(list(enumerate(re.finditer(r"\d+", paths[0])))):
        texts = {re.sub(r"\d+", "#", path) for path in paths}
        numbers = [[m[0] for m in re.finditer(r"\d+", path)] for path in paths]
        others = {tuple(n[:place] + n[place + 1 :]) for n in numbers if len(n) > place}
        if len(texts) == len(others) == 1 and len({n[place] for n in numbers}) == len(paths):
            return _with_position(paths[0], match)
    return None


def _with_position(path: str, match: re.Match[str]) -> str:
    width = f":0{len(match[0])}d" if match[0].startswith("0") or len(match[0]) > 1 else ""
    return f"{path[: match.start()]}{{position{width}}}{path[match.end() :]}"


def _row(group: _Group, others: dict[str, list[Unit]], top: Path) -> tuple[dict[str, str], set[str]]:
    """The cells of a scan, and the paths of the other units it uses."""
    first = group.samples[0]
    row, used = {"files.sample": group.pattern}, {unit.path for unit in group.references}
    reference = group.reference_pattern
    if reference is None and (near := _nearest(first, others["reference"], top)):
        reference, used = near.path, used | {near.path}
    row["files.reference"] = reference or "null"
    if reference is None:
        row["retrieval.method"] = "absorption"
    for kind, inside in (("flat", first.source.n_flats), ("dark", first.source.n_darks)):
        if not inside and (near := _nearest(first, others[kind], top)):
            row[f"files.{kind}"] = near.path
            used.add(near.path)
    frames = group.frames
    if first.source.angles() is None and (reference is None or group.positions > 1) and frames >= _FEW:
        row["geometry.angles"], row["geometry.angle_stop_deg"] = "range", "180"
    for key in _GEOMETRY[1:2] if reference is None else _GEOMETRY:
        if getattr(first.source.metadata, key) is None:
            row[f"geometry.{key}"] = ""
    rows, columns = first.size
    row["note"] = f"{frames} frame{'s' * (frames != 1)} of {columns} x {rows}" + (
        f", {group.positions} positions" if group.positions > 1 else ""
    )
    return row, used


def _nearest(unit: Unit, others: Sequence[Unit], top: Path) -> Unit | None:
    """Frames of the same size in the folder of a unit, beside or below it, or in one above: shared by several scans."""
    fitting = [other for other in others if other.size == unit.size]
    folder = unit.folder
    for place in (folder, *folder.parents):
        here = [
            o
            for o in fitting
            if o.folder == place or (o.folder.parent == place and _role(o.folder) != "sample")
        ]
        if here:
            return here[0]
        if place == top:
            break
    return None


def _scan_name(group: _Group, top: str, taken: dict[str, dict[str, str]]) -> str:
    """A name made of the parts of the path that tell scans apart."""
    relative = os.path.relpath(group.pattern, top)
    text = re.sub(r"\{position[^}]*\}|\*", "", str(Path(relative).with_suffix("")))
    words = [
        "_".join(w for w in re.split(r"[_\- ]+", part) if w and w.lower() not in _ROLES)
        for part in Path(text).parts
    ]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(w for w in words if w)).strip("_.-")
    if not SCAN_NAME.fullmatch(name):
        name = re.sub(r"[^A-Za-z0-9]+", "_", Path(top).resolve().name).strip("_") or "scan"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _to_fill_in(scans: dict[str, dict[str, str]]) -> list[str]:
    """What the files do not say and the table has to."""
    sentences = []
    for key in _GEOMETRY:
        if empty := [name for name, row in scans.items() if row.get(f"geometry.{key}") == ""]:
            sentences.append(f"fill in geometry.{key}: not in the files of {_some(empty)}")
    if assumed := [name for name, row in scans.items() if "geometry.angles" in row]:
        sentences.append(
            f"the files of {_some(assumed)} hold no angles: 0 to 180 degrees, the last excluded, are put in; check them"
        )
    return sentences


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shown(path: Path, root: Path) -> str:
    """A path from the project's folder where it lies below it, else whole."""
    whole, base = (Path(os.path.abspath(p)) for p in (path, root))  # noqa: PTH100  (links keep their names)
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
