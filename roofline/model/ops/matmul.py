"""Matrix products."""

from __future__ import annotations

from roofline.model.op import MatmulShape, Op, WeightRole
from roofline.model.polynomial import Number


def linear(
    name: str,
    source: str,
    target: str | None,
    *,
    rows: Number,
    in_features: int,
    out_features: int,
    bias: bool = False,
    role: WeightRole = "linear",
    resident: bool = True,
) -> Op:
    """[rows, in] @ [in, out] → [rows, out]: 2·rows·in·out FLOPs, in·out weights.

    A `target` of None is the KV cache. Weights that are not `resident` are another op's.
    """
    out = rows * out_features
    return Op(
        name,
        "linear",
        "matmul",
        reads={source: rows * in_features},
        writes={} if target is None else {target: out},
        kv_writes=out if target is None else 0.0,
        flops=2 * rows * in_features * out_features,
        vector_flops=out if bias else 0.0,
        weights=in_features * out_features,
        role=role,
        resident_weights=None if resident else 0.0,
        vectors=out_features if bias else 0.0,
        shape=MatmulShape(rows, in_features, out_features),
    )
