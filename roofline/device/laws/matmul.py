"""Attainable time of [m, k] @ [k, n].

The output is cut into blocks of one tile shape, `splits` of them along k, and dealt to the units
(SMs or cores) in waves. A block computes 2·rows·columns·(k/splits + fill_k) FLOPs at its tile's
efficiency, unless its operands reach it more slowly from the last-level cache. Meanwhile the
operands are read from DRAM, at full bandwidth only if there are blocks enough to ask for them. The
two overlap: the 4-norm of both is what the kernel takes, beside the addition of split sums.

For each tile the best split counts. Between the tiles that it has for a shape the library chooses
by an estimate of its own, which is not ours to see: the logarithms of time are averaged with the
odds of each. Launch is added, and passes over operands that are packed or quantized first. A smooth
correction takes what physics leaves over. No result is below the roofline.

Wave quantization and tile efficiency: NVIDIA, "Matrix multiplication background user's guide".
"""

from functools import lru_cache
from math import comb
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from roofline.device.laws.smooth import hats, monomials, norm4, scaled, within_cache
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import (
    Coefficient,
    Fraction,
    Law,
    Logarithm,
    NonNegative,
    Share,
    check_corrections,
    register_laws,
)
from roofline.specs.sourced import Positive, PositiveInt, Spec
from roofline.units import MICRO, NANO

CHUNK = 512
"""Shapes evaluated at a time, each with every tile and split."""

PARTIAL_SUM_BYTES = 4
"""Split sums are written and read in fp32."""

UNQUANTIZED_BYTES = 2
"""Inputs come in 16 bits where the kernel quantizes them."""

WAVE_TILE = (64, 128)
"""Blocks that corrections count waves of."""
WAVES = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Waves at which corrections have values of their own; linear in the logarithm between."""
BOUNDS_US = (0.02, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0, 512.0, 8192.0)
"""Roofline times at which they have, likewise."""
ROWS = (
    *(1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 160, 192, 256),
    *(512, 768, 1024, 1536, 2048, 4096, 8192),
)
"""Rows at which they have, each with a quadratic in log₂ n and log₂ k: libraries choose by rows."""
CORRECTED = ((0.0, 13.0), (8.0, 16.0), (8.0, 16.0))
"""Ranges of log₂ of m, n and k over which corrections vary; they hold beyond."""
CORRECTION_DEGREE = 4
"""Of monomials in all three."""
_OF_SHAPE = comb(2 + 2, 2)
"""Monomials of degree ≤ 2 in log₂ n and log₂ k."""
CORRECTIONS = (
    comb(len(CORRECTED) + CORRECTION_DEGREE, CORRECTION_DEGREE)
    + 2 * len(WAVES)
    + len(BOUNDS_US)
    + len(ROWS) * _OF_SHAPE
)
"""Functions in `correction_basis`."""
MOST_CORRECTION = 0.4
"""Largest correction of the logarithm of time, so that it never runs away."""


class Tile(Spec, frozen=True):
    """A kernel by the block of the output that one unit (SM or core) computes at a time."""

    rows: PositiveInt
    """Rows of the block."""
    columns: PositiveInt
    """Columns of the block."""
    efficiency: Fraction
    """Share of the unit's peak that the loop over k attains."""
    reluctance: Logarithm = 0.0
    """Logarithm of how many times as fast the kernel must be for the library to choose it."""
    m_over: NonNegative = 0
    """The library takes the kernel only for matmuls of more rows than this."""
    m_up_to: Positive | None = None
    """The library takes the kernel only for matmuls of up to so many rows; left out, any number."""
    n_over: NonNegative = 0
    """The library takes the kernel only for matmuls of more columns than this."""
    n_up_to: Positive | None = None
    """The library takes the kernel only for matmuls of up to so many columns; left out, any."""


