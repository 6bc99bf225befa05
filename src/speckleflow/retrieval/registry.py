"""The retrieval methods by name. A new method is one module and one line here."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from speckleflow.errors import ConfigError
from speckleflow.retrieval.base import Retriever

#: name -> module:class, imported when it is asked for
METHODS: dict[str, str] = {
    "absorption": "speckleflow.retrieval.absorption:Absorption",
    "espinnet": "speckleflow.retrieval.espinnet.retriever:Espinnet",
    "espinnet-fast": "speckleflow.retrieval.espinnet.retriever:EspinnetFast",
    "spinnet": "speckleflow.retrieval.spinnet.retriever:Spinnet",
    "umpa": "speckleflow.retrieval.umpa:Umpa",
}


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
    if name not in METHODS:
        near = get_close_matches(name.lower(), METHODS, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known methods: {', '.join(available())}"
        raise ConfigError(f"retrieval.method: no method '{name}'; {hint}")
    module, _, attribute = METHODS[name].partition(":")
    found: type[Retriever] = getattr(import_module(module), attribute)
    return found
