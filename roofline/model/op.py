"""An op: one kernel's FLOPs, the tensors that it reads and writes, and its shape.

Everything is in FLOPs and elements; widths in bytes are the accounting's business. Numbers are
plain or polynomials in the scenario's variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from roofline.model.polynomial import Number

OpKind = Literal[
    "embedding",
    "linear",
    "attention",
    "softmax",
    "norm",
    "rotary",
    "activation",
    "residual",
    "routing",
    "experts",
    "reduction",
]
Unit = Literal["matmul", "attention", "vector"]
"""Whose peak bounds the op: linear layers and attention may compute in different types."""
WeightRole = Literal["linear", "embedding", "lm_head"]
"""What a weight matrix is for; quantization modes treat the three differently."""
WEIGHT_ROLES: tuple[WeightRole, ...] = get_args(WeightRole)


class MatmulShape(Struct, frozen=True):
    """[rows, in_features] @ [in_features, out_features], the m, k and n of a GEMM."""

    rows: Number
    in_features: Number
    out_features: Number


class AttentionShape(Struct, frozen=True):
    """softmax(QKᵀ/√e)·V with Q [batch, heads, queries, e], K [batch, kv_heads, keys, e] and
    V [batch, kv_heads, keys, v].
    """

    batch: Number
    queries: Number
    keys: Number
    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = False
    value_dim: int | None = None
    """v; left out, the same as `head_dim`, e."""

    @property
    def query_rows(self) -> Number:
        """Queries of all heads and sequences."""
        return self.batch * self.queries * self.heads

    @property
    def value_size(self) -> int:
        return self.value_dim or self.head_dim

    @property
    def query_elements(self) -> Number:
        return self.query_rows * self.head_dim

    @property
    def output_elements(self) -> Number:
        return self.query_rows * self.value_size

    @property
    def key_elements(self) -> Number:
        """Elements of K: KV heads, never copied to query heads."""
        return self.batch * self.keys * (self.kv_heads * self.head_dim)

    @property
    def value_elements(self) -> Number:
        """The same of V."""
        return self.batch * self.keys * (self.kv_heads * self.value_size)

    @property
    def scores(self) -> Number:
        """Elements of QKᵀ, all heads."""
        return self.batch * self.queries * self.keys * self.heads

    @property
    def query_key_flops(self) -> Number:
        """FLOPs of QKᵀ: dense, whatever the mask."""
        return 2 * self.scores * self.head_dim

    @property
    def value_flops(self) -> Number:
        """The same of PV."""
        return 2 * self.scores * self.value_size


class MoeShape(Struct, frozen=True):
    """Experts, each [hidden → intermediate] (twice if gated) and [intermediate → hidden]; each of
    `tokens` goes through `top_k` of them.
    """

    tokens: Number
    hidden: int
    intermediate: int
    experts: int
    top_k: int
    gated: bool

    @property
    def expert_elements(self) -> int:
        """Weights of one expert."""
        return (2 + self.gated) * self.hidden * self.intermediate

    @property
    def flops(self) -> Number:
        """2 · tokens · top_k · weights of an expert."""
        return 2 * self.tokens * self.top_k * self.expert_elements


OpShape: TypeAlias = MatmulShape | AttentionShape | MoeShape


class Op(Struct, frozen=True):
    """One kernel.

    `reads` and `writes` name the activation tensors of the block and their elements; the names
    give tensor lifetimes. `kv_reads` and `kv_writes` are elements of the KV cache.
    """

    name: str
    kind: OpKind
    unit: Unit
    reads: Mapping[str, Number]
    writes: Mapping[str, Number]
    flops: Number = 0.0
    vector_flops: Number = 0.0
    weights: Number = 0.0
    """Elements of weight matrices read."""
    role: WeightRole = "linear"
    resident_weights: float | None = None
    """Elements of those matrices in memory, where they are not what is read: a table of which rows
    are looked up, or a matrix that another op holds."""
    vectors: Number = 0.0
    """Elements of biases, norm weights and position embeddings read."""
    resident_vectors: float | None = None
    """Elements of those in memory, where they are not what is read."""
    kv_reads: Number = 0.0
    kv_writes: Number = 0.0
    resident: Mapping[str, Number] = {}
    """Full size of a tensor that the op writes only a part of."""
    elsewhere: Mapping[str, Number] = {}
    """Amounts at resources beside tensor and vector units and DRAM: bytes over a link, say."""
    shape: OpShape | None = None
    """What the time that a kernel attains depends on, beside FLOPs and bytes."""
    launches: int = 1
    """Kernels that its implementation issues: each pays a launch."""
    waits: int = 0
    """Times that the host reads a number back, before which it can issue nothing further."""
    function: str = ""
    """What a vector op computes, where ops of its kind are of different cost."""
