"""The retrieval methods by name. A new method is one module and one line here."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from speckleflow.errors import ConfigError

if TYPE_CHECKING:  # the names are asked for where torch is not installed
    from speckleflow.retrieval.base import Retriever

#: name -> module:class, imported when it is asked for
METHODS: dict[str, str] = {
    "absorption": "speckleflow.retrieval.absorption:Absorption",
    "espinnet": "speckleflow.retrieval.espinnet.retriever:Espinnet",
    "spinnet": "speckleflow.retrieval.spinnet.retriever:Spinnet",
    "umpa": "speckleflow.retrieval.umpa:Umpa",
}

#: fewest and most (None: no limit) diffuser positions of a method that does not take any number
POSITIONS: dict[str, tuple[int, int | None]] = {"espinnet": (2, None), "spinnet": (1, 1)}


def available() -> list[str]:
    """Names of all methods."""
    return sorted(METHODS)


def get(name: str) -> type[Retriever]:
    """Class of a method.

    Raises
    ------
    ConfigError
        There is no method of that name; the message names the nearest one.
    """
    check_name(name)
    module, _, attribute = METHODS[name].partition(":")
    method_class: type[Retriever] = getattr(import_module(module), attribute)
    return method_class


def check_name(name: str) -> None:
    """Raise a ConfigError that names the nearest method, unless there is one of that name; imports none."""
    if name not in METHODS:
        near = get_close_matches(name.lower(), METHODS, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known methods: {', '.join(available())}"
        raise ConfigError(f"retrieval.method: no method '{name}'; {hint}")
