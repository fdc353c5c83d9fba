"""What good kernels attain on a device: fitted laws of kernel time, and who measured what.

A law holds a few dozen numbers; `roofline.device.laws` turns them into seconds. Fractions and ratios
are of the device's own dense peak, DRAM bandwidth or cache, so that a law carries over to a sibling
of the device.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from roofline.specs.sourced import Positive, PositiveInt, Spec

Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NonNegative = Annotated[float, msgspec.Meta(ge=0, le=1e30)]

Origin = Literal["measured", "fitted", "typical"]
"""Measured on this machine, fitted from public measurements, or typical for the architecture."""


class Law(Spec, frozen=True, kw_only=True):
    """What every law says of its own fit."""

    rows: Annotated[int, msgspec.Meta(ge=0)]
    """Measured kernels that it was fitted to; 0 where nobody measured any."""
    median_error_percent: NonNegative
    """Of the absolute errors on whole shapes that a fit made for this purpose did not see."""
    p90_error_percent: NonNegative
    origin: Origin | None = None
    """Where it is another than that of the device's other laws."""


class Tile(Spec, frozen=True):
    """A kernel by the block of the output that one unit (SM or core) computes at a time."""

    rows: PositiveInt
    columns: PositiveInt
    efficiency: Fraction
    """Share of the unit's peak that the loop over k attains."""
    reluctance: float = 0.0
    """Logarithm of how many times as fast it must be for the library to choose it."""
    m_over: NonNegative = 0
    m_up_to: Positive | None = None
    """The library takes it for no other rows of the matmul: more than the first, up to the last."""
    n_over: NonNegative = 0
    n_up_to: Positive | None = None
    """The same for its columns."""


class MatmulLaw(Law, frozen=True):
    """Time of [m, k] @ [k, n]; `roofline.device.laws.matmul` has the formula."""

    launch_us: NonNegative
    tiles: tuple[Tile, ...]
    bandwidth_fraction: Fraction
    """Share of the DRAM bandwidth that a kernel with all units busy attains."""
    starvation: NonNegative = 0.0
    """Extra memory time per unit of (units / blocks − 1), where blocks are fewer than units."""
    fill_k: NonNegative = 0.0
    """Steps in k that filling and draining a block's pipeline costs."""
    wave_share: Share = 0.0
    """How much of a partly filled last wave is waited for: 1 all of it, 0 units never idle."""
    wave_overhead: NonNegative = 0.0
    """What each wave after the first costs beside its computing, in waves."""
    packing_passes: NonNegative = 0.0
    """Times that weights are gone through before the product, to pack or dequantize them."""
    quantizing_passes: NonNegative = 0.0
    """Times that 16-bit inputs are gone through before it, to quantize them; 0: they are not."""
    quantizing_row_ns: NonNegative = 0.0
    """What a row of them takes at least."""
    quantizing_k_ns: NonNegative = 0.0
    """What a step in k takes even if there are few rows."""
    choice_sharpness: Positive = 20.0
    """How surely the library takes the kernel that seems fastest: log-odds per logarithm of time"""
    splits: tuple[PositiveInt, ...] = (1,)
    """Parts that the loop over k may be split into, their sums being added at the end."""
    split_us: NonNegative = 0.0
    """Fixed cost of that addition."""
    split_bandwidth_ratio: Positive | None = None
    """Bandwidth of that addition over DRAM bandwidth."""
    feed_bandwidth_ratio: Positive | None = None
    """Bandwidth from the last-level cache to the units over DRAM bandwidth."""
    cached_bandwidth_ratio: Positive = 1.0
    """Bandwidth of operands that already lie in the last-level cache over DRAM bandwidth."""
    cached_weights_share: NonNegative = 0.0
    """Weights up to this share of that cache were found there by the measurement."""
    cached_activations_share: NonNegative = 0.0
    """The same for activations."""
    corrections: tuple[float, ...] = ()
    """Coefficients of the functions that are added to the logarithm of time, for what the physics
    leaves over: monomials of degree ≤ 2 in log m, log n and log k; a piecewise linear function of
    the waves of a middling tile; one to be multiplied by log k; one of the roofline time."""


class AttentionLaw(Law, frozen=True):
    """Time of one fused attention kernel; `roofline.device.laws.attention` has the formula."""

    launch_us: NonNegative
    block_us: NonNegative
    """Fixed cost of a block of queries, paid by each wave of them."""
    efficiency: Fraction
    """Share of the peak that a unit attains at head_dim 128."""
    head_dim_power: NonNegative
    """Efficiency goes with (head_dim / 128) to this power."""
    longest_share: NonNegative
    """How much of the longest block is not hidden behind the others."""
    fill_keys: NonNegative
    """Keys' worth of time to fill and drain that block's pipeline."""
    bandwidth_fraction: Fraction
    """Share of the DRAM bandwidth that the traffic attains."""
    heads_share_blocks: bool = True
    """Whether query heads of one key head are packed into blocks together."""
    row_keys: NonNegative = 0.0
    """Keys' worth of time that every query takes beside its own."""
    key_block: PositiveInt = 1
    """Keys that causal attention skips together: a block of them is computed if one is visible."""
    kv_write_passes: NonNegative = 0.0
    """Times that new keys and values are moved once more, to their places in a paged cache."""
    cached_bandwidth_ratio: Positive = 1.0
    """Bandwidth of operands in the last-level cache over DRAM bandwidth."""
    cached_share: NonNegative = 0.0
    """Operands up to this share of that cache were found there by the measurement."""
    corrections: tuple[float, ...] = ()
    """Coefficients of the monomials of degree ≤ 3 in log queries, log batch·heads, log
    heads / kv_heads and head_dim that are added to the logarithm of time."""


class PointwiseLaw(Law, frozen=True):
    """Time of an elementwise or row-wise op: launch + bytes / bandwidth."""

    launch_us: NonNegative
    bandwidth_gb_per_s: Positive
    cached_bandwidth_gb_per_s: Positive | None = None
    """Bandwidth of an op whose bytes fit in the cache."""
    cache_mib: Positive | None = None


class HostLaw(Spec, frozen=True):
    """Time that the framework needs beside the kernels, in a forward pass and in each layer."""

    fixed_us: NonNegative
    layer_us: NonNegative


class KernelLaws(Spec, frozen=True):
    """The laws of one device; `roofline.device.borrowed` has those that are left out."""

    origin: Origin
    source: str
    """Key of the file's `sources`."""
    date: str
    conditions: str
    """Software, threads, mode: what the measurement ran on."""
    matmul: dict[str, MatmulLaw] = msgspec.field(default_factory=dict)
    """By kernel: fp32, bf16, fp16, fp8, fp4, w8a8, w8a16, w4a16."""
    attention: dict[str, AttentionLaw] = msgspec.field(default_factory=dict)
    """By data type."""
    pointwise: dict[str, PointwiseLaw] = msgspec.field(default_factory=dict)
    """By op kind: embedding, norm, rotary, activation, residual, softmax, reduction, default."""
    host: dict[str, HostLaw] = msgspec.field(default_factory=dict)
    """By component: vision, reducer, connector, llm, decode."""

    def __post_init__(self) -> None:
        if not (self.matmul or self.attention or self.pointwise):
            raise ValueError("`kernel_laws` needs a law of matmul, attention or vector ops")

    def __hash__(self) -> int:
        """As that of the device: mappings have none."""
        return hash((self.source, self.date))
