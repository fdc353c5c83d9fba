"""KernelLaws matmul time: against a loop over blocks, arithmetic, and never below the roof."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.laws import Roof, matmul_seconds
from roofline.device.laws.matmul import MatmulLaw, Tile

ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
FIT = {"rows": 100, "median_error_percent": 4.0, "p90_error_percent": 10.0}
PLAIN = MatmulLaw(
    **FIT, launch_us=0.0, tiles=(Tile(rows=100, columns=100, efficiency=0.5),), bandwidth_fraction=1
)
TILED = (
    Tile(rows=8, columns=32, efficiency=0.1, m_up_to=16),
    Tile(rows=64, columns=64, efficiency=0.6, m_over=16, n_up_to=4096),
    Tile(rows=128, columns=256, efficiency=0.9, m_over=16),
)
"""A library that has tiles for some shapes only."""
LAW = MatmulLaw(
    **FIT,
    launch_us=3.0,
    tiles=(
        Tile(rows=64, columns=64, efficiency=0.6, reluctance=0.1),
        Tile(rows=128, columns=256, efficiency=0.9),
    ),
    bandwidth_fraction=0.8,
    starvation=0.2,
    fill_k=90.0,
    wave_share=0.7,
    wave_overhead=0.1,
    packing_passes=0.3,
    quantizing_passes=0.6,
    quantizing_row_ns=1.2,
    quantizing_k_ns=0.3,
    choice_sharpness=12.0,
    splits=(1, 3),
    split_us=1.5,
    split_bandwidth_ratio=2.5,
    feed_bandwidth_ratio=3.5,
    cached_bandwidth_ratio=2.0,
    cached_weights_share=0.2,
    cached_activations_share=0.6,
)
SHAPES = [
    *((1, 256, 4096), (16, 4096, 512), (80, 4096, 4096), (616, 11008, 4096), (4096, 512, 777)),
    *((300, 1000, 2048), (2, 70, 1000)),  # no whole tiles
]


def naive(law: MatmulLaw, roof: Roof, m: int, n: int, k: int, weights: float, acts: float) -> float:
    """The module's description, one tile and one split at a time."""
    offered = [
        tile
        for tile in law.tiles
        if tile.m_over < m <= (tile.m_up_to or m) and tile.n_over < n <= (tile.n_up_to or n)
    ]
    times = []
    for tile in offered:
        best = math.inf
        for split in law.splits:
            count = math.ceil(m / tile.rows) * math.ceil(n / tile.columns) * split
            rate = roof.flops_per_s / roof.units * tile.efficiency
            block = 2 * tile.rows * tile.columns * (k / split + law.fill_k) / rate
            operands = min(tile.rows, m) * acts / (m * (k + n)) + min(tile.columns, n) * weights / (
                n * k
            )
            feed_rate = roof.bytes_per_s * law.feed_bandwidth_ratio / roof.units
            block = (block**4 + (operands * k / split / feed_rate) ** 4) ** 0.25
            waves = count / roof.units
            if waves <= 1:
                compute = block
            else:
                idle = math.ceil(waves) - waves
                more = (waves - 1) * (1 + law.wave_overhead) + idle * law.wave_share
                compute = block * (1 + more)

            moved = 0.0
            for size, share in (
                (weights, law.cached_weights_share),
                (acts, law.cached_activations_share),
            ):
                cached = 1 / (1 + (size / (share * roof.cache_bytes)) ** 4)
                moved += size * (1 - cached) + size * cached / law.cached_bandwidth_ratio
            memory = moved / (roof.bytes_per_s * law.bandwidth_fraction)
            if waves < 1:
                memory *= 1 + law.starvation * (1 / waves - 1)

            seconds = (compute**4 + memory**4) ** 0.25
            if split > 1:
                seconds += law.split_us * 1e-6
                seconds += 8 * split * m * n / (roof.bytes_per_s * law.split_bandwidth_ratio)
            best = min(best, seconds)
        times.append(best)
    odds = [
        (t * math.exp(tile.reluctance)) ** -law.choice_sharpness
        for t, tile in zip(times, offered, strict=True)
    ]
    mean = sum(o * math.log(t) for o, t in zip(odds, times, strict=True)) / sum(odds)
    packing = law.packing_passes * weights / roof.bytes_per_s if m > 1 else 0.0
    row = law.quantizing_passes * 2 * k / roof.bytes_per_s  # 16-bit inputs
    row = (row**4 + (law.quantizing_row_ns * 1e-9) ** 4) ** 0.25
    quantizing = m * row + law.quantizing_k_ns * 1e-9 * k
    total = math.exp(mean) + law.launch_us * 1e-6 + packing + quantizing
    return max(total, 2 * m * n * k / roof.flops_per_s, (weights + acts) / roof.bytes_per_s)


