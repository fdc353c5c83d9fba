"""Laws as vectors of free numbers: what each entry means, its prior, and the slopes by it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.kernel_types import ATTENTION_KERNELS
from roofline.device.laws import attention_seconds, matmul_seconds
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.roof import Roof
from roofline.fitting import attention, initial_guesses, matmul, pointwise
from roofline.fitting.descent import numeric_jacobian
from roofline.fitting.law_fit import CorrectedFit
from roofline.model.polynomial import Array

ROOF = Roof(flops_per_s=3e14, bytes_per_s=2e12, units=108, cache_bytes=4e7)
QUANTIZING = initial_guesses.starts("gpu", 1, 1)
UNPACKING = initial_guesses.starts("gpu", 0.5, 2)


def matmul_fit(start: MatmulLaw, copies: int = 1, kernel: str = "bf16") -> matmul._MatmulFit:
    """On 48 shapes, of one to many waves and of any bound, as often as is said."""
    m, n, k = (
        np.tile(a.ravel(), copies).astype(float)
        for a in np.meshgrid([1, 60, 700, 4000], [300, 2048, 11008], [130, 1024, 4096, 16384])
    )
    data = matmul._MatmulTimes(ROOF, kernel, m, n, k, np.ones(m.size))
    return matmul._MatmulFit(data, start)


def attention_fit(start: AttentionLaw, *, more_keys: Any = 1.0) -> CorrectedFit:
    batch, queries, heads, group, causal = (
        a.ravel().astype(float)
        for a in np.meshgrid([1, 16], [1, 40, 616, 3000], [8, 32], [1, 4], [0, 1])
    )
    keys, size = more_keys * queries, np.full(batch.size, 64.0)
    shape = (batch, queries, keys, heads, heads / group, size)
    data = attention.AttentionTimes(
        ROOF, ATTENTION_KERNELS["bf16"], *shape, causal > 0, np.ones(batch.size)
    )
    return attention._model(data, start)


MATMULS = {
    "split": initial_guesses.GPU,
    "dispatched": QUANTIZING[2],
    "unpacked": UNPACKING[-1],
    "few rows": UNPACKING[2],
    "cpu": initial_guesses.CPU,
}


def somewhere(fit: Any, seed: int = 0) -> Array:
    """A vector about its start, half as far off as the prior is wide."""
    scatter = np.random.default_rng(seed).standard_normal(fit.start.size)
    return np.asarray(fit.start + 0.5 * fit.spread * scatter)


@pytest.mark.parametrize("name", MATMULS)
def test_a_fit_of_matmuls_predicts_what_its_law_says(name: str) -> None:
    fit = matmul_fit(MATMULS[name])
    for seed in range(3):
        x = somewhere(fit, seed)
        data = fit.data
        sizes = {"weight_bytes": data.weight_bytes, "activation_bytes": data.activation_bytes}
        seconds = matmul_seconds(fit.law(x), ROOF, data.m, data.n, data.k, **sizes)
        np.testing.assert_allclose(np.exp(fit.logarithm(x, fit.settle(x))), seconds, rtol=1e-12)


@pytest.mark.parametrize("name", MATMULS)
def test_slopes_of_matmuls_are_differences(name: str) -> None:
    fit = matmul_fit(MATMULS[name])
    for seed in range(3):
        x = somewhere(fit, seed)
        state = fit.settle(x)
        slopes = fit.jacobian(x, state)

        assert slopes.shape == (fit.measured.size, x.size)
        np.testing.assert_allclose(slopes, numeric_jacobian(fit, x, state, x.size), atol=2e-3)
        assert np.abs(slopes).max() > 0.3


@pytest.mark.parametrize("start", [attention.GPU, attention.GPU_STARTS[1], attention.CPU])
@pytest.mark.parametrize("more_keys", [1.0, 3.0])
def test_a_fit_of_attention_predicts_what_its_law_says_and_how_it_changes(
    start: AttentionLaw, more_keys: float
) -> None:
    fit = attention_fit(start, more_keys=more_keys)
    for seed in range(3):
        x = somewhere(fit, seed)
        data = fit.data
        moved: Any = data.traffic
        seconds = attention_seconds(
            fit.law(x), ROOF, *data.shape, causal=data.causal, traffic_bytes=moved
        )
        np.testing.assert_allclose(np.exp(fit.logarithm(x, None)), seconds, rtol=1e-12)
        differences = numeric_jacobian(fit, x, None, x.size)
        np.testing.assert_allclose(fit.jacobian(x, None), differences, atol=2e-3)


def test_at_the_roofline_no_number_changes_a_time() -> None:
    # with all that may be corrected away, the shapes that are bound by compute are at the floor
    fit = matmul_fit(initial_guesses.UNSPLIT)
    x = fit.start.copy()
    x[fit.physical] = -9.0  # the function that is 1 everywhere, clipped to −0.4
    floor = np.isclose(fit.logarithm(x, fit.settle(x)), fit.floor)

    assert 0 < floor.sum() < floor.size
    slopes = fit.jacobian(x, fit.settle(x))
    assert not slopes[floor].any()
    assert slopes[~floor].any(axis=1).all()


def test_at_the_roofline_no_number_changes_a_time_of_attention() -> None:
    start = replace(attention.GPU, efficiency=0.95, launch_us=1e-3, block_us=1e-3)
    fit = attention_fit(start)
    x = fit.start.copy()
    x[fit.physical] = -9.0
    floor = fit.logarithm(x, None) == fit.floor

    assert 0 < floor.sum() < floor.size
    slopes = fit.jacobian(x, None)
    assert not slopes[floor].any()
    assert slopes[~floor].any(axis=1).all()


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Every number of a law by its path."""
    if isinstance(value, msgspec.Struct):
        inner: Any = [(name, getattr(value, name)) for name in value.__struct_fields__]
    elif isinstance(value, tuple):
        inner = enumerate(value)
    else:
        return {path: value}
    found: dict[str, Any] = {}
    for key, one in inner:
        found |= fields(one, f"{path}.{key}".lstrip("."))
    return found


