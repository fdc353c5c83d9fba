"""Which roofs a kernel runs under, how wide its operands are, and what a bare file stands for."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import bare
from msgspec.structs import replace

import roofline
from roofline.device.kernel_types import MATMUL_KERNELS, kernel_roof
from roofline.device.peaks import ComponentPeaks
from roofline.device.roof import Roof
from roofline.errors import UnsupportedModeError
from roofline.specs.catalog import load_hardware
from roofline.specs.sourced import Peak


@pytest.mark.parametrize(
    ("kernel", "group", "bits", "scale_bits"),
    [("fp4", 16, 4, 8), ("w4a16", 128, 4, 16), ("fp8", 1, 8, 0), ("w8a16", 1, 8, 0)],
)
def test_weights_are_as_wide_as_a_group_of_them_with_its_scale(
    kernel: str, group: int, bits: int, scale_bits: int
) -> None:
    assert group * MATMUL_KERNELS[kernel].weight == (group * bits + scale_bits) / 8


@pytest.mark.parametrize(
    ("dtype", "peak", "weight", "given", "result"),
    [
        ("fp8", 4500e12, 1, 1, 2),
        ("w8a8", 4500e12, 1, 1, 2),
        ("nvfp4", 9000e12, 9 / 16, 9 / 16, 2),  # 16 of them in 9 bytes
    ],
)
@pytest.mark.parametrize("m", [16, 16384])
def test_the_bound_of_narrow_matmuls_is_that_of_the_data_sheet(
    dtype: str, peak: float, weight: float, given: float, result: float, m: int
) -> None:
    n, k = 11008, 8192
    moved = weight * n * k + given * m * k + result * m * n
    kernel = roofline.matmul_time(bare("b200"), m, n, k, dtype)
    cached = min(moved, 126 * 2**20)  # 148 SMs ask for 64 bytes a clock each
    moving = (moved - cached) / 8000e9 + cached / (148 * 64 * 1860e6)
    np.testing.assert_allclose(
        kernel.roofline_time_s, max(2 * m * n * k / peak, moving), rtol=1e-12
    )


@pytest.mark.parametrize(("dtype", "width"), [("fp32", 4), ("fp16", 2), ("bf16", 2), ("fp8", 1)])
def test_attention_moves_its_operands_in_their_type(dtype: str, width: int) -> None:
    # 2 sequences of 4 tokens: q and the output of 32 heads, k and v of 8, 128 each
    kernel = roofline.attention_time(bare("h100-sxm"), 2, 4, 32, 8, 128, dtype=dtype)
    np.testing.assert_allclose(
        kernel.roofline_time_s, width * 2 * 4 * 128 * (2 * 32 + 2 * 8) / 9770e9, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", ["w4a16", "w8a16", "w8a8", "int8"])
def test_attention_beside_quantized_matmuls_is_in_16_bits(dtype: str) -> None:
    for device, sixteen in (("a100", "bf16"), ("v100", "fp16")):
        named, plain = (
            roofline.attention_time(device, 1, 80, 32, 32, 128, dtype=name).attainable_time_s
            for name in (dtype, sixteen)
        )
        assert named == plain


def test_a_kernel_computes_in_the_first_type_that_the_device_has() -> None:
    a100, v100 = load_hardware("a100"), load_hardware("v100")
    fp8_alone = replace(
        a100,
        matmul_peaks=replace(a100.matmul_peaks, int8_tops=None, fp8_tflops=peak(700.0)),
    )
    assert kernel_roof(a100, "w8a8").flops_per_s == 624e12
    assert kernel_roof(fp8_alone, "w8a8").flops_per_s == 700e12
    assert kernel_roof(a100, "w4a16").flops_per_s == 312e12
    assert kernel_roof(v100, "w4a16").flops_per_s == v100_fp16()
    message = r"^v100 has no bf16 matmul peak, which bf16 kernels need; it has fp32, fp16$"
    with pytest.raises(UnsupportedModeError, match=message):
        kernel_roof(replace(v100, matmul_peaks=replace(v100.matmul_peaks, int8_tops=None)), "bf16")


def peak(value: float) -> Peak:
    return Peak(value=value, source="datasheet")


def v100_fp16() -> float:
    found = load_hardware("v100").matmul_peaks.fp16_tflops
    assert found is not None
    return found.value * 1e12


def test_a_roof_has_what_the_file_says_and_a_unit_without_cache_where_it_says_nothing() -> None:
    a100 = load_hardware("a100")
    peak_and_dram = 312e12, 2039e9
    cache = {"cache_bytes": 40 * 2**20, "cache_bytes_per_s": 5400e9}
    assert Roof.of(a100, "bf16") == Roof(*peak_and_dram, units=108, **cache)
    nothing = replace(a100, sm_count=None, l2_cache_mib=None, l2_bandwidth_gb_per_s=None)
    assert Roof.of(nothing, "bf16") == Roof(*peak_and_dram, units=1, cache_bytes=0)
    with pytest.raises(UnsupportedModeError, match="a100-80gb has no fp8 matmul peak"):
        Roof.of(a100, "fp8")


def test_the_bound_is_the_slower_of_computing_and_moving() -> None:
    roof = Roof(flops_per_s=100.0, bytes_per_s=10.0, units=1, cache_bytes=0)
    assert list(roof.seconds([200.0, 200.0], [10.0, 50.0])) == [2.0, 5.0]  # type: ignore[arg-type]


def test_what_the_cache_holds_may_come_from_there() -> None:
    roof = Roof(100.0, 10.0, units=1, cache_bytes=20.0, cache_bytes_per_s=40.0)
    times = roof.seconds(0.0, np.array([8.0, 20.0, 50.0]))
    assert times.tolist() == pytest.approx([0.2, 0.5, 3.5], rel=1e-12)
    assert roof.of_dram.seconds(0.0, np.array([8.0, 50.0])).tolist() == [0.8, 5.0]
    assert roof.of_dram.of_one_kernel == roof
    slow = replace(roof, cache_bytes_per_s=5.0)  # slower than what it caches it bounds nothing
    assert slow.seconds(0.0, np.array([8.0])).tolist() == [0.8]


def test_a_cache_of_unknown_bandwidth_is_as_fast_as_the_units_can_ask() -> None:
    a100 = replace(load_hardware("a100"), l2_bandwidth_gb_per_s=None)
    assert Roof.of(a100, "bf16").cache_bytes_per_s == 108 * 64 * 1410e6
    assert Roof.of(replace(a100, boost_clock_mhz=None), "bf16").cache_bytes_per_s == 0
    assert Roof.of(replace(a100, kind="cpu"), "bf16").cache_bytes_per_s == 0


def test_a_ridge_point_is_flops_over_bytes() -> None:
    a100 = load_hardware("a100")
    peaks = ComponentPeaks(*("bf16", peak(300.0), "fp16", peak(150.0)), 20e12, 2e12, hardware=a100)
    assert peaks.ridge_point == 150
    assert [peaks.flops_per_s(unit) for unit in ("matmul", "attention", "vector")] == [
        *(300e12, 150e12, 20e12)
    ]
    assert peaks.per_s("tensor", "attention") == 150e12
    assert peaks.per_s("vector", "matmul") == 20e12
    assert peaks.per_s("dram", "matmul") == 2039e9
