"""Section ``retrieval``: the method, and the settings of each, which stand beside the methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model

from speckleflow.retrieval.registry import specs
from speckleflow.settings import Section


class _Retrieval(Section):
    """How displacement or phase, transmission and dark field are retrieved."""

    method: str = Field("umpa", description="Retrieval method; `speckleflow methods` lists them.")

    @property
    def settings(self) -> Any:
        """The settings of the chosen method; None where it has none."""
        return getattr(self, self.method, None)


if TYPE_CHECKING:
    Retrieval = _Retrieval
else:
    Retrieval = create_model(
        "Retrieval",
        __base__=_Retrieval,
        __doc__=_Retrieval.__doc__,
        __module__=__name__,
        **{
            name: (
                spec.settings,
                Field(default_factory=spec.settings, description=f"Settings of method {name}."),
            )
            for name, spec in specs().items()
            if spec.settings is not None
        },
    )
