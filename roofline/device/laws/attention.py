"""Attainable time of one fused attention kernel, softmax(QKᵀ/√e)·V with the scores kept on chip.

Blocks of queries are dealt to the units in waves, each with a fixed cost; query heads that share a
key head share its blocks. To that come the FLOPs at an attained rate, hidden scores among them
where a block of keys is not hidden as a whole, the part of the longest block of queries that no
other hides, and the traffic: the kernels measured overlap the last two badly, so they add.
A smooth correction, learnt where queries attend to themselves, fades as keys outnumber them. No
result is below the roofline.

Blocks and waves of queries: Dao, FlashAttention-2, arXiv:2307.08691, section 3.2.
"""

from math import comb
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from msgspec import Meta

from roofline.device.laws.smooth import corrected, monomials, polynomial, scaled, within_cache
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import (
    Coefficient,
    Fraction,
    Law,
    NonNegative,
    Share,
    check_corrections,
    register_laws,
)
from roofline.specs.sourced import Positive, PositiveInt
from roofline.units import MICRO

HEAD_DIM = 128.0
"""head_dim at which efficiency is stated."""
WIDE = 64
"""head_dim above which blocks of keys are others, for want of shared memory."""
CORRECTION_DEGREE = 3
CORRECTED = ((0.0, 14.0), (0.0, 12.0), (0.0, 4.0))
"""Ranges of log₂ of queries, batch·heads and heads / kv_heads; corrections hold beyond."""
CORRECTED_HEAD_DIM = (32.0, 160.0)
CORRECTIONS = comb(len(CORRECTED) + 1 + CORRECTION_DEGREE, CORRECTION_DEGREE)
"""Functions in `correction_basis`."""


AttentionForm: TypeAlias = Literal["decode", "encoder", "prefill", "extension"]
"""One query to the keys in a cache; every token to all; to those before; queries to more keys than
there are queries, such as a prompt that goes on."""


class AttentionLaw(Law, frozen=True):
    """Numbers of `attention_seconds`, for fused kernels of one data type."""

    family: ClassVar[str] = "attention"
    launch_us: NonNegative
    """Time of a launch, in µs."""
    block_us: NonNegative
    """Fixed cost of a block of queries in µs, paid by each wave of blocks."""
    efficiency: Fraction
    """Share of the peak that a unit attains at head_dim 128."""
    head_dim_power: Annotated[float, Meta(ge=0, le=10)]
    """Power of (head_dim / 128) that the efficiency goes with."""
    longest_share: NonNegative
    """How much of the longest block is not hidden behind the others."""
    fill_keys: NonNegative
    """Keys' worth of time to fill and drain the longest block's pipeline."""
    bandwidth_fraction: Fraction
    """Share of the DRAM bandwidth that the traffic attains."""
    forms: tuple[AttentionForm, ...] = ("prefill",)
    """What attended to what in the kernels that it was fitted to."""
    block_queries: PositiveInt = 128
    """Queries, of all heads that share keys, in a block."""
    block_head_dim_power: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """Power of (head_dim / 128) that the fixed cost of a block goes with."""
    wave_share: Share = 0.0
    """Share of the units' idle time in the last wave that no other work fills."""
    whole_blocks: bool = False
    """Whether queries and keys are computed in whole blocks, however few the last one has."""
    traffic_share: NonNegative = 1.0
    """Times that the traffic counts beside the computing: less than one as far as that hides it,
    more where operands move in several passes."""
    heads_share_blocks: bool = True
    """Whether query heads of one key head are packed into blocks together."""
    packs_single_queries: bool = True
    """Whether they are where each has a single query, which would leave a block empty."""
    row_keys: NonNegative = 0.0
    """Keys' worth of time that every query takes beside its own keys."""
    key_block: PositiveInt = 1
    """Keys of a block: causal attention computes one if any of its keys is visible."""
    wide_key_block: PositiveInt | None = None
    """The same where head_dim is above 64; by default no other."""
    kv_write_passes: NonNegative = 0.0
    """Times that new keys and values are moved once more, to their places in a paged cache."""
    cached_bandwidth_ratio: Positive = 1.0
    """Bandwidth of operands in the last-level cache, over DRAM bandwidth."""
    cached_share: NonNegative = 0.0
    """Share of the last-level cache up to which the measurement found operands there."""
    corrections: tuple[Coefficient, ...] = ()
    """Coefficients of `correction_basis`, added to the logarithm of time for what the physics
    leaves over."""

    def __post_init__(self) -> None:
        check_corrections(self.corrections, CORRECTIONS)

    @property
    def terms(self) -> str:
        """`2.9 µs a launch + FLOPs at up to 60 % of the peak, bytes at up to 80 % …`"""
        peak, bandwidth = 100 * self.efficiency, 100 * self.bandwidth_fraction
        return (
            f"{self.launch_us:.3g} µs a launch + FLOPs at up to {peak:.0f} % of the peak, bytes at "
            f"up to {bandwidth:.0f} % of the bandwidth, dealt to the units in blocks; "
            "docs/attainable.md"
        )


