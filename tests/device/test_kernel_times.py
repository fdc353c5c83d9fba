"""Times of single kernels: the bound by hand, the laws through the other entry, and sanity."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import roofline
from roofline.device.borrowed import laws_of
from roofline.device.kernel_times import KernelTime
from roofline.device.kernel_types import MATMUL_KERNELS, OTHER_NAMES, KernelType
from roofline.device.laws.matmul import MatmulLaw
from roofline.errors import InputError
from roofline.specs.catalog import all_hardware, load_hardware

LAWS = {device.name: laws for device in all_hardware() if (laws := laws_of(device))}
DEVICES = list(LAWS)
COMPUTED_IN = {"w8a16": "fp16", "w4a16": "fp16", "w8a8": "int8"}
KERNELS = [
    (name, kernel)
    for name, laws in LAWS.items()
    for kernel in laws.of(MatmulLaw)
    if load_hardware(name).matmul_peak(COMPUTED_IN.get(kernel, kernel))
]
SIXTEEN_BIT = {
    name: "bf16" if load_hardware(name).matmul_peak("bf16") else "fp16" for name in DEVICES
}

sizes = st.integers(1, 70_000)
shapes = st.tuples(sizes, sizes, sizes)
counts = st.lists(st.integers(1, 200_000), min_size=2, max_size=40)
many = settings(deadline=None, max_examples=300)
few = settings(deadline=None, max_examples=60)


@pytest.mark.parametrize(
    ("dtype", "peak", "weight", "given_", "result"),
    [
        ("bf16", 312e12, 2, 2, 2),
        ("fp16", 312e12, 2, 2, 2),
        ("fp32", 19.5e12, 4, 4, 4),
        ("int8", 624e12, 1, 1, 2),
        ("w8a16", 312e12, 1, 2, 2),
        # 4 bits and a 16-bit scale to 128 weights
        ("w4a16", 312e12, 0.5 + 2 / 128, 2, 2),
    ],
)
@pytest.mark.parametrize("m", [16, 4096])
def test_the_bound_of_a_matmul_is_that_of_the_data_sheet(
    dtype: str, peak: float, weight: float, given_: float, result: float, m: int
) -> None:
    n, k = 11008, 4096
    moved = weight * n * k + given_ * m * k + result * m * n
    kernel = roofline.matmul_time("a100", m, n, k, dtype)

    # 40 MiB may lie in the cache, from an earlier run of the kernel
    cached = min(moved, 40 * 2**20)
    moving = (moved - cached) / 2039e9 + cached / 5400e9
    np.testing.assert_allclose(
        kernel.roofline_time_s, max(2 * m * n * k / peak, moving), rtol=1e-12
    )


def test_the_bound_of_causal_attention_counts_the_scores_that_are_needed() -> None:
    n, heads, kv_heads, size = 4096, 32, 8, 128
    pairs = sum(range(1, n + 1))
    causal = roofline.attention_time("h100", 2, n, heads, kv_heads, size)
    full = roofline.attention_time("h100", 2, n, heads, kv_heads, size, causal=False)
    short = roofline.attention_time("h100", 2, 8, heads, kv_heads, size)

    # a score is a product of `size` elements; so is its share of the output
    np.testing.assert_allclose(
        causal.roofline_time_s, 2 * heads * pairs * 4 * size / 989e12, rtol=1e-12
    )
    np.testing.assert_allclose(
        full.roofline_time_s, 2 * heads * n * n * 4 * size / 989e12, rtol=1e-12
    )
    # q and the output of 32 heads, k and v of 8, in 2 bytes, out of the cache
    np.testing.assert_allclose(
        short.roofline_time_s, 2 * 8 * size * 2 * (2 * heads + 2 * kv_heads) / 9770e9, rtol=1e-12
    )


def test_arrays_broadcast_to_float64() -> None:
    m, n = np.array([1, 80, 616])[:, None], np.array([4096, 11008])
    kernel = roofline.matmul_time("a100", m, n, 4096)

    assert kernel.roofline_time_s.shape == kernel.attainable_time_s.shape == (3, 2)
    assert kernel.attainable_time_s.dtype == np.float64
    for i, j in np.ndindex(3, 2):
        one = roofline.matmul_time("a100", int(m[i, 0]), int(n[j]), 4096)
        assert one.attainable_time_s.shape == ()
        assert one.attainable_time_s == kernel.attainable_time_s[i, j]
    tokens = roofline.attention_time("a100", [1, 8], 616, 32, 32, 128)
    assert tokens.attainable_time_s.shape == (2,)


@pytest.mark.parametrize("keys", [None, 512], ids=["prompt", "from a cache"])
def test_no_sizes_have_no_times(keys: int | None) -> None:
    none = roofline.attention_time("a100", [], 16, 32, 32, 128, keys=keys)
    assert none.attainable_time_s.shape == none.roofline_time_s.shape == (0,)
    assert roofline.matmul_time("a100", np.ones((3, 0)), 4096, 4096).attainable_time_s.shape == (
        3,
        0,
    )


@pytest.mark.parametrize("quant", ["fp16", "w4a16"])
def test_a_model_is_made_of_the_same_kernels(quant: str) -> None:
    # gate_proj of Vicuna-7B: [80, 4096] @ [4096, 11008], 32 times
    ops = roofline.analyze("vicuna-7b", "a100", quant, visual_tokens=40).ops
    gate = next(op for op in ops if op.name == "gate_proj")
    kernel = roofline.matmul_time("a100", 80, 11008, 4096, quant)
    # w4a16 as a model has it keeps zero points besides: 4 of 528 bits
    slack = 1e-12 if quant == "fp16" else 0.02

    assert gate.attainable_time_s == pytest.approx(32 * kernel.attainable_time_s, rel=slack)
    attention = next(op for op in ops if op.name == "attention")
    kernel = roofline.attention_time("a100", 1, 80, 32, 32, 128, dtype=quant)
    assert attention.attainable_time_s == pytest.approx(32 * kernel.attainable_time_s)


@many
@given(st.sampled_from(KERNELS), shapes)
def test_no_matmul_is_below_the_roofline(which: tuple[str, str], shape: tuple[int, ...]) -> None:
    device, dtype = which
    kernel = roofline.matmul_time(device, *shape, dtype)

    assert np.isfinite(kernel.attainable_time_s)
    assert kernel.attainable_time_s >= kernel.roofline_time_s


@many
@given(
    st.sampled_from(DEVICES),
    st.integers(1, 512),
    st.integers(1, 40_000),
    st.integers(1, 64),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([64, 80, 128, 256]),
    st.booleans(),
)
def test_no_attention_is_below_the_roofline(
    device: str, batch: int, tokens: int, kv_heads: int, group: int, size: int, causal: bool
) -> None:
    shape = (batch, tokens, kv_heads * group, kv_heads, size)
    kernel = roofline.attention_time(device, *shape, dtype=SIXTEEN_BIT[device], causal=causal)

    assert np.isfinite(kernel.attainable_time_s)
    assert kernel.attainable_time_s >= kernel.roofline_time_s


@few
@given(st.sampled_from(KERNELS), counts, st.integers(64, 32768), st.integers(64, 32768))
def test_no_matmul_gets_faster_with_more_rows(
    which: tuple[str, str], rows: list[int], n: int, k: int
) -> None:
    device, dtype = which
    assert_never_falls(roofline.matmul_time(device, sorted(rows), n, k, dtype))


heads = st.sampled_from([(32, 32), (32, 8), (28, 4), (16, 16), (8, 1)])
head_dims = st.sampled_from([64, 72, 80, 128, 256])


@few
@given(st.sampled_from(DEVICES), counts, counts, heads, head_dims, st.booleans())
def test_no_attention_gets_faster_with_more_tokens_or_sequences(
    device: str, tokens: list[int], batch: list[int], of: tuple[int, int], size: int, causal: bool
) -> None:
    if not causal:
        of = of[0], of[0]
    shape = {"heads": of[0], "kv_heads": of[1], "head_dim": size, "causal": causal}
    grid = np.sort(batch)[:, None], np.sort(tokens)
    kernel = roofline.attention_time(device, *grid, **shape, dtype=SIXTEEN_BIT[device])
    assert_never_falls(kernel, axis=0)
    assert_never_falls(kernel, axis=1)


@few
@given(st.sampled_from(DEVICES), counts, counts, heads, head_dims)
def test_no_decode_step_gets_faster_with_more_keys_or_sequences(
    device: str, keys: list[int], batch: list[int], of: tuple[int, int], size: int
) -> None:
    grid = {"batch": np.sort(batch)[:, None], "keys": np.sort(keys), "tokens": 1}
    shape = {"heads": of[0], "kv_heads": of[1], "head_dim": size}
    kernel = roofline.attention_time(device, **grid, **shape, dtype=SIXTEEN_BIT[device])
    assert_never_falls(kernel, axis=0)
    assert_never_falls(kernel, axis=1)


@few
@given(st.sampled_from(DEVICES), st.integers(2, 9000), st.integers(1, 9), heads)
@example("l4", 2, 1, (32, 8))  # decode of a few keys takes longer than their prefill
def test_more_of_a_prompt_to_the_same_keys_is_never_faster(
    device: str, keys: int, batch: int, of: tuple[int, int]
) -> None:
    tokens = np.unique(np.geomspace(1, keys, 40).astype(int))
    kernel = roofline.attention_time(
        device, batch, tokens, *of, 128, keys=keys, dtype=SIXTEEN_BIT[device]
    )
    assert_never_falls(kernel)


@few
@given(st.sampled_from(DEVICES), st.integers(2, 3000), counts, head_dims, st.booleans())
def test_no_attention_to_keys_in_a_cache_gets_faster_with_more_of_them(
    device: str, tokens: int, keys: list[int], size: int, causal: bool
) -> None:
    """As many as queries among them and, where nothing is masked, fewer."""
    all_keys = np.sort([*keys, tokens, tokens + 1, 1, tokens // 2])
    all_keys = np.maximum(all_keys, tokens if causal else 1)
    shape = {"heads": 16, "kv_heads": 16, "head_dim": size, "causal": causal}
    for queries in (tokens, np.array([1, 2, tokens])[:, None]):
        kernel = roofline.attention_time(
            device, 2, queries, **shape, keys=all_keys, dtype=SIXTEEN_BIT[device]
        )
        assert_never_falls(kernel, axis=-1)
    assert_never_falls(kernel, axis=0)


@pytest.mark.parametrize("device", ["a100-80gb", "a40", "t4"])
def test_a_prompt_is_timed_with_its_keys_as_without_where_one_query_takes_less(device: str) -> None:
    prompt = {"tokens": 4096, "heads": 32, "kv_heads": 32, "head_dim": 128}
    dtype = SIXTEEN_BIT[device]
    alone = roofline.attention_time(device, 1, **prompt, dtype=dtype)
    given_keys = roofline.attention_time(device, 1, **prompt, keys=4096, dtype=dtype)
    assert given_keys.attainable_time_s == alone.attainable_time_s


def test_many_queries_to_few_keys_take_as_long_as_their_own_number_says() -> None:
    """Nothing is masked between a picture and a text: there may be fewer keys than queries."""
    shape = {"heads": 16, "kv_heads": 16, "head_dim": 128, "causal": False}
    few, many = (
        roofline.attention_time("h100", 8, n, **shape, keys=16).attainable_time_s
        for n in (16, 8192)
    )
    square = roofline.attention_time("h100", 8, 8192, **shape).attainable_time_s
    assert 5 * few < many < square / 5


def assert_never_falls(kernel: KernelTime, axis: int = 0) -> None:
    times = kernel.attainable_time_s
    assert times is not None
    steps = np.diff(times, axis=axis)
    assert (steps >= -1e-9 * times.max()).all()


def test_a_device_without_laws_has_its_bound() -> None:
    kernel = roofline.matmul_time("xeon", 80, 4096, 4096)

    assert kernel.roofline_time_s > 0
    assert kernel.attainable_time_s is kernel.origin is kernel.p90_error_percent is None
    assert roofline.attention_time("xeon", 1, 80, 32, 32, 128).attainable_time_s is None


def test_it_says_whose_law_it_is() -> None:
    assert roofline.matmul_time("a100", 80, 4096, 4096).origin == "fitted"
    assert roofline.matmul_time("a40", 80, 4096, 4096).origin == "typical"
    a100 = load_hardware("a100")
    here = replace(a100, kernel_laws=replace(a100.kernel_laws, origin="measured"))
    assert roofline.matmul_time(here, 80, 4096, 4096).origin == "measured"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roofline.matmul_time("a100", 0, 1, 1), "m must be finite and above zero"),
        (lambda: roofline.matmul_time("a100", 1, np.nan, 1), "n must be finite and above zero"),
        (lambda: roofline.matmul_time("a100", [4, 0], 1, 1), "m must be finite and above zero"),
        (lambda: roofline.matmul_time("a100", 1, 1, "x"), "k must be a number"),
        (lambda: roofline.matmul_time("a100", [1, 2], [1, 2, 3], 1), "do not broadcast"),
        (lambda: roofline.matmul_time("a100", 1, 1, 1, "int3"), "choose one of fp32, tf32, fp16"),
        (lambda: roofline.matmul_time("v100", 1, 1, 1), "v100 has no bf16 .* fp32, fp16, int8"),
        (lambda: roofline.matmul_time("a1000", 1, 1, 1), "did you mean"),
        (lambda: roofline.attention_time("a100", 1, 8, 32, 5, 128), "multiple of kv_heads"),
        (lambda: roofline.attention_time("a100", 1, 8, [32, 33], 8, 128), "multiple of kv_heads"),
        (lambda: roofline.attention_time("a100", 1, 8, 32, 8, -1), "head_dim must be finite"),
        (lambda: roofline.attention_time("a100", 1, 8, 32, 8, 64, dtype="int3"), "no attention in"),
        (
            lambda: roofline.attention_time("h100", 1, 8, 32, 8, 64, dtype="fp32", kv_dtype="fp8"),
            "no attention of fp32 queries to 'fp8' keys: leave kv_dtype out",
        ),
        (
            lambda: roofline.attention_time("h100", 1, 8, 32, 8, 64, kv_dtype="int3"),  # type: ignore[arg-type]
            "no attention of bf16 queries to 'int3' keys",
        ),
        (
            lambda: roofline.attention_time("a100", 1, [4, 9], 32, 8, 64, keys=8),
            "as many keys as tokens, or more",
        ),
    ],
)
def test_errors_are_one_line_that_names_the_remedy(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_types_that_a_caller_may_name_are_those_that_there_are() -> None:
    assert set(get_args(KernelType)) == set(MATMUL_KERNELS) | set(OTHER_NAMES)
