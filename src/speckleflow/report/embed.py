"""Images inside a page whose values a script can read: 16 bits a pixel, compressed, as text."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

#: grey values of finite values begin at 1; 0 is NaN
_STEPS = 65534


def embedded(image: NDArray[Any]) -> dict[str, Any]:
    """An array as the page's script reads it: value = low + step (grey - 1), exact to half a step."""
    values = np.asarray(image, np.float64)
    finite = np.isfinite(values)
    low = float(values.min(where=finite, initial=np.inf))
    high = float(values.max(where=finite, initial=-np.inf))
    if not low <= high:
        low = high = 0.0
    step = (high - low) / _STEPS if high > low else 1.0
    grey = np.where(finite, np.rint((np.where(finite, values, low) - low) / step) + 1, 0).astype("<u2")
    return {
        "shape": list(values.shape),
        "low": low,
        "step": step,
        "data": base64.b64encode(zlib.compress(grey.tobytes(), 6)).decode("ascii"),
    }


def binned(image: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Means of ``factor`` pixels along every axis; what is left over at the ends is dropped."""
    values = np.asarray(image, np.float32)
    if factor == 1:
        return values
    kept = values[tuple(slice(n // factor * factor) for n in values.shape)]
    split = [k for n in kept.shape for k in (n // factor, factor)]
    return kept.reshape(split).mean(axis=tuple(range(1, 2 * values.ndim, 2)), dtype=np.float64).astype("f4")


def data_block(name: str, value: Any) -> Markup:
    """A JSON block for the page's script; no text in it can end the block."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')


def script_policy(*scripts: str) -> str:
    """The part of a content security policy that lets these scripts run and no other."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    return "script-src " + " ".join(f"'sha256-{digest}'" for digest in hashes)
