"""Fits of attention and vector laws find again what made their tables."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from roofline.device.laws import Roof, attention_seconds, pointwise_seconds
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.fitting import FitError, fit_attention, fit_pointwise, pointwise

ROOF = Roof(flops_per_s=3e14, bytes_per_s=2e12, units=108, cache_bytes=4e7)
CPU_ROOF = Roof(flops_per_s=2e11, bytes_per_s=2e10, units=2, cache_bytes=3e7)
FIT = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}
TRUTH = AttentionLaw(
    **FIT,
    launch_us=7.0,
    block_us=1.5,
    efficiency=0.55,
    head_dim_power=0.4,
    longest_share=0.5,
    fill_keys=60.0,
    bandwidth_fraction=0.8,
    kv_write_passes=1.0,
)


def table(truth: AttentionLaw, roof: Roof = ROOF) -> dict[str, Any]:
    batch, tokens, heads, group = (
        a.ravel().astype(float)
        for a in np.meshgrid([1, 4, 32], [16, 80, 300, 616, 2048, 5000], [8, 32, 40], [1, 4])
    )
    kv_heads = heads / group
    traffic = 2 * 2 * batch * 128 * tokens * (heads + kv_heads)
    shape = (batch, tokens, tokens, heads, kv_heads, 128.0)
    seconds = attention_seconds(truth, roof, *shape, causal=True, traffic_bytes=traffic)
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(batch.size))
    return {
        "batch_size": batch,
        "tokens": tokens,
        "num_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": np.full(batch.size, 128.0),
        "time_ms": np.maximum(seconds * noise, 1e-9) * 1e3,
    }


@pytest.mark.parametrize("share", [True, False])
def test_finds_an_attention_law_again(share: bool) -> None:
    truth = msgspec.structs.replace(TRUTH, heads_share_blocks=share)
    law = fit_attention(table(truth), ROOF)
    assert law.heads_share_blocks is share
    assert law.median_error_percent < 4
    shape = (np.array([1.0, 2.0, 16.0]), 1024.0, 1024.0, 32.0, 8.0, 128.0)
    sizes = {"causal": True, "traffic_bytes": 4 * 128 * 1024 * 40 * shape[0]}
    fitted, true = (attention_seconds(which, ROOF, *shape, **sizes) for which in (law, truth))
    np.testing.assert_allclose(fitted, true, rtol=0.08)


def test_decode_rows_are_fitted_by_their_keys() -> None:
    rows = table(TRUTH)
    keys = rows["tokens"].copy()
    rows["tokens"] = np.ones_like(keys)
    shape = (rows["batch_size"], rows["tokens"], keys, rows["num_heads"])
    shape = (*shape, rows["num_key_value_heads"], rows["head_dim"])
    moved = 4 * 128 * shape[0] * (rows["num_heads"] + keys * rows["num_key_value_heads"])
    rows["keys"] = keys
    rows["time_ms"] = 1e3 * attention_seconds(TRUTH, ROOF, *shape, causal=True, traffic_bytes=moved)
    law = fit_attention(rows, ROOF, kind="cpu")
    fitted = attention_seconds(law, ROOF, *shape, causal=True, traffic_bytes=moved)
    assert np.median(np.abs(fitted * 1e3 / rows["time_ms"] - 1)) < 0.03
    assert not law.corrections
    assert law.forms == ("decode",)


def test_a_law_goes_for_what_its_rows_are() -> None:
    """Prompts, encoders and prompts that go on, but no decode."""
    rows = table(TRUTH, CPU_ROOF)
    part = np.arange(rows["tokens"].size) % 3
    rows["keys"] = np.where(part == 2, 2 * rows["tokens"], rows["tokens"])
    rows["causal"] = part != 1
    rows["time_ms"] = 3 * rows["time_ms"]  # twice the keys take three times as long as half of one
    law = fit_attention(rows, CPU_ROOF, kind="cpu")
    assert set(law.forms) == {"prefill", "encoder", "extension"}
    assert fit_attention(table(TRUTH, CPU_ROOF), CPU_ROOF, kind="cpu").forms == ("prefill",)


def test_finds_an_attention_law_of_a_cpu_again() -> None:
    truth = msgspec.structs.replace(
        TRUTH, block_us=0.0, longest_share=0.0, kv_write_passes=0.0, row_keys=80.0, key_block=512
    )
    law = fit_attention(table(truth, CPU_ROOF), CPU_ROOF, kind="cpu")
    assert law.row_keys == pytest.approx(80, rel=0.3)
    assert law.key_block == 512
    assert law.median_error_percent < 4


@pytest.mark.parametrize(
    ("kind", "roof", "bandwidth", "of_half_a_head"),
    [("gpu", ROOF, 0.8, 0.7071), ("cpu", CPU_ROOF, 0.5, 0.8123)],
)
def test_what_a_table_says_nothing_of_stays_what_is_usual(
    kind: Any, roof: Roof, bandwidth: float, of_half_a_head: float
) -> None:
    """Prompts say nothing of the bandwidth of decode, nor heads of 128 of smaller: these attain
    the square root of what is left, on a CPU its power of 0.3.
    """
    starved = msgspec.structs.replace(TRUTH, bandwidth_fraction=0.3)
    law = fit_attention(table(starved, roof), roof, kind=kind)
    assert law.bandwidth_fraction == bandwidth
    assert 0.5**law.head_dim_power == pytest.approx(of_half_a_head, rel=1e-3)


def test_refuses_attention_faster_than_the_device() -> None:
    rows = table(TRUTH)
    rows["time_ms"][-1] = 1e-4
    with pytest.raises(FitError, match="times the device's peak FLOP/s"):
        fit_attention(rows, ROOF)


def test_refuses_vector_ops_faster_than_dram() -> None:
    size = 2.0 ** np.arange(24, 34)  # 16 MiB and more, of which 40 MB fit in the cache
    fast = {"bytes": size, "time_ms": 1e3 * size / 1.2 / ROOF.bytes_per_s}
    with pytest.raises(FitError, match=r"1\.20 times the device's peak DRAM bandwidth"):
        fit_pointwise(fast, ROOF)


def test_finds_a_vector_law_again() -> None:
    truth = PointwiseLaw(
        **FIT, launch_us=3.0, bandwidth_gb_per_s=1500, cached_bandwidth_gb_per_s=1900, cache_mib=20
    )
    size = 2.0 ** np.arange(12, 32)
    rows = {"bytes": size, "time_ms": 1e3 * pointwise_seconds(truth, ROOF, traffic_bytes=size)}
    law = fit_pointwise(rows, ROOF)
    assert law.launch_us == pytest.approx(3.0, rel=0.02)
    assert law.bandwidth_gb_per_s == pytest.approx(1500, rel=0.02)
    between = np.array([3e5, 5e6, 3e8])
    fitted, true = (pointwise_seconds(v, ROOF, traffic_bytes=between) for v in (law, truth))
    np.testing.assert_allclose(fitted, true, rtol=0.03)


def test_refuses_too_few_vector_rows() -> None:
    with pytest.raises(FitError, match="5 measurements are too few"):
        fit_pointwise({"bytes": np.full(5, 1e6), "time_ms": np.full(5, 1.0)}, ROOF)


@pytest.mark.parametrize("cache_bytes", [0.0, 4e7])
def test_a_fit_of_vector_ops_starts_within_twice_of_the_least_and_the_largest(
    cache_bytes: float,
) -> None:
    size: Any = 2.0 ** np.arange(12, 32)
    seconds = 3e-6 + size / 1.5e12 - np.where(size < 2e7, size / 5e12, 0)
    roof = msgspec.structs.replace(ROOF, cache_bytes=cache_bytes)
    fit = pointwise._PointwiseFit(roof, size, seconds)
    law = fit.law(fit.start)

    ratio = np.exp(fit.logarithm(fit.start, None)) / seconds
    assert 0.5 <= ratio[0] <= 1 + 1e-9
    assert ratio[-1] == pytest.approx(1, rel=0.01)
    assert law.bandwidth_gb_per_s == pytest.approx(1500, rel=0.01)
    if cache_bytes:  # as fast as any op was, from a cache that others use, too
        assert law.cached_bandwidth_gb_per_s == pytest.approx((size / seconds).max() / 1e9)
        assert law.cache_mib is not None
        assert 0 < law.cache_mib * 2**20 < cache_bytes
    else:
        assert law.cached_bandwidth_gb_per_s is law.cache_mib is None


@pytest.mark.parametrize("rows", [5, 6])
def test_six_vector_rows_are_enough(rows: int) -> None:
    size = 2.0 ** np.arange(20, 20 + rows)
    table = {"bytes": size, "time_ms": 1e3 * (3e-6 + size / 1.5e12)}
    if rows == 6:
        assert fit_pointwise(table, ROOF).rows == 6
    else:
        with pytest.raises(FitError, match="5 measurements are too few for a fit; give 6"):
            fit_pointwise(table, ROOF)