class MatmulLaw(Law, frozen=True):
    """Numbers of `matmul_seconds`, for one kernel of a library."""

    family: ClassVar[str] = "matmul"
    launch_us: NonNegative
    """Time of a launch, in µs."""
    tiles: Annotated[tuple[Tile, ...], Meta(min_length=1)]
    """Kernels that the library chooses from."""
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
    """Times that 16-bit inputs are gone through before the product, to quantize them; 0: they are
    not quantized."""
    quantizing_row_ns: NonNegative = 0.0
    """Least time of quantizing a row of inputs, in ns."""
    quantizing_k_ns: NonNegative = 0.0
    """Time that quantizing inputs takes per step in k even if there are few rows, in ns."""
    choice_sharpness: Positive = 20.0
    """How surely the library takes the kernel that seems fastest: log-odds per logarithm of
    time."""
    splits: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)] = (1,)
    """Parts that the loop over k may be split into, their sums being added at the end."""
    split_us: NonNegative = 0.0
    """Fixed cost of adding the sums of a split loop, in µs."""
    split_bandwidth_ratio: Positive | None = None
    """Bandwidth of adding the sums of a split loop, over DRAM bandwidth; left out, unlimited."""
    feed_bandwidth_ratio: Positive | None = None
    """Bandwidth from the last-level cache to the units, over DRAM bandwidth; left out,
    unlimited."""
    cached_bandwidth_ratio: Positive = 1.0
    """Bandwidth of operands that already lie in the last-level cache, over DRAM bandwidth."""
    cached_weights_share: NonNegative = 0.0
    """Share of the last-level cache up to which the measurement found weights there."""
    cached_activations_share: NonNegative = 0.0
    """Share of the last-level cache up to which the measurement found activations there."""
    corrections: tuple[Coefficient, ...] = ()
    """Coefficients of `correction_basis`, added to the logarithm of time for what the physics
    leaves over."""

    def __post_init__(self) -> None:
        check_corrections(self.corrections, CORRECTIONS)

    @property
    def terms(self) -> str:
        """`2.9 µs a launch + FLOPs at up to 90 % of the peak, bytes at up to 85 % …`"""
        peak = 100 * max(tile.efficiency for tile in self.tiles)
        bandwidth = 100 * self.bandwidth_fraction
        return (
            f"{self.launch_us:.3g} µs a launch + FLOPs at up to {peak:.0f} % of the peak, bytes at "
            f"up to {bandwidth:.0f} % of the bandwidth, in whole waves of tiles; docs/attainable.md"
        )


@register_laws(MatmulLaw)
def matmul_seconds(
    law: MatmulLaw,
    roof: Roof,
    m: FloatOrArray,
    n: FloatOrArray,
    k: FloatOrArray,
    *,
    weight_bytes: FloatOrArray,
    activation_bytes: FloatOrArray,
) -> Array:
    """Seconds of one matmul [m, k] @ [k, n]: m rows (tokens), n out features, k in features.

    `weight_bytes` and `activation_bytes` are what the whole op moves: weights read, activations
    read and written. All arguments broadcast; the result has their common shape.

    t = max(exp(ln(t_chosen + t_before) + min(max(c·φ, −0.4), 0.4)), t_roof), where

    - t_chosen, in s, is Π t_i^p_i over the tiles i, of odds p_i ∝ exp(−s (ln t_i + r_i)) with
      `choice_sharpness` s and `reluctance` r_i (`chosen_seconds`);
    - t_i, in s, is the least over the splits of ‖t_compute, t_memory‖₄ + t_sum
      (`kernel_seconds`);
    - t_before, in s, is the launch and the passes over operands before the product
      (`fixed_seconds`);
    - c are `corrections`, φ is `correction_basis`, both without unit;
    - t_roof, in s, is `Roof.seconds` of 2·m·n·k FLOPs and all bytes.

    Waves and tiles: NVIDIA, "Matrix multiplication background user's guide". Odds of a choice
    with an error of its own: McFadden, "Conditional logit analysis of qualitative choice
    behavior", 1974. The 4-norm as a smooth maximum and the correction are ours.
    """
    arguments = np.broadcast_arrays(m, n, k, weight_bytes, activation_bytes)
    flat = [np.asarray(a, dtype=np.float64).ravel() for a in arguments]
    seconds = np.empty(flat[0].size)
    for first in range(0, seconds.size, CHUNK):
        piece = slice(first, first + CHUNK)
        seconds[piece] = _seconds(law, roof, *(a[piece] for a in flat))
    return seconds.reshape(arguments[0].shape)


