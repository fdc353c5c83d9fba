"""Kernels of fixed sizes as curves over the counts that vary: rows, sequences, tokens, keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from roofline.device.curves import CountAxis, Curve, tabulated
from roofline.device.kernel_types import OperandBytes
from roofline.device.laws.attention import (
    AttentionForm,
    AttentionLaw,
    attention_flops,
    attention_seconds,
)
from roofline.device.laws.decode_attention import DecodeAttentionLaw, decode_attention_seconds
from roofline.device.laws.encoder_attention import EncoderAttentionLaw, encoder_attention_seconds
from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.device.laws.moe import MoeLaw, moe_flops, moe_seconds, touched_experts
from roofline.device.roof import Roof
from roofline.device.sustained import paced
from roofline.model.polynomial import Array

ROWS = CountAxis(octaves=16)
"""Rows of a matmul."""
SEQUENCES = CountAxis(octaves=11, per_octave=2)
"""Of attention: its time depends on them nearly linearly."""
TOKENS = CountAxis(octaves=17, power=2)
"""Of a prompt."""
PATCHES = CountAxis(octaves=16, per_octave=8, power=2)
"""Of an image: tables have them where encoders do, at 576, say."""
KEYS = CountAxis(octaves=20, per_octave=2)
"""In the cache of a sequence that one query attends to."""
QUERIES = CountAxis(octaves=17, per_octave=2, power=2)
"""Of a sequence, to keys of another number."""

AnyAttentionLaw: TypeAlias = AttentionLaw | DecodeAttentionLaw | EncoderAttentionLaw
ATTENTION_AXES: dict[AttentionForm, tuple[CountAxis, ...]] = {
    "decode": (SEQUENCES, KEYS),
    "encoder": (SEQUENCES, PATCHES),
    "prefill": (SEQUENCES, TOKENS),
    "extension": (SEQUENCES, QUERIES, KEYS),
}


class AttentionSizes(NamedTuple):
    """What does not vary of attention."""

    heads: int
    kv_heads: int
    head_dim: float
    causal: bool
    query_bytes: float
    """Queries and output, for each query of a sequence."""
    key_bytes: float
    """Keys and values, for each key of a sequence."""


def attention_curve(
    form: AttentionForm, law: AnyAttentionLaw, roof: Roof, sizes: AttentionSizes
) -> Curve:
    """Fused attention over `ATTENTION_AXES` of its form.

    An `AttentionLaw` goes for every form, the others for their own.
    """
    of_counts = _of_two_counts if len(ATTENTION_AXES[form]) == 2 else _of_three_counts
    return of_counts(form, law, roof, sizes)


def _attention_curve(
    form: AttentionForm, law: AnyAttentionLaw, roof: Roof, sizes: AttentionSizes
) -> Curve:
    heads, kv_heads, head_dim, causal, query_bytes, key_bytes = sizes

    def counted(*counts: Array) -> tuple[Array, Array, Array]:
        batch, queries, keys = _COUNTS[form](*counts)
        # a prompt's tokens are among its keys: a table has a place for fewer all the same
        return batch, queries, np.maximum(queries, keys) if causal else keys

    def moved(batch: Array, queries: Array, keys: Array) -> Array:
        return batch * (queries * query_bytes + keys * key_bytes)

    def seconds(*counts: Array) -> Array:
        batch, queries, keys = counted(*counts)
        traffic = moved(batch, queries, keys)
        flops = attention_flops(batch, queries, keys, heads, head_dim, causal=causal)

        def under(roof: Roof) -> Array:
            if isinstance(law, DecodeAttentionLaw):
                shape = (batch, keys, heads, kv_heads, head_dim)
                return decode_attention_seconds(law, roof, *shape, traffic_bytes=traffic)
            if isinstance(law, EncoderAttentionLaw):
                encoded = (batch, queries, heads, head_dim)
                return encoder_attention_seconds(law, roof, *encoded, traffic_bytes=traffic)
            all_sizes = (batch, queries, keys, heads, kv_heads, head_dim)
            return attention_seconds(law, roof, *all_sizes, causal=causal, traffic_bytes=traffic)

        return paced(law, roof, flops, under)

    def bound(*counts: Array) -> Array:
        batch, queries, keys = counted(*counts)
        flops = attention_flops(batch, queries, keys, heads, head_dim, causal=causal)
        return roof.seconds(flops, moved(batch, queries, keys))

    return tabulated(ATTENTION_AXES[form], seconds, bound, smooth=law.origin == "typical")


_of_two_counts = lru_cache(maxsize=1024)(_attention_curve)
"""Of up to 90 kB each."""
_of_three_counts = lru_cache(maxsize=32)(_attention_curve)
"""Of 2 MB each."""


@lru_cache(maxsize=512)
def moe_curve(
    law: MoeLaw,
    roof: Roof,
    hidden: float,
    intermediate: float,
    experts: float,
    top_k: float,
    width: OperandBytes,
    gated: bool,
) -> Curve:
    """A mixture-of-experts MLP over tokens."""

    def moved(tokens: Array) -> tuple[Array, Array]:
        touched = touched_experts(tokens, experts, top_k)
        weights = width.weight * (2 + gated) * touched * hidden * intermediate
        return weights, (width.input + width.output) * tokens * hidden

    def seconds(tokens: Array) -> Array:
        weights, activations = moved(tokens)
        sizes = (tokens, hidden, intermediate, experts, top_k)
        bytes_ = {"weight_bytes": weights, "activation_bytes": activations}
        return paced(
            law,
            roof,
            moe_flops(*sizes, gated=gated),
            lambda seen: moe_seconds(law, seen, *sizes, **bytes_, gated=gated),
        )

    def bound(tokens: Array) -> Array:
        flops = moe_flops(tokens, hidden, intermediate, experts, top_k, gated=gated)
        return roof.seconds(flops, sum(moved(tokens), np.zeros(())))

    return tabulated((ROWS,), seconds, bound, smooth=law.origin == "typical")


_Counted: TypeAlias = Callable[..., tuple[Array, Array, Array]]
_COUNTS: dict[AttentionForm, _Counted] = {
    "decode": lambda batch, keys: (batch, np.ones(()), keys),
    "encoder": lambda batch, tokens: (batch, tokens, tokens),
    "prefill": lambda batch, tokens: (batch, tokens, tokens),
    "extension": lambda batch, queries, keys: (batch, queries, keys),
}
"""Sequences, queries and keys of each, from the counts of the axes."""


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
        moved = row_bytes * m + fixed_bytes

        def under(roof: Roof) -> Array:
            sizes = (law, roof, m, n, k)
            return matmul_seconds(*sizes, weight_bytes=weight_bytes, activation_bytes=moved)

        return paced(law, roof, 2 * m * n * k, under)

    def bound(m: Array) -> Array:
        return roof.seconds(2 * m * n * k, weight_bytes + row_bytes * m + fixed_bytes)

    return tabulated((ROWS,), seconds, bound, smooth=law.origin == "typical")
