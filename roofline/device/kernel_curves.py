"""Kernels of fixed sizes as curves over the counts that vary: rows, sequences, tokens, keys."""

from __future__ import annotations

from functools import lru_cache

from roofline.device.curves import Axis, Curve, tabulated
from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.device.roof import Roof
from roofline.model.polynomial import Array

ROWS = Axis(octaves=16)
"""Rows of a matmul."""
SEQUENCES = Axis(octaves=11, per_octave=2)
"""Of attention: its time depends on them nearly linearly."""
TOKENS = Axis(octaves=17, power=2)
"""Of a prompt or an image that attends to itself."""
KEYS = Axis(octaves=20, per_octave=2)
"""In the cache of a sequence."""
QUERIES = Axis(octaves=17, per_octave=2, power=2)
"""Of a sequence, to keys of another number."""


@lru_cache(maxsize=4096)
def matmul_curve(
    law: MatmulLaw,
    roof: Roof,
    n: float,
    k: float,
    weight_bytes: float,
    row_bytes: float,
    fixed_bytes: float = 0.0,
) -> Curve:
    """[m, k] @ [k, n] over m.

    row_bytes: activations moved for each row. fixed_bytes: the same, however many rows.
    """

    def seconds(m: Array) -> Array:
        sizes = {"weight_bytes": weight_bytes, "activation_bytes": row_bytes * m + fixed_bytes}
        return matmul_seconds(law, roof, m, n, k, **sizes)

    def bound(m: Array) -> Array:
        return roof.seconds(2 * m * n * k, weight_bytes + row_bytes * m + fixed_bytes)

    return tabulated((ROWS,), seconds, bound, smooth=law.origin == "typical")
