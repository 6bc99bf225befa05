"""Key ``output``: further formats of the volumes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Format = Literal["ome-zarr", "tiff", "tiff16", "xdmf"]


def _listed(value: Any) -> Any:
    """A list from text such as 'tiff, xdmf', which a cell of the scan table may hold; null is an empty one."""
    if value is None:
        return ()
    return (
        [part.strip() for part in value.strip("[]").split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


Output = Annotated[tuple[Format, ...], BeforeValidator(_listed)]
