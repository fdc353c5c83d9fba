"""Matrix products."""

from __future__ import annotations

from roofline.model.op import MatmulShape, Op, Role
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
    role: Role = "linear",
) -> Op:
    """[rows, in] @ [in, out] → [rows, out]; a `target` of None is the KV cache."""
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
        vectors=out_features if bias else 0.0,
        shape=MatmulShape(rows, in_features, out_features),
    )
