"""A law's numbers as ones that may take any value: logarithms, and log odds of fractions."""

from __future__ import annotations

import numpy as np

FRACTIONS = {"bandwidth_fraction", "efficiency", "wave_share"}
"""Numbers between 0 and 1; all others are positive."""

_LARGEST = 60.0


def free(law: object, name: str) -> float:
    """The unbounded form of a law's (or a tile's) number."""
    value = float(getattr(law, name))
    return float(np.log(value / (1 - value)) if name in FRACTIONS else np.log(value))


def bound(name: str, value: float) -> float:
    """The number of that unbounded form."""
    value = min(max(value, -_LARGEST), _LARGEST)
    return float(1 / (1 + np.exp(-value)) if name in FRACTIONS else np.exp(value))