@register_laws(AttentionLaw)
def attention_seconds(
    law: AttentionLaw,
    roof: Roof,
    batch: FloatOrArray,
    queries: FloatOrArray,
    keys: FloatOrArray,
    heads: FloatOrArray,
    kv_heads: FloatOrArray,
    head_dim: FloatOrArray,
    *,
    causal: bool | Array,
    traffic_bytes: FloatOrArray,
) -> Array:
    """Seconds of attention of `queries` to `keys`, each of `batch` sequences; arguments broadcast.

    `traffic_bytes` is what Q, K, V and the output move. Causal attention to as many keys computes
    half of the scores; one query (decode) computes all of its row.

    t = max(t_physical·exp(min(max(c·φ, −0.7), 0.7)), t_roof), in s, with `physical_seconds`,
    `corrections` c and `correction_basis` φ; t_roof is `Roof.seconds` of `attention_flops` and
    `traffic_bytes`.
    """
    batch, queries, keys, heads, kv_heads, head_dim, traffic = (
        np.asarray(value, dtype=np.float64)
        for value in (batch, queries, keys, heads, kv_heads, head_dim, traffic_bytes)
    )
    flops = attention_flops(batch, queries, keys, heads, head_dim, causal=causal)
    shape = (batch, queries, keys, heads, kv_heads, head_dim)
    seconds = physical_seconds(law, roof, *shape, causal=causal, traffic=traffic)
    if law.corrections:
        variables = correction_variables(batch, queries, heads, kv_heads, head_dim)
        added = polynomial(variables, CORRECTION_DEGREE, law.corrections)
        seconds = corrected(seconds, np.minimum(1.0, queries / keys) * added)
    return np.maximum(seconds, roof.seconds(flops, traffic))


def attention_flops(
    batch: FloatOrArray,
    queries: Array,
    keys: Array,
    heads: FloatOrArray,
    head_dim: FloatOrArray,
    *,
    causal: bool | Array,
    key_block: FloatOrArray = 1.0,
) -> Array:
    """FLOPs that a kernel must do: 4 per query, visible key and channel of a head.

    With blocks of keys, hidden keys count in those blocks of which any key is visible.
    """
    blocks = np.floor(queries / key_block)
    skipped = key_block * blocks * (queries - key_block * (blocks + 1) / 2)
    flops: Array = 4 * batch * heads * head_dim * (queries * keys - np.where(causal, skipped, 0.0))
    return flops


