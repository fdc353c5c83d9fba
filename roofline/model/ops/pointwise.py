"""Elementwise and row-wise ops, and the lookup of embeddings."""

from __future__ import annotations

from collections.abc import Mapping

from roofline.model.op import Op
from roofline.model.polynomial import Number
from roofline.specs.models import HiddenAct, NormFunction

RMS_NORM_FLOPS = 4  # square, accumulate, scale by 1/rms, scale by the weight
LAYER_NORM_FLOPS = 7  # mean; centre, square, accumulate; scale by 1/σ; weight, bias
NORM_FLOPS: Mapping[NormFunction, int] = {
    "rms_norm": RMS_NORM_FLOPS,
    "layer_norm": LAYER_NORM_FLOPS,
}
ROTARY_FLOPS = 3  # two multiplies and an add per rotated element
POINTWISE_FLOPS: Mapping[HiddenAct, int] = {
    "silu": 4,  # negate, exp, add one, divide
    "relu": 1,
    "relu2": 2,
    "quick_gelu": 5,  # scale by 1.702, then x·sigmoid as above
    "gelu": 5,  # scale, erf, add one, halve, multiply
    # ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))): square, cube, scale, add x; scale, tanh, add one;
    # multiply by x, halve
    "gelu_tanh": 9,
}


def embedding(
    name: str,
    target: str,
    *,
    rows: Number,
    width: int,
    prompt_rows: Number,
    table_rows: int,
    scaled: bool = False,
) -> Op:
    """Copy `rows` of the table's rows, one per token, into a prompt of `prompt_rows` rows.

    scaled: whether they are multiplied by a constant.
    """
    return Op(
        name,
        "embedding",
        "vector",
        reads={},
        writes={target: rows * width},
        resident={target: prompt_rows * width},
        vector_flops=rows * width if scaled else 0.0,
        weights=rows * width,
        role="embedding",
        resident_weights=float(table_rows * width),
    )


def added_positions(
    name: str, stream: str, *, batch: Number, queries: Number, width: int, table_rows: int
) -> Op:
    """Stream [batch, queries, width] + as many rows of a table of positions, for all sequences."""
    size = batch * queries * width
    return Op(
        name,
        "embedding",
        "vector",
        reads={stream: size},
        writes={stream: size},
        vector_flops=size,
        weights=queries * width,
        role="embedding",
        resident_weights=float(table_rows * width),
    )


def norm(
    name: str,
    source: str,
    target: str | None,
    *,
    rows: Number,
    width: int,
    function: NormFunction,
    vectors: int,
) -> Op:
    """[rows, width] → the same, by weights and biases of so many elements.

    RMS: Zhang & Sennrich 2019, equation 4; layer: Ba et al. 2016. A `target` of None is the KV
    cache.
    """
    size = rows * width
    return Op(
        name,
        "norm",
        "vector",
        reads={source: size},
        writes={} if target is None else {target: size},
        vector_flops=NORM_FLOPS[function] * size,
        vectors=vectors,
        kv_writes=size if target is None else 0.0,
        function=function,
    )


def rms_norm(name: str, source: str, target: str, *, rows: Number, width: int) -> Op:
    """An RMS norm with its weight."""
    return norm(name, source, target, rows=rows, width=width, function="rms_norm", vectors=width)


def layer_norm(name: str, source: str, target: str, *, rows: Number, width: int) -> Op:
    """A layer norm with weight and bias."""
    return norm(
        name, source, target, rows=rows, width=width, function="layer_norm", vectors=2 * width
    )


def weighted_norm(
    function: NormFunction, name: str, source: str, target: str, *, rows: Number, width: int
) -> Op:
    """A norm with its weight and, where it is a layer norm, its bias."""
    make = rms_norm if function == "rms_norm" else layer_norm
    return make(name, source, target, rows=rows, width=width)


def scale(name: str, stream: str, *, rows: Number, width: int) -> Op:
    """[rows, width] times a learned factor a channel, in its own tensor."""
    size = rows * width
    return Op(
        name,
        "activation",
        "vector",
        reads={stream: size},
        writes={stream: size},
        vector_flops=size,
        vectors=width,
        function="scale",
    )


def residual(
    name: str, stream: str, branch: str, *, rows: Number, width: int, scaled: bool = False
) -> Op:
    """Stream + branch, both [rows, width]: two operands read, one result written.

    scaled: whether the branch is multiplied by a constant.
    """
    size = rows * width
    return Op(
        name,
        "residual",
        "vector",
        reads={stream: size, branch: size},
        writes={stream: size},
        vector_flops=(1 + scaled) * size,
    )


def activation(
    name: str, source: str, target: str, *, rows: Number, width: int, function: HiddenAct
) -> Op:
    """Pointwise on [rows, width]."""
    size = rows * width
    return Op(
        name,
        "activation",
        "vector",
        reads={source: size},
        writes={target: size},
        vector_flops=POINTWISE_FLOPS[function] * size,
        function=function,
    )


def gated_activation(
    name: str,
    gate: str,
    up: str,
    target: str,
    *,
    rows: Number,
    width: int,
    function: HiddenAct = "silu",
) -> Op:
    """act(gate) · up, all [rows, width] (Shazeer 2020)."""
    size = rows * width
    return Op(
        name,
        "activation",
        "vector",
        reads={gate: size, up: size},
        writes={target: size},
        vector_flops=(POINTWISE_FLOPS[function] + 1) * size,
        function="swiglu" if function == "silu" else f"{function}_glu",
    )


def rotary_table(name: str, target: str, *, queries: Number, head_dim: int) -> Op:
    """Cosines and sines [queries, head_dim] of positions × frequencies, once for all sequences."""
    size = queries * head_dim
    return Op(
        name,
        "rotary",
        "vector",
        reads={},
        writes={target: 2 * size},
        vector_flops=0.5 * size + 2 * size,  # the outer product; cosine and sine of both halves
    )


def rotary(
    name: str,
    query: str,
    key: str,
    table: str,
    target: str,
    *,
    rows: Number,
    queries: Number,
    width: int,
    kv_width: int,
    head_dim: int,
    share: float = 1.0,
    key_target: str | None = None,
) -> Op:
    """Rotate q [rows, width] and k [rows, kv_width] (Su et al. 2021).

    head_dim: what is rotated of a head. share: of what is written; the rest is copied. Without a
    `key_target`, k goes to the KV cache.
    """
    q, k = rows * width, rows * kv_width
    return Op(
        name,
        "rotary",
        "vector",
        reads={query: q, key: k, table: 2 * queries * head_dim},
        writes={target: q} if key_target is None else {target: q, key_target: k},
        vector_flops=ROTARY_FLOPS * share * (q + k),
        kv_writes=k if key_target is None else 0.0,
    )
