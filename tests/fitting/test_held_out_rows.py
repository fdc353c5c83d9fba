"""A law's stated error is on rows that the fit behind it did not see; all rows make the law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.laws.attention import AttentionLaw, attention_seconds
from roofline.device.laws.matmul import matmul_seconds
from roofline.device.laws.pointwise import PointwiseLaw, pointwise_seconds
from roofline.device.roof import Roof
from roofline.fitting import attention, law_fit, matmul, pointwise
from roofline.fitting.initial_guesses import CPU
from roofline.fitting.rows import held_out

ROOF = Roof(flops_per_s=1e12, bytes_per_s=1e10, units=10, cache_bytes=0.0)
BATCH, TOKENS, HEADS = (
    a.ravel().astype(float)
    for a in np.meshgrid([1, 4], [16, 80, 300, 616, 2048, 5000], [8, 16, 32, 40])
)
ATTENTION = {
    "batch_size": BATCH,
    "tokens": TOKENS,
    "num_heads": HEADS,
    "num_key_value_heads": HEADS / 4,
    "head_dim": np.full(BATCH.size, 128.0),
    "time_ms": 1.0 + BATCH * TOKENS * TOKENS * HEADS / 1e6,
}


def bare_law(launch_us: float) -> AttentionLaw:
    """Nothing but a launch."""
    return replace(
        attention.GPU,
        launch_us=launch_us,
        block_us=0.0,
        longest_share=0.0,
        kv_write_passes=0.0,
        cached_bandwidth_ratio=1.0,
    )


@pytest.fixture
def attention_data(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The data of each fit of attention, in order; every fit finds another launch."""
    seen: list[Any] = []

    def best(data: Any, starts: Any) -> AttentionLaw:
        seen.append(data)
        return bare_law(1000.0 * len(seen))

    monkeypatch.setattr(attention, "best_of", best)
    return seen


def test_attention_is_judged_on_shapes_that_its_fit_did_not_see(attention_data: list[Any]) -> None:
    law = attention.fit_attention(ATTENTION, ROOF)

    first, last = attention_data
    (out,) = held_out(TOKENS, TOKENS, HEADS)
    seen = set(zip(first.shape[1], first.shape[3], strict=True))
    assert not seen & set(zip(TOKENS[out], HEADS[out], strict=True))
    assert first.seconds.size == (~out).sum()
    assert last.seconds.size == law.rows == BATCH.size
    assert law.launch_us == 2000.0  # of the fit to all rows
    measured = ATTENTION["time_ms"][out] / 1e3
    off = 100 * np.abs(stated(bare_law(1000.0), out) / measured - 1)
    assert law.median_error_percent == pytest.approx(np.median(off), abs=0.01)
    assert law.p90_error_percent == pytest.approx(np.quantile(off, 0.9), abs=0.01)


def stated(law: AttentionLaw, rows: Any) -> Any:
    """What a law says of some rows of the table."""
    batch, tokens, heads = BATCH[rows], TOKENS[rows], HEADS[rows]
    return attention_seconds(
        law,
        ROOF,
        *(batch, tokens, tokens, heads, heads / 4, 128.0),
        causal=True,
        traffic_bytes=2 * batch * 128 * tokens * 2 * (heads + heads / 4),
    )


def test_of_two_libraries_that_with_most_rows_is_fitted(
    attention_data: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = TOKENS == 16
    law = attention.fit_attention({**ATTENTION, "source": np.where(one, "a", "b")}, ROOF)
    assert law.rows == (~one).sum()
    assert not set(attention_data[-1].shape[1]) & {16.0}

    size = 2.0 ** np.arange(12, 30)
    vector = {"bytes": size, "time_ms": 1.0 + size / 1e7, "source": ["a"] * 7 + ["b"] * 11}
    assert pointwise.fit_pointwise(vector, ROOF).rows == 11


def test_columns_of_attention_are_what_they_are_called(attention_data: list[Any]) -> None:
    some = np.arange(BATCH.size) % 2
    table = {**ATTENTION, "keys": TOKENS + 7, "causal": some}
    attention.fit_attention(table, ROOF, kernel="fp8")

    data = attention_data[-1]
    batch, queries, keys, heads, kv_heads, _ = data.shape
    np.testing.assert_array_equal(batch, BATCH)
    np.testing.assert_array_equal(queries, TOKENS)
    np.testing.assert_array_equal(keys, TOKENS + 7)
    np.testing.assert_array_equal(heads, HEADS)
    np.testing.assert_array_equal(kv_heads, HEADS / 4)
    np.testing.assert_array_equal(data.causal, some == 1)
    np.testing.assert_allclose(data.seconds, ATTENTION["time_ms"] / 1e3)
    # queries and output of all heads, keys and values of a quarter, in one byte
    moved = BATCH * 128 * (2 * TOKENS * HEADS + 2 * (TOKENS + 7) * HEADS / 4)
    np.testing.assert_allclose(data.traffic, moved)
    # causal: query i of n sees all but the n − 1 − i last keys
    row = int(np.flatnonzero((TOKENS == 16) & (some == 1))[0])
    pairs = sum(16 + 7 - (16 - 1 - i) for i in range(16))
    assert data.flops[row] == 4 * 128 * BATCH[row] * HEADS[row] * pairs


def test_attention_is_of_prompts_in_16_bits_unless_columns_say_else(
    attention_data: list[Any],
) -> None:
    attention.fit_attention(ATTENTION, ROOF)

    data = attention_data[-1]
    _, queries, keys, *_ = data.shape
    assert data.causal.shape == TOKENS.shape
    assert data.causal.all()
    np.testing.assert_array_equal(keys, queries)
    # queries and output of all heads, keys and values of a quarter: 2 bytes each
    np.testing.assert_allclose(data.traffic, 2 * BATCH * 128 * TOKENS * 2 * (HEADS + HEADS / 4))


def test_a_cpu_and_a_gpu_start_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        attention, "best_of", lambda data, starts: given.append(starts) or bare_law(1.0)
    )
    attention.fit_attention(ATTENTION, ROOF, kind="cpu")
    attention.fit_attention(ATTENTION, ROOF)

    assert given[0] == (attention.CPU,)
    assert given[-1] == attention.GPU_STARTS


