"""Attention: fused, or kernel by kernel."""

from __future__ import annotations

from roofline.model.op import AttentionShape, MatmulShape, Op

SOFTMAX_FLOPS = 5  # running max, subtract, exp, accumulate, divide


SOFT_CAP_FLOPS = 3  # divide, tanh, multiply


def flash_attention(
    name: str,
    query: str,
    target: str,
    shape: AttentionShape,
    *,
    key_value: tuple[str, str] | None,
    soft_cap: bool = False,
    sinks: bool = False,
) -> Op:
    """One kernel, scores on chip (Dao et al. 2022); without `key_value`, K and V are cached.

    sinks: whether each head has a logit that no key belongs to.
    """
    reads = {query: shape.query_elements}
    if key_value:
        key, value = key_value
        reads |= {key: shape.key_elements, value: shape.value_elements}
    flops = SOFTMAX_FLOPS + SOFT_CAP_FLOPS * soft_cap
    return Op(
        name,
        "attention",
        "attention",
        reads=reads,
        writes={target: shape.output_elements},
        flops=shape.query_key_flops + shape.value_flops,
        vector_flops=flops * shape.scores,
        vectors=shape.heads if sinks else 0.0,
        kv_reads=0.0 if key_value else shape.key_elements + shape.value_elements,
        shape=shape,
    )


def eager_attention(
    query: str,
    target: str,
    shape: AttentionShape,
    *,
    key_value: tuple[str, str] | None,
    soft_cap: bool = False,
    sinks: bool = False,
) -> tuple[Op, Op, Op]:
    """Three kernels: QKᵀ, softmax, PV; scores [batch, heads, queries, keys] go through memory."""
    scores, sizes = shape.scores, (shape.key_elements, shape.value_elements)
    key, value = (
        ({n: size} for n, size in zip(key_value, sizes, strict=True)) if key_value else ({}, {})
    )
    cached_key, cached_value = (0.0, 0.0) if key_value else sizes
    return (
        Op(
            "qk_matmul",
            "attention",
            "attention",
            reads={query: shape.query_elements, **key},
            writes={"scores": scores},
            flops=shape.query_key_flops,
            vector_flops=SOFT_CAP_FLOPS * scores if soft_cap else 0.0,
            kv_reads=cached_key,
            shape=MatmulShape(shape.query_rows, shape.head_dim, shape.keys),
        ),
        Op(
            "softmax",
            "softmax",
            "vector",
            reads={"scores": scores},
            writes={"probabilities": scores},
            vector_flops=SOFTMAX_FLOPS * scores,
            vectors=shape.heads if sinks else 0.0,
        ),
        Op(
            "sv_matmul",
            "attention",
            "attention",
            reads={"probabilities": scores, **value},
            writes={target: shape.output_elements},
            flops=shape.value_flops,
            kv_reads=cached_value,
            shape=MatmulShape(shape.query_rows, shape.keys, shape.value_size),
        ),
    )
