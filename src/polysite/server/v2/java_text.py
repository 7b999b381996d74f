"""A JSON value as the text that the original makes of it, where a column takes text."""

import math
from typing import Any

_PLAIN_FROM, _PLAIN_BELOW = 1e-3, 1e7
"""Between these a floating-point number is written without an exponent (java.lang.Double.toString)."""


def java_text(value: Any) -> str:
    """5 → "5"; 1.10 → "1.1"; 1e3 → "1000.0"; true → "true"; {"k": 1} → "{k=1}"; [1, "a"] → "[1, a]"; null → "null"."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _of_double(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={java_text(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(java_text, value)) + "]"
    return str(value)


def _of_double(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    digits, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = digits.partition(".")
    if value == 0:
        return sign + "0.0"
    # The shortest digits as an integer and the place of the point, whichever way Python wrote them.
    point = len(whole) + int(exponent or 0)
    stripped = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(stripped)
    stripped = stripped.rstrip("0") or "0"
    if _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{stripped}"
        padded = stripped.ljust(point, "0")
        return f"{sign}{padded[:point]}.{padded[point:] or '0'}"
    return f"{sign}{stripped[0]}.{stripped[1:] or '0'}E{point - 1}"
