"""What a retrieval method declares of itself: the one place that planner, configuration, inspection and docs read.

    SPEC = MethodSpec("mean", "Mean of the frames.", "my_package.mean:Mean", frozenset({"transmission"}))

A method is a package ``speckleflow/retrieval/<name>/`` with such a ``SPEC`` in its ``spec.py``, or the object of an
entry point of the group ``speckleflow.methods`` in another distribution. A spec imports no torch: the configuration is
read, and jobs are planned, where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from speckleflow.scan.acquisition import CONFIG_KEYS
from speckleflow.settings import Section

#: a figure for each pixel of an image, of (number of diffuser positions, the method's settings)
PerPixel = Callable[[int, Any], float]


def linear(constant: float, per_position: float) -> PerPixel:
    """``constant`` + ``per_position`` x N, whatever the settings are."""
    return lambda positions, settings: constant + per_position * positions


#: of a method that does not say: as the slowest and as the largest of those here
_UNKNOWN_SECONDS, _UNKNOWN_BYTES = linear(4.2e-5, 0.0), linear(400, 45)


@dataclass(frozen=True)
class MethodSpec:
    """A retrieval method as everything but its computation knows it.

    Attributes
    ----------
    name : value of ``retrieval.method``, and its section ``retrieval.<name>``; a Python identifier.
    summary : one sentence for tables.
    class_path : ``module:Class`` of the :class:`~speckleflow.retrieval.base.Retriever`, imported when it is used.
    output_fields : names of the entries of :class:`~speckleflow.retrieval.base.Fields` that it returns.
    optional_fields : further entries that it returns with some settings.
    settings : model of its section of the configuration; None: it has no settings.
    min_positions, max_positions : fewest and most diffuser positions (None: no upper limit).
    positions_hint : advice where there are fewer or more.
    min_side : smallest side of an image in pixels.
    needs_reference : whether there must be a reference stack; else a scan without one is retrieved from frames over
        their flat.
    needs_diffuser : whether the frames must show a pattern.
    needs : entries of :class:`~speckleflow.scan.acquisition.Acquisition` without which it refuses.
    uses : entries that it reads where they are known. All other entries arrive as None, so that what is not declared
        decides no result.
    seconds_per_pixel : CPU seconds that a projection takes, over its pixels, on one thread.
    bytes_per_pixel : memory of a job over the pixels of an image, beside the frames and fields of its batch.
    """

    name: str
    summary: str
    class_path: str
    output_fields: frozenset[str]
    settings: type[Section] | None = None
    min_positions: int = 1
    max_positions: int | None = None
    positions_hint: str = ""
    min_side: int = 16
    needs_reference: bool = True
    needs_diffuser: bool = True
    optional_fields: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    seconds_per_pixel: PerPixel = _UNKNOWN_SECONDS
    bytes_per_pixel: PerPixel = _UNKNOWN_BYTES

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in ("method", "settings"):
            raise ValueError(f"method '{self.name}': expected a name of letters, digits and '_'")
        if unknown := [entry for entry in self.acquisition if entry not in CONFIG_KEYS]:
            raise ValueError(
                f"method '{self.name}': the acquisition has no {', '.join(unknown)}; it has {', '.join(CONFIG_KEYS)}"
            )

    @property
    def acquisition(self) -> tuple[str, ...]:
        """Every entry of the acquisition that it reads."""
        return (*self.needs, *self.uses)

    @property
    def gives_displacement(self) -> bool:
        """Whether a phase can be integrated from what it returns."""
        return "ux" in self.output_fields

    @property
    def gives_phase(self) -> bool:
        """Whether it returns the phase itself, which is then only levelled."""
        return "phase" in self.output_fields

    @property
    def has_phase(self) -> bool:
        """Whether the scan ends with a phase, its own or the integral of its displacement."""
        return self.gives_phase or self.gives_displacement

    @property
    def can_be_checked(self) -> bool:
        """Whether its fields say what the frames should be, so that their misfit can be told."""
        return self.gives_displacement and self.needs_diffuser

    def takes(self, positions: int) -> bool:
        """Whether it takes so many diffuser positions."""
        return self.min_positions <= positions <= (self.max_positions or positions)

    @property
    def positions(self) -> str:
        """The numbers of diffuser positions that it takes, in words."""
        if self.max_positions is None:
            return f"at least {self.min_positions}"
        if self.max_positions == self.min_positions:
            return f"{self.min_positions}"
        return f"{self.min_positions} to {self.max_positions}"