def batched_matmul_seconds(
    law: MatmulLaw, roof: Roof, flops: FloatOrArray, traffic_bytes: FloatOrArray
) -> Array:
    """Seconds of matmuls side by side whose sizes differ from prompt to prompt, for which nobody
    fitted a law: t = launch_us + ‖F / (P·e), T / (B·bandwidth_fraction)‖₄ in s, with the peak P in
    FLOP/s, the best tile's efficiency e and the DRAM bandwidth B in B/s.
    """
    rate = roof.flops_per_s * max(tile.efficiency for tile in law.tiles)
    computing = np.asarray(flops, dtype=np.float64) / rate
    moving = np.asarray(traffic_bytes, dtype=np.float64)
    moving = moving / (roof.bytes_per_s * law.bandwidth_fraction)
    seconds = law.launch_us * MICRO + norm4(computing, moving)
    return np.maximum(seconds, roof.seconds(flops, traffic_bytes))


def _seconds(
    law: MatmulLaw, roof: Roof, m: Array, n: Array, k: Array, weights: Array, activations: Array
) -> Array:
    candidates = blocks(law.tiles, law.splits, roof, m, n, k, weights, activations)
    kernels = kernel_seconds(law, roof, candidates).min(axis=-1)
    before = fixed_seconds(law, roof, m, k, weights)
    chosen, _ = chosen_seconds(law, kernels, m, n)
    logarithm = np.log(chosen + before)
    flops, traffic = 2 * m * n * k, weights + activations
    if law.corrections:
        # a shape is corrected alike wherever its operands lie
        as_fitted = roof.of_one_kernel.seconds(flops, traffic)
        basis = correction_basis(roof, m, n, k, as_fitted)
        added = (basis * np.array(law.corrections)).sum(axis=-1)
        logarithm += np.clip(added, -MOST_CORRECTION, MOST_CORRECTION)
    return np.maximum(np.exp(logarithm), roof.seconds(flops, traffic))


class _Numbers(NamedTuple):
    """Numbers of tiles as arrays, [tiles]; limits for m and n, [tiles, 2]."""

    rows: Array
    columns: Array
    efficiency: Array
    reluctance: Array
    above: Array
    up_to: Array
    limited: bool
    """Whether any tile has limits."""


@lru_cache(maxsize=64)
def _numbers(tiles: tuple[Tile, ...]) -> _Numbers:
    above = np.array([(tile.m_over, tile.n_over) for tile in tiles], dtype=np.float64)
    up_to = np.array([(tile.m_up_to or np.inf, tile.n_up_to or np.inf) for tile in tiles])
    return _Numbers(
        np.array([tile.rows for tile in tiles], dtype=np.float64),
        np.array([tile.columns for tile in tiles], dtype=np.float64),
        np.array([tile.efficiency for tile in tiles]),
        np.array([tile.reluctance for tile in tiles]),
        above,
        up_to,
        limited=bool(above.any() or np.isfinite(up_to).any()),
    )


class Blocks(NamedTuple):
    """What a launch of each tile and split has to do: arrays that broadcast to
    [shapes, tiles, splits].
    """

    flops_per_k: Array
    """Of one block, for one step in k."""
    depth: Array
    """Steps in k of one block."""
    feed_bytes: Array
    """Read by one block from the last-level cache."""
    waves: Array
    """Blocks over units, not rounded."""
    weight_bytes: Array
    activation_bytes: Array
    sum_bytes: Array
    """Written and read again by the addition of split sums; 0 without a split."""

    def take(self, split: NDArray[np.intp]) -> "Blocks":
        """One split for each tile: index [shapes, tiles] → arrays [shapes, tiles, 1]."""
        index = split[..., None]
        return Blocks(
            *(a if a.shape[-1] == 1 else np.take_along_axis(a, index, axis=-1) for a in self)
        )


