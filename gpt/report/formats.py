"""Numbers as people write them: the filters of the report's template."""

import math
from typing import Any

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{int(value):,}"


def loss(value: float) -> str:
    """A loss to three digits after the point."""
    return f"{value:.3f}"


def figure(value: Any) -> str:
    """A number in few characters, powers of ten as people write them; text as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return count(value)
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def exact(value: Any) -> str:
    """A number with the digits that tell it from one near it; text as it is."""
    return f"{value:.6g}" if isinstance(value, float) else figure(value)


def size(value: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def percent(value: float) -> str:
    """A share in percent, to a tenth."""
    return f"{value:.1%}"


def power(value: int) -> str:
    """A power of ten as on an axis: 100, 1k, 10M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value // size}{unit}"
    return str(value)
