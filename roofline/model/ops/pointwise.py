"""Elementwise and row-wise ops, and the lookup of embeddings."""

from __future__ import annotations

from collections.abc import Mapping

from roofline.model.op import Op
from roofline.model.polynomial import Number
from roofline.specs.models import HiddenAct, NormKind

RMS_NORM_FLOPS = 4  # square, accumulate, scale by 1/rms, scale by the weight
LAYER_NORM_FLOPS = 7  # mean; centre, square, accumulate; scale by 1/σ; weight, bias
ROTARY_FLOPS = 3  # two multiplies and an add per rotated element
POINTWISE_FLOPS: Mapping[HiddenAct, int] = {
    "silu": 4,  # negate, exp, add one, divide
    "quick_gelu": 5,  # scale by 1.702, then x·sigmoid as above
    "gelu": 5,  # scale, erf, add one, halve, multiply
    # ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))): square, cube, scale, add x; scale, tanh, add one;
    # multiply by x, halve
    "gelu_tanh": 9,
}


def embedding(
    name: str, target: str, *, rows: Number, width: int, prompt_rows: Number, table_rows: int
) -> Op:
    """Copy `rows` of the table's rows, one per token, into a prompt of `prompt_rows` rows."""
    return Op(
        name,
        "embedding",
        "vector",
        reads={},
        writes={target: rows * width},
        resident={target: prompt_rows * width},
        weights=rows * width,
        role="embedding",
        resident_weights=float(table_rows * width),
    )


def rms_norm(name: str, source: str, target: str, *, rows: Number, width: int) -> Op:
    """[rows, width] → the same (Zhang & Sennrich 2019, equation 4)."""
    size = rows * width
    return Op(
        name,
        "norm",
        "vector",
        reads={source: size},
        writes={target: size},
        vector_flops=RMS_NORM_FLOPS * size,
        vectors=width,
        function="rms_norm",
    )


def layer_norm(name: str, source: str, target: str, *, rows: Number, width: int) -> Op:
    """[rows, width] → the same (Ba et al. 2016)."""
    size = rows * width
    return Op(
        name,
        "norm",
        "vector",
        reads={source: size},
        writes={target: size},
        vector_flops=LAYER_NORM_FLOPS * size,
        vectors=2 * width,
        function="layer_norm",
    )


def norm(kind: NormKind, name: str, source: str, target: str, *, rows: Number, width: int) -> Op:
    """The norm of that kind."""
    make = rms_norm if kind == "rms_norm" else layer_norm
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


def residual(name: str, stream: str, branch: str, *, rows: Number, width: int) -> Op:
    """Stream + branch, both [rows, width]: two operands read, one result written."""
    size = rows * width
    return Op(
        name,
        "residual",
        "vector",
        reads={stream: size, branch: size},
        writes={stream: size},
        vector_flops=size,
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
    """f(gate) · up, all [rows, width] (Shazeer 2020: SwiGLU where f is SiLU)."""
    size = rows * width
    return Op(
        name,
        "activation",
        "vector",
        reads={gate: size, up: size},
        writes={target: size},
        vector_flops=(POINTWISE_FLOPS[function] + 1) * size,
        function="swiglu" if function == "silu" else f"gated_{function}",
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
    key_target: str | None = None,
) -> Op:
    """Rotate q [rows, width] and k [rows, kv_width] (Su et al. 2021).

    Without a `key_target`, k goes to the KV cache.
    """
    q, k = rows * width, rows * kv_width
    return Op(
        name,
        "rotary",
        "vector",
        reads={query: q, key: k, table: 2 * queries * head_dim},
        writes={target: q} if key_target is None else {target: q, key_target: k},
        vector_flops=ROTARY_FLOPS * (q + k),
        kv_writes=k if key_target is None else 0.0,
    )
