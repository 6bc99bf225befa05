"""What a part of the benchmark is: a module of :mod:`.parts` with a ``PART``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Conditions:
    """How the parts are run.

    Attributes
    ----------
    quick : small sizes and few repetitions.
    data : folder of the measured data sets; None: there are none.
    threads : of every program that is timed.
    peer_python : Python in which the other programs are installed.
    peers : whether other programs are run.
    """

    quick: bool = False
    data: Path | None = None
    threads: int = 2
    peer_python: str = ""
    peers: bool = False

    def choose(self, quick: Any, full: Any) -> Any:
        """The value for a quick run or for a full one."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Outcome:
    """What a part found.

    Attributes
    ----------
    rows : of the table; columns are the keys, in the order in which they first appear.
    notes : sentences below the table, made of what was measured (what was skipped and why, versions of peers).
    figure : draws the picture into a file; None: no picture.
    """

    rows: list[Row]
    notes: tuple[str, ...] = ()
    figure: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes
    ----------
    name : on the command line and of its files.
    title : heading.
    repeats : figure or claim, and the paper, in a sentence.
    differs : how its conditions differ from the paper's, in a sentence.
    seconds, quick_seconds : about how long it takes on two cores; ``quick_seconds`` None: not part of a quick run.
    make : measures.
    data : data set that it needs, below the folder of :attr:`Conditions.data`.
    packages : importable packages that it needs beyond those of the methods.
    peer : whether it runs other programs.
    """

    name: str
    title: str
    repeats: str
    differs: str
    seconds: float
    make: Callable[[Conditions], Outcome]
    quick_seconds: float | None = None
    data: str | None = None
    packages: tuple[str, ...] = field(default=())
    peer: bool = False

    def missing(self, conditions: Conditions) -> str | None:
        """Why it cannot be run under these conditions; None: it can."""
        if conditions.quick and self.quick_seconds is None:
            return "not part of a quick run"
        if self.peer and not conditions.peers:
            return "runs other programs; ask for it with --peers"
        if self.data is not None and (conditions.data is None or not (conditions.data / self.data).exists()):
            return f"no data: expected {self.data} in the folder given by --data"
        for name in self.packages:
            if importlib.util.find_spec(name) is None:
                return f"needs the package {name}, which is not installed"
        return None
