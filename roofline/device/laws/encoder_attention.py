"""Attainable time of one encoder attention kernel: every token attends to all, without a cache.

The physics is that of `roofline.device.laws.attention`, without mask, cache and shared key heads;
so are the numbers of a law, but for the ranges of its correction. No result is below the roofline.
"""

from math import comb
from typing import ClassVar

import numpy as np

from roofline.device.laws.attention import (
    AttentionForm,
    AttentionLaw,
    attention_flops,
    physical_seconds,
)
from roofline.device.laws.smooth import corrected, monomials, polynomial, scaled
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import check_corrections, register_laws

CORRECTION_DEGREE = 3
CORRECTED = ((0.0, 16.0), (-8.0, 5.0))
"""Ranges of log₂ of tokens and of waves of query blocks; corrections hold beyond."""
CORRECTED_HEAD_DIM = (64.0, 80.0)
"""Those of vision encoders: kernels take 64 as it is, 80 padded, 72 unaligned."""
CORRECTIONS = comb(len(CORRECTED) + 1 + CORRECTION_DEGREE, CORRECTION_DEGREE)
"""Functions in `correction_basis`."""


class EncoderAttentionLaw(AttentionLaw, frozen=True):
    """Numbers of `encoder_attention_seconds`, for fused kernels of one data type."""

    family: ClassVar[str] = "encoder_attention"
    forms: tuple[AttentionForm, ...] = ("encoder",)
    """What attended to what in the kernels that it was fitted to."""

    def __post_init__(self) -> None:
        check_corrections(self.corrections, CORRECTIONS)


@register_laws(EncoderAttentionLaw)
def encoder_attention_seconds(
    law: EncoderAttentionLaw,
    roof: Roof,
    batch: FloatOrArray,
    tokens: FloatOrArray,
    heads: FloatOrArray,
    head_dim: FloatOrArray,
    *,
    traffic_bytes: FloatOrArray,
) -> Array:
    """Seconds of attention of `tokens` to each other, in each of `batch` sequences; arguments
    broadcast.

    `traffic_bytes` is what Q, K, V and the output move.

    t = max(t_physical·exp(min(max(c·φ, −0.7), 0.7)), t_roof), in s, with
    `roofline.device.laws.attention.physical_seconds`, `corrections` c and `correction_basis` φ;
    t_roof is `Roof.seconds` of 4·batch·heads·tokens²·head_dim FLOPs and `traffic_bytes`.
    """
    batch, tokens, heads, head_dim, traffic = (
        np.asarray(value, dtype=np.float64)
        for value in (batch, tokens, heads, head_dim, traffic_bytes)
    )
    shape = (batch, tokens, tokens, heads, heads, head_dim)
    seconds = physical_seconds(law, roof, *shape, causal=False, traffic=traffic)
    if law.corrections:
        variables = correction_variables(law, roof, batch, tokens, heads, head_dim)
        seconds = corrected(seconds, polynomial(variables, CORRECTION_DEGREE, law.corrections))
    flops = attention_flops(batch, tokens, tokens, heads, head_dim, causal=False)
    return np.maximum(seconds, roof.seconds(flops, traffic))


def correction_variables(
    law: EncoderAttentionLaw, roof: Roof, batch: Array, tokens: Array, heads: Array, head_dim: Array
) -> list[Array]:
    """What the correction is a polynomial in, each in [−1, 1]: log₂ tokens, log₂ of waves
    (batch·heads·tokens / (block_queries·units)) and head_dim.
    """
    waves = batch * heads * tokens / (law.block_queries * roof.units)
    logarithms = [
        scaled(np.log2(value), span) for value, span in zip((tokens, waves), CORRECTED, strict=True)
    ]
    return [*logarithms, scaled(head_dim, CORRECTED_HEAD_DIM)]


def correction_basis(
    law: EncoderAttentionLaw, roof: Roof, batch: Array, tokens: Array, heads: Array, head_dim: Array
) -> list[Array]:
    """Values of the basis functions φ, in the order of `corrections`; their shapes broadcast.

    Monomials of degree ≤ 3 in the `correction_variables`.
    """
    variables = correction_variables(law, roof, batch, tokens, heads, head_dim)
    return monomials(variables, CORRECTION_DEGREE)
