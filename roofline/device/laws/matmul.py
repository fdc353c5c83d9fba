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

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roofline.device.laws.smooth import hats, monomials, norm4, scaled, within_cache
from roofline.device.roof import Array, Number, Roof
from roofline.specs.kernel_laws import MatmulLaw, Tile
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
CORRECTED = ((0.0, 13.0), (8.0, 16.0), (8.0, 16.0))
"""Ranges of log₂ of m, n and k over which corrections vary; they hold beyond."""
CORRECTION_DEGREE = 2
MOST_CORRECTION = 0.4
"""Largest correction of the logarithm of time, so that it never runs away."""


def matmul_seconds(
    law: MatmulLaw,
    roof: Roof,
    m: Number,
    n: Number,
    k: Number,
    *,
    weight_bytes: Number,
    activation_bytes: Number,
) -> Array:
    """Seconds of one matmul with m rows (tokens), n out features, k in features.

    `weight_bytes` and `activation_bytes` are what the whole op moves: weights read, activations
    read and written. All arguments broadcast; the result has their common shape.
    """
    arguments = np.broadcast_arrays(m, n, k, weight_bytes, activation_bytes)
    flat = [np.asarray(a, dtype=np.float64).ravel() for a in arguments]
    seconds = np.empty(flat[0].size)
    for first in range(0, seconds.size, CHUNK):
        piece = slice(first, first + CHUNK)
        seconds[piece] = _seconds(law, roof, *(a[piece] for a in flat))
    return seconds.reshape(arguments[0].shape)


def _seconds(
    law: MatmulLaw, roof: Roof, m: Array, n: Array, k: Array, weights: Array, activations: Array
) -> Array:
    candidates = blocks(law.tiles, law.splits, roof, m, n, k, weights, activations)
    kernels = kernel_seconds(law, roof, candidates).min(axis=-1)
    before = fixed_seconds(law, roof, m, k, weights)
    chosen, _ = chosen_seconds(law, kernels, m, n)
    logarithm = np.log(chosen + before)
    bound = roof.seconds(2 * m * n * k, weights + activations)
    if law.corrections:
        basis = correction_basis(roof, m, n, k, bound)
        added = (basis * np.array(law.corrections)).sum(axis=-1)
        logarithm += np.clip(added, -MOST_CORRECTION, MOST_CORRECTION)
    return np.maximum(np.exp(logarithm), bound)


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

    def take(self, split: NDArray[np.intp]) -> Blocks:
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
    rows = np.array([tile.rows for tile in tiles], dtype=np.float64)[:, None]
    columns = np.array([tile.columns for tile in tiles], dtype=np.float64)[:, None]
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
    """Time of each launch of `blocks`, without what is the same for all."""
    efficiency = np.array([tile.efficiency for tile in law.tiles])[:, None]
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
    """Time of the kernel that the library takes, [shapes], and the odds of each tile,
    [shapes, tiles], from the time of each.
    """
    logarithms = np.log(kernels)
    reluctance = np.array([tile.reluctance for tile in law.tiles])
    appeal = -law.choice_sharpness * (logarithms + reluctance)
    appeal = np.where(_offered(law.tiles, m, n), appeal, -np.inf)
    odds = np.exp(appeal - appeal.max(axis=-1, keepdims=True))
    odds /= odds.sum(axis=-1, keepdims=True)
    return np.exp((odds * logarithms).sum(axis=-1)), odds


def _offered(tiles: tuple[Tile, ...], m: Array, n: Array) -> NDArray[np.bool_]:
    """Which tiles the library has for each shape: [shapes, tiles]."""
    above = np.array([(tile.m_over, tile.n_over) for tile in tiles])
    up_to = np.array([(tile.m_up_to or np.inf, tile.n_up_to or np.inf) for tile in tiles])
    if not above.any() and np.isinf(up_to).all():
        return np.ones((1, len(tiles)), dtype=np.bool_)
    shape = np.stack([m, n], axis=-1)[:, None]
    return np.asarray(((above < shape) & (shape <= up_to)).all(axis=-1), dtype=np.bool_)


def fixed_seconds(law: MatmulLaw, roof: Roof, m: Array, k: Array, weights: Array) -> Array:
    """Launch, and what is gone through before: weights to pack or dequantize, inputs to quantize.

    A single row is multiplied without packing.
    """
    packing = law.packing_passes * (m > 1) * weights / roof.bytes_per_s
    seconds: Array = law.launch_us * MICRO + packing
    if law.quantizing_passes:
        moved = law.quantizing_passes * UNQUANTIZED_BYTES * k
        row = norm4(law.quantizing_row_ns * NANO, moved / roof.bytes_per_s)
        seconds = seconds + m * row + law.quantizing_k_ns * NANO * k
    return seconds


def correction_basis(roof: Roof, m: Array, n: Array, k: Array, bound_s: Array) -> Array:
    """Values of the basis functions, [shapes, functions], in the order of `corrections`."""
    variables = [
        scaled(np.log2(value), span) for value, span in zip((m, n, k), CORRECTED, strict=True)
    ]
    rows, columns = WAVE_TILE
    by_waves = hats(np.ceil(m / rows) * np.ceil(n / columns) / roof.units, WAVES)
    by_bound = hats(bound_s / MICRO, BOUNDS_US)
    functions = [
        *monomials(variables, CORRECTION_DEGREE),
        *by_waves,
        *(hat * variables[2] for hat in by_waves),
        *by_bound,
    ]
    return np.stack(functions, axis=-1)


def _uncached(size: Array, share: float, law: MatmulLaw, roof: Roof) -> Array:
    """Bytes of an operand as DRAM would have to move them in the same time."""
    cached = within_cache(size, share * roof.cache_bytes)
    return size * (1 - cached * (1 - 1 / law.cached_bandwidth_ratio))
