"""Attention: fused, or kernel by kernel."""

from __future__ import annotations

from roofline.model.op import AttentionShape, MatmulShape, Op

SOFTMAX_FLOPS = 5  # running max, subtract, exp, accumulate, divide


def flash_attention(
    name: str, query: str, target: str, shape: AttentionShape, *, key_value: tuple[str, str] | None
) -> Op:
    """One kernel, scores on chip (Dao et al. 2022); without `key_value`, K and V are cached."""
    kv = shape.key_elements
    reads = {query: shape.query_elements}
    if key_value:
        reads |= dict.fromkeys(key_value, kv)
    return Op(
        name,
        "attention",
        "attention",
        reads=reads,
        writes={target: shape.query_elements},
        flops=2 * shape.product_flops,
        vector_flops=SOFTMAX_FLOPS * shape.scores,
        kv_reads=0.0 if key_value else 2 * kv,
        shape=shape,
    )


def eager_attention(
    query: str, target: str, shape: AttentionShape, *, key_value: tuple[str, str] | None
) -> tuple[Op, Op, Op]:
    """Three kernels: QKᵀ, softmax, PV; scores [batch, heads, queries, keys] go through memory."""
    kv, scores = shape.key_elements, shape.scores
    key, value = ({name: kv} for name in key_value) if key_value else ({}, {})
    cached = 0.0 if key_value else kv
    return (
        Op(
            "qk_matmul",
            "attention",
            "attention",
            reads={query: shape.query_elements, **key},
            writes={"scores": scores},
            flops=shape.product_flops,
            kv_reads=cached,
            shape=MatmulShape(shape.query_rows, shape.head_dim, shape.keys),
        ),
        Op(
            "softmax",
            "softmax",
            "vector",
            reads={"scores": scores},
            writes={"probabilities": scores},
            vector_flops=SOFTMAX_FLOPS * scores,
        ),
        Op(
            "sv_matmul",
            "attention",
            "attention",
            reads={"probabilities": scores, **value},
            writes={target: shape.query_elements},
            flops=shape.product_flops,
            kv_reads=cached,
            shape=MatmulShape(shape.query_rows, shape.keys, shape.head_dim),
        ),
    )
