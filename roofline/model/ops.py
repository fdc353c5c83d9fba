"""Ops: the formula layer. Pure functions from shapes to what one kernel computes and moves.

Everything is in FLOPs and elements; widths in bytes are the accounting's business. Arguments are
plain numbers or polynomials in the scenario's variables. `rows` is always batch × tokens.

Matmul-class FLOPs follow `torch.utils.flop_counter`: 2 per multiply-accumulate, attention dense,
biases free. Vector FLOPs count one per elementary operation (add, multiply, max, exp, divide,
square root) and per element; see the constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from roofline.model.polynomial import Number

Kind = Literal[
    "embedding",
    "linear",
    "attention",
    "softmax",
    "norm",
    "rotary",
    "activation",
    "residual",
    "reduction",
]
Unit = Literal["matmul", "attention", "vector"]
"""Whose peak bounds the op: linear layers and attention may compute in different types."""
Role = Literal["linear", "embedding", "lm_head"]
"""What a weight matrix is for; quantization modes treat the three differently."""

RMS_NORM_FLOPS = 4  # square, accumulate, scale by 1/rms, scale by the weight
LAYER_NORM_FLOPS = 7  # mean; centre, square, accumulate; scale by 1/σ; weight, bias
SOFTMAX_FLOPS = 5  # running max, subtract, exp, accumulate, divide
ROTARY_FLOPS = 3  # two multiplies and an add per rotated element
SWIGLU_FLOPS = 5  # negate, exp, add one, divide: SiLU; then the product with the up projection
Pointwise = Literal["quick_gelu", "gelu"]
POINTWISE_FLOPS: Mapping[Pointwise, int] = {
    "quick_gelu": 5,  # scale by 1.702, then x·sigmoid as above
    "gelu": 5,  # scale, erf, add one, halve, multiply
}

FUSIONS = {
    "norm": "a normalisation is one kernel: upcast, statistics, scale, weight and bias",
    "linear": "a matmul with its bias and dequantization; strided inputs are read where they lie",
    "kv-cache": "v_proj and the rotation of k write straight into the KV cache",
    "rotary": "q and k are rotated by one kernel; the cosines and sines come from one table",
    "flash": "flash attention is one kernel: scores and probabilities stay on chip",
    "eager": "eager attention is QKᵀ with scale and mask, softmax, PV; no operand is copied",
    "act_fn": "an activation function is one kernel, a gated one with its product",
    "prompt": "the projector writes its rows into the prompt; only text tokens are looked up",
    "vision-embeddings": "class token and position embedding are added by one kernel",
    "index": "ids, positions and rotary frequencies are not counted; masks are made in place",
    "residual": "a residual add is a kernel of its own, not fused with the norm behind it",
}
"""What is one kernel and what is not, in one place: the licence of each byte left out."""


class MatmulShape(Struct, frozen=True):
    """[rows, in_features] @ [in_features, out_features], the m, k and n of a GEMM."""

    rows: Number
    in_features: Number
    out_features: Number


class AttentionShape(Struct, frozen=True):
    """softmax(QKᵀ/√e)·V with Q [batch, heads, queries, e] and K, V [batch, kv_heads, keys, e]."""

    batch: Number
    queries: Number
    keys: Number
    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = False

    @property
    def query_rows(self) -> Number:
        """Queries of all heads and sequences."""
        return self.batch * self.queries * self.heads

    @property
    def query_elements(self) -> Number:
        return self.query_rows * self.head_dim

    @property
    def key_elements(self) -> Number:
        """Elements of K, and as many of V: KV heads, never copied to query heads."""
        return self.batch * self.keys * (self.kv_heads * self.head_dim)

    @property
    def scores(self) -> Number:
        """Elements of QKᵀ, all heads."""
        return self.batch * self.queries * self.keys * self.heads

    @property
    def product_flops(self) -> Number:
        """FLOPs of QKᵀ, and as many of PV: dense, whatever the mask."""
        return 2 * self.scores * self.head_dim


class Op(Struct, frozen=True):
    """One kernel.

    `reads` and `writes` name the activation tensors of the block and their elements; the names
    give tensor lifetimes. `kv_reads` and `kv_writes` are elements of the KV cache.
    """

    name: str
    kind: Kind
    unit: Unit
    reads: Mapping[str, Number]
    writes: Mapping[str, Number]
    flops: Number = 0.0
    vector_flops: Number = 0.0
    weights: Number = 0.0
    """Elements of weight matrices read."""
    role: Role = "linear"
    vectors: Number = 0.0
    """Elements of biases, norm weights and position embeddings read."""
    kv_reads: Number = 0.0
    kv_writes: Number = 0.0
    resident: Mapping[str, Number] = {}
    """Full size of a tensor that the op writes only a part of."""
    shape: MatmulShape | AttentionShape | None = None
    """What the time that a kernel attains depends on, beside FLOPs and bytes."""
    function: str = ""
    """What a vector op computes, where ops of its kind are of different cost."""


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


def embedding(name: str, target: str, *, rows: Number, width: int, prompt_rows: Number) -> Op:
    """Copy `rows` rows of the table, one per token, into a prompt of `prompt_rows` rows."""
    return Op(
        name,
        "embedding",
        "vector",
        reads={},
        writes={target: rows * width},
        resident={target: prompt_rows * width},
        weights=rows * width,
        role="embedding",
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
    name: str, source: str, target: str, *, rows: Number, width: int, function: Pointwise
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


def gated_activation(name: str, gate: str, up: str, target: str, *, rows: Number, width: int) -> Op:
    """silu(gate) · up, all [rows, width] (Shazeer 2020, SwiGLU)."""
    size = rows * width
    return Op(
        name,
        "activation",
        "vector",
        reads={gate: size, up: size},
        writes={target: size},
        vector_flops=SWIGLU_FLOPS * size,
        function="swiglu",
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
) -> Op:
    """Rotate q [rows, width] and k [rows, kv_width]; k goes to the KV cache (Su et al. 2021)."""
    q, k = rows * width, rows * kv_width
    return Op(
        name,
        "rotary",
        "vector",
        reads={query: q, key: k, table: 2 * queries * head_dim},
        writes={target: q},
        vector_flops=ROTARY_FLOPS * (q + k),
        kv_writes=k,
    )


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