FEW_ROWS, ANY = Tile(rows=8, columns=32, efficiency=0.9), Tile(rows=64, columns=64, efficiency=0.1)
LAWS = {
    "any tile": LAW,
    "limits": replace(LAW, tiles=TILED),
    "over some rows": replace(LAW, tiles=(replace(FEW_ROWS, m_over=16), ANY)),
    "up to some rows": replace(LAW, tiles=(replace(FEW_ROWS, m_up_to=16), ANY)),
    "over some columns": replace(LAW, tiles=(replace(FEW_ROWS, n_over=512), ANY)),
    "up to some columns": replace(LAW, tiles=(replace(FEW_ROWS, n_up_to=512), ANY)),
    "halves": replace(LAW, splits=(1, 2)),
    "whole": replace(LAW, splits=(1,)),
}


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_loop_over_tiles_and_splits_takes_as_long(law: MatmulLaw, m: int, n: int, k: int) -> None:
    weights, acts = 2.0 * n * k, 2.0 * m * (n + k)
    seconds = matmul_seconds(law, ROOF, m, n, k, weight_bytes=weights, activation_bytes=acts)
    np.testing.assert_allclose(seconds, naive(law, ROOF, m, n, k, weights, acts), rtol=1e-11)


def test_what_a_file_leaves_out_costs_nothing() -> None:
    """No number but those that a law must have: the rest is neutral, a choice fairly sure."""
    needed = {name: getattr(LAW, name) for name in NEEDED}
    tiles = (Tile(rows=64, columns=64, efficiency=0.5), Tile(rows=128, columns=64, efficiency=0.6))
    same = [
        Tile(
            rows=tile.rows,
            columns=tile.columns,
            efficiency=tile.efficiency,
            reluctance=0.0,
            m_over=0,
            n_over=0,
        )
        for tile in tiles
    ]
    neutral = dict.fromkeys(NEUTRAL, 0.0)
    # reluctances count by their differences: one tile says that it has none
    bare = MatmulLaw(**needed, tiles=(tiles[0], replace(tiles[1], reluctance=0.0)))
    spelled = MatmulLaw(**needed, **neutral, tiles=tuple(same), choice_sharpness=20.0, splits=(1,))
    for shape in SHAPES:
        assert seconds_of(bare, *shape) == seconds_of(spelled, *shape)
        for more in ({"quantizing_passes": 1.0}, {"splits": (1, 3)}):
            both = [seconds_of(replace(law, **more), *shape) for law in (bare, spelled)]
            assert both[0] == both[1]
        # a cache is no faster than DRAM unless the law says so, and holds nothing unless it does
        shares = {"cached_weights_share": 1.0, "cached_activations_share": 1.0}
        for half in (shares, {"cached_bandwidth_ratio": 3.0}):
            law = replace(bare, **half)
            np.testing.assert_allclose(
                seconds_of(law, *shape), seconds_of(bare, *shape), rtol=1e-12
            )


NEEDED = ("rows", "median_error_percent", "p90_error_percent", "launch_us", "bandwidth_fraction")
NEUTRAL = (
    *("starvation", "fill_k", "wave_share", "wave_overhead", "packing_passes", "split_us"),
    *("quantizing_passes", "quantizing_row_ns", "quantizing_k_ns"),
    *("cached_weights_share", "cached_activations_share"),
)


def seconds_of(law: MatmulLaw, m: int, n: int, k: int) -> float:
    """In 2 bytes an element."""
    sizes = {"weight_bytes": 2.0 * n * k, "activation_bytes": 2.0 * m * (n + k)}
    return float(matmul_seconds(law, ROOF, m, n, k, **sizes))


def test_a_single_column_and_row_have_a_tile() -> None:
    for shape in ((1, 1, 1), (1, 7, 512), (9, 1, 512)):
        assert math.isfinite(seconds_of(replace(LAW, tiles=TILED[:1]), *shape))


def test_a_tile_is_taken_within_its_limits_only() -> None:
    # 1000 columns, 100 a tile: 10 blocks on 100 units, one wave at half or a quarter of the peak
    few, many = (
        Tile(rows=100, columns=100, efficiency=0.25, m_up_to=16),
        Tile(rows=100, columns=100, efficiency=0.5, m_over=16),
    )
    law = replace(PLAIN, tiles=(few, many))
    times = matmul_seconds(
        law, ROOF, np.array([1.0, 16, 17, 100]), 1000, 1000, weight_bytes=1, activation_bytes=1
    )
    assert times * 1e6 == pytest.approx([80, 80, 40, 40])


