"""Attainable time of one decode attention kernel: one query a sequence against the keys in a cache.

The query heads that share a key head make one block, which reads that head's keys and values. Where
there are fewer blocks than units, the keys of each are split among several, whose sums a second
pass adds up. Blocks take a fixed time a wave; meanwhile keys and values come from DRAM, or out of
the last-level cache, as fast as the units ask for them. A smooth correction takes what is left. No
result is below the roofline.

Splits over keys: Dao, Haziza, Massa, Sizov, "Flash-Decoding for long-context inference", 2023.
"""

from math import comb
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from roofline.device.laws.smooth import (
    SHARPER,
    corrected,
    monomials,
    norm4,
    polynomial,
    scaled,
    within_cache,
)
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import (
    Coefficient,
    Fraction,
    Law,
    NonNegative,
    check_corrections,
    register_laws,
)
from roofline.specs.sourced import Positive
from roofline.units import MICRO, NANO

HEAD_DIM = 128.0
"""head_dim at which a law's numbers are stated."""
TENSOR_ROWS = 16.0
"""Query heads that a tensor core takes together."""
CORRECTION_DEGREE = 3
CORRECTED = ((-7.0, 7.0), (-8.0, 7.0), (0.0, 5.0))
"""Ranges of log₂ of blocks a unit, µs of traffic and heads / kv_heads; corrections hold beyond.
Larger traffic is DRAM's alone."""
CORRECTED_HEAD_DIM = (64.0, 128.0)
_PLAIN = comb(len(CORRECTED) + CORRECTION_DEGREE, CORRECTION_DEGREE)
CORRECTIONS = _PLAIN + comb(len(CORRECTED) + CORRECTION_DEGREE - 1, CORRECTION_DEGREE - 1)
"""Functions in `correction_basis`."""


class DecodeAttentionLaw(Law, frozen=True):
    """Numbers of `decode_attention_seconds`, for kernels of one data type and one of the cache."""

    family: ClassVar[str] = "decode_attention"
    launch_us: NonNegative
    """Time of a launch, in µs."""
    block_us: NonNegative
    """Fixed cost of a block in µs at head_dim 128, paid by each wave of blocks."""
    block_head_dim_power: Annotated[float, Meta(ge=0, le=10)]
    """Power of (head_dim / 128) that the fixed cost goes with."""
    key_ns: NonNegative
    """Time of a unit for a key, in ns, at head_dim 128 and up to 16 query heads."""
    group_share: NonNegative
    """How much of that every further 16 query heads add."""
    split_keys: Positive
    """Fewest keys of a split at head_dim 128; of narrower heads more fit into a block."""
    split_waves: Positive
    """Waves of blocks up to which keys are split."""
    split_us: NonNegative
    """Time to add up the splits, in µs."""
    split_ns: NonNegative
    """The same for each split, in ns."""
    bandwidth_fraction: Fraction
    """Share of the DRAM bandwidth that the traffic attains."""
    cached_bandwidth_ratio: Positive = 1.0
    """Bandwidth of operands in the last-level cache, over DRAM bandwidth."""
    cached_share: NonNegative = 0.0
    """Share of the last-level cache up to which the measurement found operands there."""
    regroup_us: NonNegative = 0.0
    """Time of the copies, in µs, that bring query heads of one key head together."""
    splits_single_heads: bool = True
    """Whether keys are split, too, that a single query head reads."""
    corrections: tuple[Coefficient, ...] = ()
    """Coefficients of `correction_basis`, added to the logarithm of time for what the physics
    leaves over."""

    def __post_init__(self) -> None:
        check_corrections(self.corrections, CORRECTIONS)

    @property
    def terms(self) -> str:
        """`7.9 µs a launch, 2.8 µs a wave of blocks + bytes at up to 90 % of the bandwidth …`"""
        return (
            f"{self.launch_us:.3g} µs a launch, {self.block_us:.3g} µs a wave of blocks + bytes at "
            f"up to {100 * self.bandwidth_fraction:.0f} % of the bandwidth, "
            f"{self.split_us:.3g} µs where keys are split; docs/attainable.md"
        )


@register_laws(DecodeAttentionLaw)
def decode_attention_seconds(
    law: DecodeAttentionLaw,
    roof: Roof,
    batch: FloatOrArray,
    keys: FloatOrArray,
    heads: FloatOrArray,
    kv_heads: FloatOrArray,
    head_dim: FloatOrArray,
    *,
    traffic_bytes: FloatOrArray,
) -> Array:
    """Seconds of attention of one query to `keys`, each of `batch` sequences; arguments broadcast.

    `traffic_bytes` is what queries, the keys and values of the cache, and the output move.

    t = max(t_physical·exp(min(max(c·φ, −0.7), 0.7)), t_roof), in s, with `physical_seconds`,
    `corrections` c and `correction_basis` φ; t_roof is `Roof.seconds` of
    4·batch·heads·keys·head_dim FLOPs and `traffic_bytes`.
    """
    batch, keys, heads, kv_heads, head_dim, traffic = (
        np.asarray(value, dtype=np.float64)
        for value in (batch, keys, heads, kv_heads, head_dim, traffic_bytes)
    )
    shape = (batch, keys, heads, kv_heads, head_dim)
    seconds = physical_seconds(law, roof, *shape, traffic=traffic)
    if law.corrections:
        variables, width = correction_variables(roof, batch, heads, kv_heads, head_dim, traffic)
        added = polynomial(variables, CORRECTION_DEGREE, law.corrections[:_PLAIN])
        added = added + width * polynomial(
            variables, CORRECTION_DEGREE - 1, law.corrections[_PLAIN:]
        )
        seconds = corrected(seconds, added)
    return np.maximum(seconds, roof.seconds(4 * batch * heads * keys * head_dim, traffic))


