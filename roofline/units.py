"""Prefixes, decimal unless they say `i`, and the one way numbers are shown to people."""

from __future__ import annotations

KILO, MEGA, GIGA, TERA = 1e3, 1e6, 1e9, 1e12
MIB, GIB = 2.0**20, 2.0**30
MICRO, MILLI = 1e-6, 1e-3
BITS_PER_BYTE = 8

_PREFIXES = ((1e15, "P"), (TERA, "T"), (GIGA, "G"), (MEGA, "M"), (KILO, "k"), (1.0, ""))
_SMALL = ((1.0, ""), (MILLI, "m"), (MICRO, "µ"), (1e-9, "n"))


def si(value: float, unit: str) -> str:
    """Three significant digits and an SI prefix: `si(9.33e12, "FLOP")` is `9.33 TFLOP`."""
    table = _SMALL if unit == "s" else _PREFIXES
    scale, prefix = next(
        ((s, p) for s, p in table if abs(value) >= s * 0.9995), table[-1] if value else (1.0, "")
    )
    return f"{significant(value / scale)} {prefix}{unit}"


def significant(value: float, digits: int = 3) -> str:
    """Format with a fixed number of significant digits and no exponent, `digits` ≥ 1."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    whole = len(str(int(abs(rounded)))) if abs(rounded) >= 1 else 0
    if whole:
        return f"{rounded:.{max(digits - whole, 0)}f}"
    leading = -int(f"{abs(rounded):e}".split("e")[1]) - 1
    return f"{rounded:.{digits + leading}f}"
