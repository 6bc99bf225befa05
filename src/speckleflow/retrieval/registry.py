"""The retrieval methods by name: every package here with a ``spec.py``, and those of other distributions.

Another distribution adds a method by an entry point of the group ``speckleflow.methods``, whose object is a
:class:`~speckleflow.retrieval.spec.MethodSpec`.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speckleflow.errors import ConfigError
from speckleflow.retrieval.spec import MethodSpec

if TYPE_CHECKING:  # the names are asked for where torch is not installed
    from speckleflow.retrieval.base import Retriever

_GROUP = "speckleflow.methods"


@cache
def specs() -> dict[str, MethodSpec]:
    """Every method by its name; imports no torch.

    Raises
    ------
    ConfigError
        An entry point that cannot be loaded, is no spec, or takes a name that another method has.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*/spec.py")):
        own: MethodSpec = import_module(f"speckleflow.retrieval.{path.parent.name}.spec").SPEC
        found[own.name] = own
    for point in entry_points(group=_GROUP):
        where = f"entry point {_GROUP}: {point.name} = {point.value}"
        try:
            spec = point.load()
        except Exception as error:  # whatever a package of somebody else raises
            raise ConfigError(
                f"{where}: expected a MethodSpec, found {type(error).__name__}: {error}"
            ) from error
        if not isinstance(spec, MethodSpec):
            raise ConfigError(f"{where}: expected a MethodSpec, found {type(spec).__name__}")
        if spec.name in found:
            raise ConfigError(
                f"{where}: expected a name of its own, found '{spec.name}', which there is already"
            )
        found[spec.name] = spec
    return found


def available() -> list[str]:
    """Names of all methods."""
    return sorted(specs())


def spec_of(name: str) -> MethodSpec:
    """What a method declares.

    Raises
    ------
    ConfigError
        There is no method of that name; the message names the nearest one.
    """
    check_name(name)
    return specs()[name]


def get(name: str) -> type[Retriever]:
    """Class of a method.

    Raises
    ------
    ConfigError
        See :func:`spec_of`.
    """
    module, _, attribute = spec_of(name).class_path.partition(":")
    method_class: type[Retriever] = getattr(import_module(module), attribute)
    return method_class


def default_settings(name: str) -> Any:
    """The settings of a method where none are set (None where it has none)."""
    model = spec_of(name).settings
    return None if model is None else model()


def check_name(name: str) -> None:
    """Raise a ConfigError that names the nearest method, unless there is one of that name."""
    if name not in specs():
        near = get_close_matches(name.lower(), specs(), n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known methods: {', '.join(available())}"
        raise ConfigError(f"retrieval.method: no method '{name}'; {hint}")