def physical_seconds(
    law: DecodeAttentionLaw,
    roof: Roof,
    batch: Array,
    keys: Array,
    heads: Array,
    kv_heads: Array,
    head_dim: Array,
    *,
    traffic: Array,
) -> Array:
    """Time in s without correction and clamp.

    t = launch_us + regroup_us + (split_us + s·split_ns)·σ + √(t_block² + √(t_DRAM⁴ + t_unit⁴))

    - b = batch·kv_heads blocks, ⌈b / U⌉ waves on U units; d = head_dim / 128;
    - s = max(min(keys·d / split_keys, split_waves·U / b), 1) splits, σ = min(s − 1, 1); s = 1 of
      single heads, unless `splits_single_heads`;
    - t_block = block_us·⌈b / U⌉·d^block_head_dim_power;
    - t_DRAM = `traffic` / (B·f), B in B/s, f = `bandwidth_fraction`, quicker as far as it lies in
      the cache;
    - t_unit = key_ns·d·(1 + group_share·(⌈g / 16⌉ − 1))·n, g query heads to a block, of n keys in a
      row: ⌈b / U⌉·keys unsplit, max(b·s / U, 1)·keys / s split;
    - `regroup_us` only where several heads share each of several key heads of several sequences:
      else they lie together as they are.
    """
    group, blocks, width = heads / kv_heads, batch * kv_heads, head_dim / HEAD_DIM
    filled = blocks / roof.units
    waves = np.ceil(filled)
    splits = np.minimum(keys * (width / law.split_keys), law.split_waves / filled)
    if not law.splits_single_heads:
        splits = np.where(group == 1, 1.0, splits)
    splits = np.maximum(splits, 1.0)
    split = np.minimum(splits - 1, 1.0)
    unsplit = (1 - split) * waves
    steps = keys * (unsplit + split * np.maximum(filled, 1 / splits))
    key_s = law.key_ns * NANO * width
    key_s = key_s * (1 + law.group_share * (np.ceil(group / TENSOR_ROWS) - 1))
    # keys and values are read once in a row: of twice the cache next to nothing is found
    cached = within_cache(traffic, law.cached_share * roof.cache_bytes, SHARPER)
    slowdown = 1 - cached * (1 - 1 / law.cached_bandwidth_ratio)
    moving = norm4(traffic * slowdown / (roof.bytes_per_s * law.bandwidth_fraction), key_s * steps)
    block = law.block_us * MICRO * width**law.block_head_dim_power * waves
    regrouped = (batch > 1) & (kv_heads > 1) & (group > 1)
    seconds: Array = (
        law.launch_us * MICRO
        + law.regroup_us * MICRO * regrouped
        + split * (law.split_us * MICRO + law.split_ns * NANO * splits)
        + np.sqrt(np.square(block) + np.square(moving))
    )
    return seconds


def correction_variables(
    roof: Roof, batch: Array, heads: Array, kv_heads: Array, head_dim: Array, traffic: Array
) -> tuple[list[Array], Array]:
    """What the correction is a polynomial in, each in [−1, 1]: log₂ of batch·kv_heads / units, of
    the traffic's µs at DRAM's peak and of heads / kv_heads; and head_dim, linear.
    """
    values = (batch * kv_heads / roof.units, traffic / roof.bytes_per_s / MICRO, heads / kv_heads)
    spans = zip(values, CORRECTED, strict=True)
    logarithms = [scaled(np.log2(value), span) for value, span in spans]
    return logarithms, scaled(head_dim, CORRECTED_HEAD_DIM)


def correction_basis(
    roof: Roof, batch: Array, heads: Array, kv_heads: Array, head_dim: Array, traffic: Array
) -> list[Array]:
    """Values of the basis functions φ, in the order of `corrections`; their shapes broadcast.

    Monomials of degree ≤ 3 in the `correction_variables`, then those of degree ≤ 2, times head_dim.
    """
    variables, width = correction_variables(roof, batch, heads, kv_heads, head_dim, traffic)
    functions = monomials(variables, CORRECTION_DEGREE)
    return functions + [width * one for one in monomials(variables, CORRECTION_DEGREE - 1)]
