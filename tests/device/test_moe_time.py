"""Times of mixture-of-experts layers: the bound by hand, laws of a device, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_laws import MOE
from msgspec.structs import replace

import roofline
from roofline.device.borrowed import borrowing_errors
from roofline.device.laws.moe import MoeLaw
from roofline.errors import InputError
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware

QWEN = {"hidden": 2048, "intermediate": 768, "experts": 128, "top_k": 8}


def with_laws(**laws: MoeLaw) -> Hardware:
    device = load_hardware("h100")
    assert device.kernel_laws is not None
    return replace(device, kernel_laws=device.kernel_laws.updated(moe=laws))


def test_the_bound_counts_weights_of_touched_experts_and_flops() -> None:
    one, many = roofline.moe_time("h100", [1, 16384], **QWEN).roofline_time_s
    # 8 experts of 3 matrices of 2048 x 768 in 2 bytes, and a token in and out: 75 MB, of which
    # 50 MiB may lie in the cache from an earlier run
    moved, cached = 8 * 3 * 2048 * 768 * 2 + 4 * 2048, 50 * 2**20
    np.testing.assert_allclose(one, (moved - cached) / 3350e9 + cached / 9770e9, rtol=1e-12)
    np.testing.assert_allclose(many, 6 * 16384 * 8 * 2048 * 768 / 989e12, rtol=1e-12)


def test_without_gate_two_matrices_are_left() -> None:
    gated, plain = (
        roofline.moe_time("h100", 10**5, **QWEN, gated=gated).roofline_time_s
        for gated in (True, False)
    )
    np.testing.assert_allclose(plain / gated, 2 / 3, rtol=1e-12)


def test_narrow_weights_take_fewer_bytes() -> None:
    """Half as many, of a device whose cache holds none."""
    device = replace(load_hardware("h100"), l2_cache_mib=None)
    times = [
        roofline.moe_time(device, 16, **QWEN, dtype=t).roofline_time_s for t in ("bf16", "fp8")
    ]
    assert times[0] / times[1] == pytest.approx(2, rel=0.01)


def test_laws_of_the_type_go_before_those_of_others() -> None:
    device = with_laws(bf16=MOE, fp8=replace(MOE, launch_us=500.0))
    bf16, fp16, fp8, w8a16 = (
        roofline.moe_time(device, 64, **QWEN, dtype=t) for t in ("bf16", "fp16", "fp8", "w8a16")
    )

    assert fp8.attainable_time_s is not None
    assert fp8.attainable_time_s > 500e-6
    assert bf16.attainable_time_s == fp16.attainable_time_s
    assert [kernel.origin for kernel in (bf16, fp16, fp8, w8a16)] == [*["fitted"] * 3, "typical"]
    assert bf16.p90_error_percent == 0.0
    assert w8a16.p90_error_percent == borrowing_errors().narrow_type["moe"].p90_percent > 50
    for kernel in (bf16, fp16, fp8, w8a16):
        assert kernel.attainable_time_s is not None
        assert kernel.attainable_time_s >= kernel.roofline_time_s


def test_says_what_the_law_is_off() -> None:
    law = replace(
        MOE,
        median_error_percent=4.0,
        p90_error_percent=12.0,
        p90_other_library_error_percent=40.0,
    )
    kernel = roofline.moe_time(with_laws(bf16=law), np.ones((3, 1)), **QWEN | {"top_k": [1, 8]})
    assert kernel.attainable_time_s is not None
    assert kernel.attainable_time_s.shape == (3, 2)
    assert kernel.median_error_percent == 4.0
    assert kernel.p90_error_percent == 12.0
    assert kernel.p90_other_library_error_percent == 40.0


def test_a_device_without_laws_has_a_bound_alone() -> None:
    kernel = roofline.moe_time("xeon-8480", 1, **QWEN)
    assert kernel.attainable_time_s is None
    assert kernel.roofline_time_s > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 129}, "top_k must not be above experts"),
        ({"experts": 0}, "experts must be finite and above zero"),
        ({"hidden": "wide"}, "hidden must be a number"),
        ({"hidden": [1, 2], "experts": [8, 9, 10]}, "sizes do not broadcast"),
        ({"dtype": "int3"}, "no experts in 'int3'"),
    ],
)
def test_refuses_what_is_no_layer(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        roofline.moe_time("h100", 1, **QWEN | change)
