"""Numbers for the reader of a report."""

from __future__ import annotations

import math

_SUPERSCRIPT = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def number(value: float, digits: int = 3) -> str:
    """A number for reading: 0.0123, 45.3, 4.23 × 10⁻⁷."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-", "\u2212")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if -3 <= int(exponent) < 5:
        decimals = max(0, digits - 1 - int(exponent))
        return f"{value:.{decimals}f}".replace("-", "\u2212")
    return f"{mantissa} \u00d7 10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "\u2212")


def percent(value: float, signed: bool = False) -> str:
    """A fraction in per cent, to two significant digits below 10 %."""
    share = 100 * value
    decimals = 2 if abs(share) < 0.995 else 1 if abs(share) < 9.95 else 0
    text = f"{share:{'+' if signed else ''}.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return f"{text} %".replace("-", "\u2212")


def duration(seconds: float) -> str:
    """Seconds as 0.8 s, 42 s, 3 min 05 s or 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
