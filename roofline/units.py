"""Prefixes, decimal unless they say `i`, and the one way numbers are shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10
from typing import Any, SupportsFloat

KILO, MEGA, GIGA, TERA = 1e3, 1e6, 1e9, 1e12
MIB, GIB = 2.0**20, 2.0**30
NANO, MICRO, MILLI = 1e-9, 1e-6, 1e-3
BITS_PER_BYTE = 8

_PREFIXES = ((1e15, "P"), (TERA, "T"), (GIGA, "G"), (MEGA, "M"), (KILO, "k"), (1.0, ""))
_SMALL = ((1.0, ""), (MILLI, "m"), (MICRO, "µ"), (1e-9, "n"))


def si(value: SupportsFloat, unit: str, digits: int = 3) -> str:
    """Significant digits and an SI prefix: `si(9.33e12, "FLOP")` is `9.33 TFLOP`."""
    number = float(value)
    table = _SMALL if unit == "s" else _PREFIXES
    smallest = table[-1] if number else (1.0, "")
    # 999.6 would round to 1000: it takes the next prefix instead
    scale, prefix = next(((s, p) for s, p in table if abs(number) >= s * 0.9995), smallest)
    return f"{significant(number / scale, digits)} {prefix}{unit}"


def si_apart(one: SupportsFloat, other: SupportsFloat, unit: str) -> tuple[str, str]:
    """Two numbers, with as many digits as it takes to tell them apart, up to six."""
    tried = [(si(one, unit, digits), si(other, unit, digits)) for digits in range(3, 7)]
    return next((texts for texts in tried if texts[0] != texts[1]), tried[0])


def significant(value: SupportsFloat, digits: int = 3) -> str:
    """Format with a fixed number of significant digits and no exponent, `digits` ≥ 1."""
    number = float(value)
    if number == 0:
        return "0"
    rounded = float(f"{number:.{digits - 1}e}")
    exponent = int(f"{rounded:e}".split("e")[1])
    return f"{rounded:.{max(digits - 1 - exponent, 0)}f}"


def figures(named: Mapping[str, Any]) -> str:
    """`flops=2.5e+09, bound=memory`: a line for who works in Python; ranges of arrays."""
    return ", ".join(f"{name}={_figure(value)}" for name, value in named.items())


def _figure(value: Any) -> str:
    """One number, or the range of many."""
    import numpy as np  # not needed by what a terminal shows first

    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array.item():.4g}" if array.dtype.kind == "f" else str(array.item())
    if not array.size:
        return "none"
    if array.dtype.kind != "f":
        return "/".join(map(str, np.unique(array).tolist()))
    known = array[~np.isnan(array)]
    return f"{known.min():.4g}…{known.max():.4g}" if known.size else "nan"


def noun(count: int, one: str) -> str:
    """`prompt` of one, `prompts` of any other number."""
    return one if count == 1 else f"{one}s"


def percent(share: SupportsFloat, *, signed: bool = False) -> str:
    """Two significant digits: `percent(0.0034)` is `0.34 %`; `signed` shows a plus as well."""
    sign = "+" if signed and float(share) > 0 else ""
    return f"{sign}{significant(100 * float(share), 2)} %"


def share(part: SupportsFloat, error: SupportsFloat = 0.0) -> str:
    """Percent, with as many digits as its relative `error` allows; three where it is exact.

    The last digit shown is that of the error's first, or a whole percent: 13.8 % known to ±15 % is
    `14 %`.
    """
    percents = 100 * float(part)
    off = abs(percents) * float(error)
    if not percents or not off:
        return f"{significant(percents)} %"
    decimals = max(-floor(log10(off)), 0)
    if round(percents, decimals) == 0:
        return f"{significant(percents, 1)} %"
    return f"{percents:.{decimals}f} %"