def odds(name: str, value: float) -> float:
    fraction = name.split(".")[-1] in ("efficiency", "bandwidth_fraction", "wave_share")
    return value / (1 - value) if fraction else value


def moved_by_a_deviation(fit: Any) -> dict[str, float]:
    """By how much each number of a law changes where its entry moves by the prior's width: as a
    factor, of the odds if it is a fraction, or as a sum for what may be negative.
    """
    before = fields(fit.law(fit.start))
    found: dict[str, float] = {}
    for i in range(fit.start.size):
        step = np.zeros(fit.start.size)
        step[i] = fit.spread[i]
        after = fields(fit.law(fit.start + step))
        changed = [path for path in after if after[path] != before[path]]
        assert len(changed) == 1, changed
        (path,) = changed
        assert path not in found
        if "reluctance" in path or "corrections" in path:
            found[path] = after[path] - before[path]
        else:
            found[path] = odds(path, after[path]) / odds(path, before[path])
    return found


@pytest.mark.parametrize("name", MATMULS)
@pytest.mark.parametrize(("copies", "share"), [(1, 0.5), (11, 1.0)])
def test_a_prior_of_matmuls_lets_numbers_differ_by_what_kernels_do(
    name: str, copies: int, share: float
) -> None:
    """A factor of 4.5 either way, 35 % in what a tile must gain to be taken, 7 % of correction;
    of 500 rows or fewer, half of each, in logarithms.
    """
    start = MATMULS[name]
    moved = moved_by_a_deviation(matmul_fit(start, copies))

    for path, by in moved.items():
        if "reluctance" in path:
            assert np.exp(by) == pytest.approx(1.35**share, rel=1e-3)
        elif "corrections" in path:
            assert by == pytest.approx(0.07 * share)
        else:
            assert by == pytest.approx(4.4817**share, rel=1e-4)
    free = {path for path in moved if "corrections" not in path}
    tiles = {f"tiles.{i}.{what}" for i in range(len(start.tiles)) for what in TILE}
    assert free == tiles | {name for name in NUMBERS if getattr(start, name)}
    # monomials of degree ≤ 4 in three variables, waves alone and with k, bounds, and for each of 21
    # numbers of rows the monomials of degree ≤ 2 in two
    every = 35 + 9 + 9 + 12 + 21 * 6
    assert len(moved) - len(free) == (0 if name == "cpu" else every)


TILE = ("efficiency", "reluctance")
NUMBERS = set(MatmulLaw.__struct_fields__) - {
    *("rows", "median_error_percent", "p90_error_percent", "origin", "tiles", "splits"),
    # what a relative sustains of the device's peaks is not fitted
    *("rate_ratio", "bandwidth_ratio", "lender_rate"),
    "corrections",
}


@pytest.mark.parametrize("rows", [499, 500])
def test_fewer_than_500_rows_say_less(rows: int) -> None:
    every = matmul_fit(initial_guesses.GPU, 11).data
    fit = matmul._MatmulFit(every.where(slice(0, rows)), initial_guesses.GPU)
    wide = matmul._MatmulFit(every, initial_guesses.GPU)
    np.testing.assert_array_equal(fit.spread, wide.spread * (0.5 if rows < 500 else 1.0))


@pytest.mark.parametrize("start", [attention.GPU, attention.CPU])
@pytest.mark.parametrize("more_keys", [1.0, 3.0, "some"])
def test_a_prior_of_attention_likewise(start: AttentionLaw, more_keys: Any) -> None:
    """A CPU has no waves of blocks to pay for, nor a cache of keys in pages; its queries cost."""
    keys = np.where(np.arange(64) < 9, 3.0, 1.0) if more_keys == "some" else more_keys
    moved = moved_by_a_deviation(attention_fit(start, more_keys=keys))

    free = {"launch_us", "efficiency", "head_dim_power", "cached_bandwidth_ratio", "cached_share"}
    if start is attention.CPU:
        free |= {"row_keys"}
    else:
        free |= {"block_us", "longest_share", "fill_keys", "kv_write_passes"}
        free |= {"block_head_dim_power", "wave_share"}
    if more_keys != 1:  # prompts say nothing of DRAM; one row of decode does
        free |= {"bandwidth_fraction"}
    elif start is attention.GPU:  # but how much of the traffic shows beside the computing
        free |= {"traffic_share"}
    assert {path for path in moved if "corrections" not in path} == free
    for path, by in moved.items():
        expected = 0.1 if "corrections" in path else 4.4817
        assert by == pytest.approx(expected, rel=1e-4), path
    # monomials of degree ≤ 3 in four variables: 7 over 3
    assert len(moved) - len(free) == (0 if start is attention.CPU else 35)


@pytest.mark.parametrize("cache", [0.0, 4e7])
def test_a_prior_of_vector_ops_likewise(cache: float) -> None:
    size: Array = np.exp2(np.arange(12.0, 30.0))
    fit = pointwise._PointwiseFit(
        replace(ROOF, cache_bytes=cache), size, np.asarray(3e-6 + size / 1.5e12)
    )
    moved = moved_by_a_deviation(fit)

    names = {"launch_us", "bandwidth_gb_per_s"}
    if cache:
        names |= {"cached_bandwidth_gb_per_s", "cache_mib"}
    assert set(moved) == names
    assert list(moved.values()) == pytest.approx([4.4817] * len(names), rel=1e-4)