def physical_seconds(
    law: AttentionLaw,
    roof: Roof,
    batch: Array,
    queries: Array,
    keys: Array,
    heads: Array,
    kv_heads: Array,
    head_dim: Array,
    *,
    causal: bool | Array,
    traffic: Array,
) -> Array:
    """Time in s without correction and clamp.

    t = launch_us + block_us·d^block_head_dim_power·max(w̄, 1) + F / R·w̄ / w
        + longest_share·t_longest + traffic_share·T·c / (B·f)

    - d = head_dim / 128; w = batch·(heads / g)·⌈g·queries / block_queries⌉ / U waves of query
      blocks on U units, g query heads to a block; w̄ = w + wave_share·(⌈w⌉ − w);
    - R = P·efficiency·d^head_dim_power, in FLOP/s, of the peak P;
    - F: `attention_flops` of computed scores, and `row_keys` keys more to each query;
    - t_longest = 4·min(g·queries, block_queries)·head_dim·(keys + fill_keys)·U / R;
    - T: `traffic` in bytes, new keys and values counted `kv_write_passes` times more; c < 1 as far
      as they lie in the cache; DRAM bandwidth B in B/s, f = `bandwidth_fraction`;
    - with `whole_blocks`, queries and keys count as the multiples of `block_queries` and
      `key_block` (`wide_key_block` of wide heads) that hold them.

    Blocks and waves of queries: Dao, FlashAttention-2, arXiv:2307.08691, section 3.2.
    """
    packed = law.heads_share_blocks | (law.packs_single_queries & (queries == 1))
    group = np.where(packed, heads / kv_heads, 1.0)
    rows = group * queries
    blocks = np.ceil(rows / law.block_queries)
    waves = batch * (heads / group) * blocks / roof.units
    paid_waves = waves + law.wave_share * (np.ceil(waves) - waves)
    width = head_dim / HEAD_DIM
    rate = roof.flops_per_s * law.efficiency * width**law.head_dim_power
    key_block = np.where(head_dim > WIDE, law.wide_key_block or law.key_block, law.key_block)
    computed_keys = key_block * np.ceil(keys / key_block) if law.whole_blocks else keys
    flops = attention_flops(
        batch, queries, computed_keys, heads, head_dim, causal=causal, key_block=key_block
    )
    flops = flops + 4 * batch * heads * head_dim * queries * law.row_keys
    if law.whole_blocks:
        flops = flops * (law.block_queries * blocks / rows)
    block_rows = np.minimum(rows, law.block_queries)
    longest = 4 * block_rows * head_dim * (computed_keys + law.fill_keys) * roof.units / rate
    new, all_ = kv_heads * queries, heads * queries + kv_heads * keys
    traffic = traffic * (1 + law.kv_write_passes * new / all_)
    cached = within_cache(traffic, law.cached_share * roof.cache_bytes)
    slowdown = 1 - cached * (1 - 1 / law.cached_bandwidth_ratio)
    seconds: Array = (
        law.launch_us * MICRO
        + law.block_us * MICRO * width**law.block_head_dim_power * np.maximum(paid_waves, 1.0)
        + flops / rate * (paid_waves / waves)
        + law.longest_share * longest
        + law.traffic_share * traffic * slowdown / (roof.bytes_per_s * law.bandwidth_fraction)
    )
    return seconds


def correction_variables(
    batch: Array, queries: Array, heads: Array, kv_heads: Array, head_dim: Array
) -> list[Array]:
    """What the correction is a polynomial in, each in [−1, 1]: log₂ queries, log₂ batch·heads,
    log₂ heads / kv_heads and head_dim.
    """
    spans = zip((queries, batch * heads, heads / kv_heads), CORRECTED, strict=True)
    logarithms = [scaled(np.log2(value), span) for value, span in spans]
    return [*logarithms, scaled(head_dim, CORRECTED_HEAD_DIM)]


def correction_basis(
    batch: Array, queries: Array, keys: Array, heads: Array, kv_heads: Array, head_dim: Array
) -> list[Array]:
    """Values of the basis functions φ, in the order of `corrections`; their shapes broadcast.

    Monomials of degree ≤ 3 in the `correction_variables`, times min(1, queries / keys).
    """
    variables = correction_variables(batch, queries, heads, kv_heads, head_dim)
    fading = np.minimum(1.0, queries / keys)
    return [fading * one for one in monomials(variables, CORRECTION_DEGREE)]
