"""What may be deleted of a batch: what no result needs is freed, of the rest is said what it is for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speckleflow.config import load_config, load_scans
from speckleflow.errors import ConfigError
from speckleflow.io.atomic import is_left_over
from speckleflow.io.writers.registry import WRITERS
from speckleflow.workflow.status import is_running

#: what is kept -> what it is for
KEPT = {
    "fields": "read by projections.h5; `speckleflow pack` makes one file without them",
    "phase": "read by projections.h5, as fields",
    "corrected.h5": "the corrected reference; without it the next run corrects again",
    "projections.h5": "the projections: a result",
    "volumes.h5": "the volumes: a result",
    **dict.fromkeys(WRITERS, "the volumes for other programs; `speckleflow export` makes it again"),
}


@dataclass(frozen=True)
class Entry:
    """A file or folder, its size in bytes, and why it may go or stay."""

    path: Path
    size: int
    why: str


@dataclass(frozen=True)
class Inventory:
    """What of a batch nothing needs, and what is kept."""

    free: tuple[Entry, ...]
    kept: tuple[Entry, ...]

    def text(self, freed: bool) -> str:
        """The lists for a terminal, sizes summed up."""
        total = _size_text(sum(entry.size for entry in self.free))
        lines = [f"{_size_text(e.size):>9}  {e.path}\n{'':11}{e.why}" for e in self.kept]
        lines = ["Kept:", *lines] if lines else []
        if not self.free:
            return "\n".join([*lines, "Nothing is left over."])
        lines += ["Freed:" if freed else "May be deleted:"]
        lines += [f"{_size_text(e.size):>9}  {e.path}\n{'':11}{e.why}" for e in self.free]
        lines += [f"{total} freed" if freed else f"{total} to free; add --yes to do it"]
        return "\n".join(lines)


def clean(config_path: Path, *, delete: bool = False, root: Path = Path()) -> Inventory:
    """Find, and with ``delete`` remove, what no result of a batch needs.

    Raises
    ------
    ConfigError
        The configuration cannot be used, or a run goes on, whose files may not be touched.
    """
    config = load_config(root / config_path)
    scans = load_scans(config, root)
    if delete and is_running(root):
        raise ConfigError(f"{root.resolve()}: expected no run in this folder, found one that goes on")
    free: list[Entry] = []
    kept: list[Entry] = []
    for scan, settings in scans.items():
        folder = root / config.results / scan
        free += _left_over(folder)
        slabs = folder / "slabs"
        if slabs.is_dir() and (folder / "volumes.h5").exists():
            free.append(Entry(slabs, _size(slabs), "slabs that volumes.h5 holds"))
        for name, why in KEPT.items():
            if (folder / name).exists():
                kept.append(Entry(folder / name, _size(folder / name), why))
        raw = root / "raw" / scan
        if settings.simulate.enabled and raw.is_dir():
            free += _left_over(raw)
            kept.append(Entry(raw, _size(raw), "simulated frames; the next run makes them again"))
    if delete:
        for entry in free:
            _remove(entry.path)
    return Inventory(tuple(free), tuple(kept))


def _left_over(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.rglob(".*.part")):
        try:
            if is_left_over(path):
                yield Entry(path, _size(path), "left by a job that was killed")
        except OSError:
            continue


def _size(path: Path) -> int:
    """Bytes on disk of a file or of all below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(_sizes(path.rglob("*")))


def _sizes(paths: Iterable[Path]) -> Iterator[int]:
    for path in paths:
        try:
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size
        except OSError:
            continue


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _size_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