def blocks(
    tiles: tuple[Tile, ...],
    splits: tuple[int, ...],
    roof: Roof,
    m: Array,
    n: Array,
    k: Array,
    weight_bytes: Array,
    activation_bytes: Array,
) -> Blocks:
    """Every way in which the library may launch matmuls of shapes [shapes]."""
    m, n, k, weights, activations = (
        a[:, None, None] for a in (m, n, k, weight_bytes, activation_bytes)
    )
    rows, columns = (size[:, None] for size in _numbers(tiles)[:2])
    parts = np.array(splits, dtype=np.float64)
    depth = k / parts
    input_bytes_per_element = activations / (m * (k + n))
    feed = (
        np.minimum(rows, m) * input_bytes_per_element + np.minimum(columns, n) * weights / (n * k)
    ) * depth
    return Blocks(
        2 * rows * columns,
        depth,
        feed,
        np.ceil(m / rows) * np.ceil(n / columns) * parts / roof.units,
        weights,
        activations,
        np.where(parts > 1, 2 * PARTIAL_SUM_BYTES * parts * m * n, 0.0),
    )


def kernel_seconds(law: MatmulLaw, roof: Roof, launch: Blocks) -> Array:
    """Time of each launch of `blocks`, [shapes, tiles, splits] in s, without what is the same for
    all: t = ‖t_compute, t_memory‖₄ + t_sum.

    t_block = ‖2·r·c·(k/s + fill_k)·U / (P·e), feed_bytes·U / (B·feed_bandwidth_ratio)‖₄
    t_compute = t_block·(1 + l·(1 + wave_overhead) + (⌈l⌉ − l)·wave_share), l = max(w − 1, 0)
    t_memory = (bytes as DRAM would move them)·(1 + starvation·max(1/w − 1, 0))
               / (B·bandwidth_fraction)
    t_sum = split_us + sum_bytes / (B·split_bandwidth_ratio), of splits s > 1

    for tiles of r rows, c columns and efficiency e, w = blocks / U waves, U units (SMs or cores),
    peak P in FLOP/s, DRAM bandwidth B in B/s. Wave quantization: NVIDIA, "Matrix multiplication
    background user's guide".
    """
    efficiency = _numbers(law.tiles).efficiency[:, None]
    flops = launch.flops_per_k * (launch.depth + law.fill_k)
    block = flops * (roof.units / roof.flops_per_s) / efficiency
    if law.feed_bandwidth_ratio is not None:
        feed = launch.feed_bytes * (roof.units / (roof.bytes_per_s * law.feed_bandwidth_ratio))
        block = norm4(block, feed)
    later = np.maximum(launch.waves - 1, 0.0)
    idle = np.ceil(later) - later  # of the units, in the last of several waves
    compute = block * (1 + later * (1 + law.wave_overhead) + idle * law.wave_share)

    starved = 1 + law.starvation * np.maximum(1 / launch.waves - 1, 0.0)
    memory = (
        _uncached(launch.weight_bytes, law.cached_weights_share, law, roof)
        + _uncached(launch.activation_bytes, law.cached_activations_share, law, roof)
    ) * (starved / (roof.bytes_per_s * law.bandwidth_fraction))

    seconds = norm4(compute, memory) + (launch.sum_bytes > 0) * (law.split_us * MICRO)
    if law.split_bandwidth_ratio is not None:
        seconds += launch.sum_bytes / (roof.bytes_per_s * law.split_bandwidth_ratio)
    return seconds