def test_the_better_law_is_kept_whichever_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Model:
        measured = None

        def __init__(self, start: Any) -> None:
            self.start = start

        def law(self, x: Any) -> Any:
            return self.start

    monkeypatch.setattr(law_fit, "descend", lambda model, measured: (None, model.start))
    models: list[Any] = [Model(loss) for loss in (3.0, 1.0, 2.0)]
    assert law_fit.best_law(models) == 1.0


def test_matmuls_are_judged_on_shapes_that_their_fit_did_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    m, n, k = (
        a.ravel().astype(float)
        for a in np.meshgrid([1, 64], [256, 512, 768, 1024], [128, 256, 384, 640])
    )
    models: list[Any] = []

    class Model:
        measured = None

        def __init__(self, data: Any, start: Any) -> None:
            self.data = data
            models.append(self)

        def law(self, x: Any) -> Any:
            return replace(CPU, launch_us=float(x))

    monkeypatch.setattr(matmul, "_MatmulFit", Model)
    starts: list[Any] = []

    def fit(model: Model, measured: Any, start: Any) -> tuple[float, float]:
        starts.append(start)
        return float(len(models)), 0.0

    monkeypatch.setattr(matmul, "descend", fit)
    table = {"m": m, "n": n, "k": k, "time_ms": np.full(m.size, 3.0)}
    law = matmul.fit_matmul(table, ROOF, kind="cpu", kernel="fp32")

    first, last = models
    (out,) = held_out(n, k)
    seen = set(zip(first.data.n, first.data.k, strict=True))
    assert not seen & set(zip(n[out], k[out], strict=True))
    assert first.data.m.size == (~out).sum()
    assert last.data.m.size == law.rows == m.size
    assert law.launch_us == 2.0
    predicted = matmul_seconds(
        replace(CPU, launch_us=1.0),
        ROOF,
        *(m[out], n[out], k[out]),
        weight_bytes=4 * (n * k)[out],
        activation_bytes=4 * (m * (n + k))[out],
    )
    off = 100 * np.abs(predicted / 3e-3 - 1)
    assert law.median_error_percent == pytest.approx(np.median(off), abs=0.01)
    assert starts == [None, 1.0]  # the last fit goes on from the one before
    np.testing.assert_array_equal(last.data.n, n)
    np.testing.assert_array_equal(last.data.k, k)
    np.testing.assert_allclose(last.data.weight_bytes, 4 * n * k)
    np.testing.assert_allclose(last.data.activation_bytes, 4 * m * (n + k))


def test_vector_ops_are_judged_on_sizes_that_their_fit_did_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = np.repeat(2.0 ** np.arange(10, 22), 2)  # a dozen sizes, each held out in turn
    truth = PointwiseLaw(
        rows=1,
        median_error_percent=0.0,
        p90_error_percent=0.0,
        launch_us=100.0,
        bandwidth_gb_per_s=5.0,
    )
    seconds = pointwise_seconds(truth, ROOF, traffic_bytes=size)
    fits: list[Any] = []

    def fitted(roof: Roof, size: Any, seconds: Any) -> PointwiseLaw:
        fits.append(size)
        # twice as slow by each fit that has seen fewer rows than there are
        return truth if size.size == 24 else replace(truth, launch_us=200.0, bandwidth_gb_per_s=2.5)

    monkeypatch.setattr(pointwise, "_fitted", fitted)
    law = pointwise.fit_pointwise({"bytes": size, "time_ms": 1e3 * seconds}, ROOF)

    assert [each.size for each in fits] == [22] * 12 + [24]
    assert law.launch_us == 100.0
    assert law.median_error_percent == law.p90_error_percent == 100.0
