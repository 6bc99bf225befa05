"""What every group of settings is made of: the sections of the configuration, and the methods' own settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Margins = tuple[
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
]


class Section(BaseModel):
    """A group of keys. Unknown keys are refused, values do not change after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def numbers_and_ranges(value: Any, example: str) -> Any:
    """Text such as '3,17-19', or None.

    Raises
    ------
    ValueError
        Something else.
    """
    if value is None:
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*", text):
        raise ValueError(f"expected numbers and ranges such as '{example}', found {value!r}")
    return text


def ranges_of(numbers: Iterable[int]) -> str:
    """'3,17-19' for ascending numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