def chosen_seconds(law: MatmulLaw, kernels: Array, m: Array, n: Array) -> tuple[Array, Array]:
    """Time of the kernel that the library takes, [shapes] in s, and the odds of each tile,
    [shapes, tiles], from the time t_i of each, [shapes, tiles] in s.

    p_i ∝ exp(−choice_sharpness·(ln t_i + reluctance_i)) among the tiles that the library has for
    the shape; t = exp(Σ p_i ln t_i).
    """
    logarithms = np.log(kernels)
    appeal = -law.choice_sharpness * (logarithms + _numbers(law.tiles).reluctance)
    appeal = np.where(_offered(law.tiles, m, n), appeal, -np.inf)
    odds = np.exp(appeal - appeal.max(axis=-1, keepdims=True))
    odds /= odds.sum(axis=-1, keepdims=True)
    return np.exp((odds * logarithms).sum(axis=-1)), odds


def _offered(tiles: tuple[Tile, ...], m: Array, n: Array) -> NDArray[np.bool_]:
    """Which tiles the library has for each shape, [shapes, tiles]; all, where it has none."""
    numbers = _numbers(tiles)
    if not numbers.limited:
        return np.ones((1, len(tiles)), dtype=np.bool_)
    above, up_to = numbers.above, numbers.up_to
    shape = np.stack([m, n], axis=-1)[:, None]
    meant = np.asarray(((above < shape) & (shape <= up_to)).all(axis=-1), dtype=np.bool_)
    return meant | ~meant.any(axis=-1, keepdims=True)


def fixed_seconds(law: MatmulLaw, roof: Roof, m: Array, k: Array, weights: Array) -> Array:
    """Launch, and what is gone through before: weights to pack or dequantize, inputs to quantize.

    t = launch_us + [m > 1]·packing_passes·weights / B
        + m·‖quantizing_row_ns, quantizing_passes·2 B·k / B‖₄ + quantizing_k_ns·k

    in s, for weights in bytes and DRAM bandwidth B in B/s. A single row is multiplied without
    packing.
    """
    packing = law.packing_passes * (m > 1) * weights / roof.bytes_per_s
    seconds: Array = law.launch_us * MICRO + packing
    if law.quantizing_passes:
        moved = law.quantizing_passes * UNQUANTIZED_BYTES * k
        row = norm4(law.quantizing_row_ns * NANO, moved / roof.bytes_per_s)
        seconds = seconds + m * row + law.quantizing_k_ns * NANO * k
    return seconds


def correction_basis(roof: Roof, m: Array, n: Array, k: Array, bound_s: Array) -> Array:
    """Values of the basis functions φ, [shapes, functions], in the order of `corrections`.

    Monomials of degree ≤ 4 in log₂ m, log₂ n and log₂ k; piecewise linear functions of the waves
    of a middling tile; the same times log₂ k; piecewise linear functions of the roofline time
    `bound_s`, and of m, times monomials of degree ≤ 2 in log₂ n and log₂ k.
    """
    variables = [
        scaled(np.log2(value), span) for value, span in zip((m, n, k), CORRECTED, strict=True)
    ]
    rows, columns = WAVE_TILE
    by_waves = hats(np.ceil(m / rows) * np.ceil(n / columns) / roof.units, WAVES)
    by_bound = hats(bound_s / MICRO, BOUNDS_US)
    smooth = np.stack(monomials(variables, CORRECTION_DEGREE), axis=-1)
    by_waves_and_k = by_waves * variables[2][..., None]
    of_shape = np.stack(monomials(variables[1:], 2), axis=-1)
    by_rows = hats(m, ROWS)[..., None] * of_shape[..., None, :]
    by_rows = by_rows.reshape(*by_rows.shape[:-2], -1)
    return np.concatenate([smooth, by_waves, by_waves_and_k, by_bound, by_rows], axis=-1)


def _uncached(size: Array, share: float, law: MatmulLaw, roof: Roof) -> Array:
    """Bytes of an operand as DRAM would have to move them in the same time."""
    cached = within_cache(size, share * roof.cache_bytes)
    return size * (1 - cached * (1 - 1 / law.cached_bandwidth_ratio))
