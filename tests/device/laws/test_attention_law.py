"""KernelLaws attention time: a block at a time, its FLOPs, and never below the roof."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from roofline.device.laws import Roof, attention_seconds
from roofline.device.laws.attention import AttentionLaw, attention_flops

ROOF = Roof(flops_per_s=1e14, bytes_per_s=1e12, units=100, cache_bytes=4e7)
LAW = AttentionLaw(
    rows=100,
    median_error_percent=4.0,
    p90_error_percent=10.0,
    launch_us=5.0,
    block_us=2.0,
    heads_share_blocks=False,
    efficiency=0.6,
    head_dim_power=0.5,
    longest_share=0.4,
    fill_keys=50.0,
    bandwidth_fraction=0.7,
    kv_write_passes=2.0,
    cached_bandwidth_ratio=3.0,
    cached_share=0.5,
)


@pytest.mark.parametrize("causal", [True, False])
def test_flops_are_those_of_visible_scores(causal: bool) -> None:
    # 5 queries at the end of 9 keys: without a mask 45 scores; with it 5+6+7+8+9
    visible = 5 + 6 + 7 + 8 + 9 if causal else 45
    flops = attention_flops(3, np.array(5.0), np.array(9.0), 4, 64, causal=causal)
    assert flops == 3 * 4 * visible * (2 * 64 + 2 * 64)


@pytest.mark.parametrize(("queries", "block"), [(5, 1), (640, 512), (1024, 512), (100, 512)])
def test_hidden_keys_are_skipped_by_whole_blocks(queries: int, block: int) -> None:
    # of query i, keys up to i are visible, and all keys of the block that i is in are computed
    computed = sum(min(queries, block * (i // block + 1)) for i in range(queries))
    size = np.array(float(queries))
    flops = attention_flops(3, size, size, 4, 64, causal=True, key_block=block)
    assert flops == 3 * 4 * computed * (2 * 64 + 2 * 64)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_query_costs_beside_its_keys(batch: int) -> None:
    law = msgspec.structs.replace(
        LAW, launch_us=0.0, block_us=0.0, longest_share=0.0, kv_write_passes=0.0, row_keys=20.0
    )
    seconds = attention_seconds(
        law, ROOF, batch, 80, 100, 32, 32, 128, causal=False, traffic_bytes=0.0
    )
    # 4 FLOPs per query, channel and key of 100 + 20, at 60 % of 1e14 FLOP/s
    np.testing.assert_allclose(seconds, batch * 4 * 32 * 80 * 128 * 120 / 0.6e14, rtol=1e-12)


@pytest.mark.parametrize(
    ("batch", "queries", "keys", "heads", "kv_heads"),
    [(1, 616, 616, 32, 32), (8, 616, 616, 32, 8), (4, 1, 2048, 32, 4), (16, 80, 80, 40, 40)],
)
@pytest.mark.parametrize("share", [True, False])
def test_a_plain_sum_takes_as_long(
    batch: int, queries: int, keys: int, heads: int, kv_heads: int, share: bool
) -> None:
    law = msgspec.structs.replace(LAW, heads_share_blocks=share)
    traffic = 2 * 2 * batch * 64 * (queries * heads + keys * kv_heads)
    group = heads // kv_heads if share or queries == 1 else 1
    blocks = batch * heads // group * math.ceil(group * queries / 128)
    rate = 1e14 * 0.6 * math.sqrt(64 / 128)
    scores = sum(keys - queries + 1 + i for i in range(queries))
    flops = 4 * 64 * batch * heads * scores
    longest = 4 * 64 * min(group * queries, 128) * (keys + 50) / (rate / 100)
    moved = traffic + 2.0 * 2 * 2 * batch * 64 * queries * kv_heads
    cached = 1 / (1 + (moved / 2e7) ** 4)
    expected = (
        5e-6
        + 2e-6 * max(blocks / 100, 1)
        + flops / rate
        + 0.4 * longest
        + moved * (1 - cached + cached / 3) / 0.7e12
    )
    seconds = attention_seconds(
        law, ROOF, batch, queries, keys, heads, kv_heads, 64, causal=True, traffic_bytes=traffic
    )
    np.testing.assert_allclose(seconds, expected, rtol=1e-12)


def test_corrections_fade_as_keys_outnumber_queries() -> None:
    # of the 35 monomials of degree ≤ 3 in four variables the first is 1
    law = msgspec.structs.replace(LAW, corrections=(0.2, *([0.0] * 34)))
    sizes = {"causal": True, "traffic_bytes": 1e6}

    def ratio(queries: float, keys: float) -> float:
        shape = (1.0, queries, keys, 32.0, 32.0, 128.0)
        corrected = attention_seconds(law, ROOF, *shape, **sizes)
        return float(corrected / attention_seconds(LAW, ROOF, *shape, **sizes))

    assert ratio(512, 512) == pytest.approx(math.exp(0.2))
    assert ratio(1, 1000) == pytest.approx(math.exp(0.2 / 1000))


def test_what_a_file_leaves_out_costs_nothing() -> None:
    """Key heads share blocks, keys are skipped one by one, nothing is cached, padded or written."""
    needed = {name: getattr(LAW, name) for name in NEEDED}
    bare = AttentionLaw(**needed)
    spelled = AttentionLaw(
        **needed,
        heads_share_blocks=True,
        row_keys=0.0,
        key_block=1,
        kv_write_passes=0.0,
        cached_share=0.0,
    )
    shape = (np.array([1.0, 16.0]), 80.0, 80.0, 32.0, 8.0, 64.0)
    sizes: dict[str, Any] = {"causal": True, "traffic_bytes": 4e6}
    seconds = attention_seconds(bare, ROOF, *shape, **sizes)
    np.testing.assert_array_equal(seconds, attention_seconds(spelled, ROOF, *shape, **sizes))
    # a cache is no faster than DRAM unless the law says so, and holds nothing unless it does
    for half in ({"cached_share": 1.0}, {"cached_bandwidth_ratio": 3.0}):
        law = msgspec.structs.replace(bare, **half)
        np.testing.assert_allclose(attention_seconds(law, ROOF, *shape, **sizes), seconds)


NEEDED = (
    *("rows", "median_error_percent", "p90_error_percent", "launch_us", "block_us", "efficiency"),
    *("head_dim_power", "longest_share", "fill_keys", "bandwidth_fraction"),
)


def test_corrections_multiply_time_by_at_most_e_to_the_seven_tenths() -> None:
    shape = (8.0, 616.0, 616.0, 32.0, 8.0, 128.0)
    sizes: dict[str, Any] = {"causal": True, "traffic_bytes": 1e8}

    def seconds(first: float) -> float:
        law = msgspec.structs.replace(LAW, corrections=(first, *([0.0] * 34)))
        return float(attention_seconds(law, ROOF, *shape, **sizes))

    plain = float(attention_seconds(LAW, ROOF, *shape, **sizes))
    assert seconds(0.3) / plain == pytest.approx(math.exp(0.3))
    assert seconds(9.0) / plain == seconds(0.7) / plain == pytest.approx(math.exp(0.7))
    assert seconds(-9.0) / plain == seconds(-0.7) / plain == pytest.approx(math.exp(-0.7))


def test_never_below_the_roofline() -> None:
    law = msgspec.structs.replace(
        LAW, launch_us=0.0, block_us=0.0, longest_share=0.0, kv_write_passes=0.0,
        cached_bandwidth_ratio=100.0, cached_share=100.0, corrections=(-9.0, *([0.0] * 34)),
    )  # fmt: skip
    tokens = 2.0 ** np.arange(15)
    traffic = 4 * 32 * 128 * 2 * tokens
    seconds = attention_seconds(
        law, ROOF, 1, tokens, tokens, 32, 32, 128, causal=True, traffic_bytes=traffic
    )
    flops = 4 * 32 * 128 * tokens * (tokens + 1) / 2
    np.testing.assert_allclose(
        seconds[-4:], np.maximum(flops / 1e14, traffic / 1e12)[-4:], rtol=1e-12
    )
    assert (seconds >= np.maximum(flops / 1e14, traffic / 1e12)).all()