def test_inputs_are_quantized_row_by_row() -> None:
    # rows of 4000 elements: 16 kB gone through twice at 1 TB/s are 16 ns; at least 10 µs a row
    law = replace(PLAIN, quantizing_passes=2.0, quantizing_k_ns=0.5)
    args = {"weight_bytes": 1.0, "activation_bytes": 1.0}

    def added(which: MatmulLaw, m: int) -> float:
        both = (matmul_seconds(one, ROOF, m, 100, 4000, **args) for one in (which, PLAIN))
        return float(np.subtract(*both)) * 1e6

    assert added(law, 1000) == pytest.approx(1000 * 0.016 + 2)
    assert added(replace(law, quantizing_row_ns=1e4), 100) == pytest.approx(100 * 10 + 2)


def test_waves_by_hand() -> None:
    # 100 units at 1e12 FLOP/s, half of it attained: 2·100·100·1000 FLOPs take a block 40 µs
    law = PLAIN
    wait = MatmulLaw(**{**{f: getattr(law, f) for f in law.__struct_fields__}, "wave_share": 1.0})
    args = {"weight_bytes": 1.0, "activation_bytes": 1.0}

    def micro(which: MatmulLaw, m: int) -> float:
        return float(matmul_seconds(which, ROOF, m, 1000, 1000, **args)) * 1e6

    assert micro(wait, 1) == pytest.approx(40)  # 10 blocks, one wave
    assert micro(wait, 1000) == pytest.approx(40)  # 100 blocks fill it
    assert micro(wait, 1001) == pytest.approx(80)  # 110 blocks need a second
    assert micro(law, 1001) == pytest.approx(44)  # unless units never wait: 1.1 waves


def test_corrections_multiply_time_and_are_bounded() -> None:
    # the first function of the basis is 1: its coefficient is a logarithm added everywhere
    functions = 35 + 9 + 9 + 12 + 21 * 6
    args = {"weight_bytes": 2.0 * 4096**2, "activation_bytes": 4.0 * 80 * 4096}

    def seconds(first: float) -> float:
        corrections = (first, *([0.0] * (functions - 1)))
        fields = {f: getattr(LAW, f) for f in LAW.__struct_fields__}
        law = MatmulLaw(**{**fields, "corrections": corrections})
        return float(matmul_seconds(law, ROOF, 80, 4096, 4096, **args))

    plain = seconds(0.0)
    assert seconds(0.2) == pytest.approx(plain * math.exp(0.2))
    assert seconds(9.0) == seconds(0.4) == pytest.approx(plain * math.exp(0.4))


def test_never_below_the_roofline() -> None:
    optimist = MatmulLaw(
        **FIT,
        launch_us=0.0,
        tiles=(Tile(rows=1, columns=1, efficiency=1.0),),
        bandwidth_fraction=1.0,
        cached_bandwidth_ratio=50.0,
        cached_weights_share=10.0,
        cached_activations_share=10.0,
        corrections=(-9.0, *([0.0] * 190)),
    )
    m, n, k = (2.0 ** np.arange(14))[:, None, None], np.array([[64.0], [4096.0]]), 1024.0
    sizes = {"weight_bytes": 2 * n * k, "activation_bytes": 2 * m * (n + k)}
    seconds = matmul_seconds(optimist, ROOF, m, n, k, **sizes)
    bound = np.maximum(2 * m * n * k / 1e14, (2 * n * k + 2 * m * (n + k)) / 1e12)
    np.testing.assert_array_equal(seconds, bound)


def test_arrays_broadcast_and_agree_with_single_cases() -> None:
    m, n = np.arange(1.0, 5001.0), np.array([[512.0], [4096.0]])  # several chunks
    sizes = {"weight_bytes": 2 * n * 1024, "activation_bytes": 2 * m * (n + 1024)}
    grid = matmul_seconds(LAW, ROOF, m, n, 1024.0, **sizes)
    assert grid.shape == (2, 5000)
    for i, j in ((0, 0), (1, 79), (0, 511), (1, 512), (1, 4999)):
        one = matmul_seconds(
            LAW,
            ROOF,
            m[j],
            n[i, 0],
            1024.0,
            weight_bytes=2 * n[i, 0] * 1024,
            activation_bytes=2 * m[j] * (n[i, 0] + 1024),
        )
        assert one.shape == ()
        assert one == grid[i, j]
