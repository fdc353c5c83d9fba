"""Fits of matmul laws: what a law made, a fit finds again; and what no kernel can do is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.laws import Roof, matmul_seconds
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.errors import InputError
from roofline.fitting import FitError, fit_matmul, matmul
from roofline.fitting.rows import held_out

GPU_ROOF = Roof(flops_per_s=3e14, bytes_per_s=2e12, units=108, cache_bytes=4e7)
CPU_ROOF = Roof(flops_per_s=2e11, bytes_per_s=2e10, units=2, cache_bytes=0.0)
FIT = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}
GPU_TRUTH = MatmulLaw(
    **FIT,
    launch_us=4.0,
    tiles=(
        Tile(rows=16, columns=64, efficiency=0.3),
        Tile(rows=128, columns=128, efficiency=0.7),
        Tile(rows=128, columns=256, efficiency=0.85, reluctance=0.05),
    ),
    bandwidth_fraction=0.85,
    starvation=0.1,
    fill_k=150.0,
    wave_share=0.9,
    wave_overhead=0.05,
    splits=(1, 2, 4),
    split_us=2.0,
    split_bandwidth_ratio=2.0,
    feed_bandwidth_ratio=4.0,
)
CPU_TRUTH = MatmulLaw(
    **FIT,
    launch_us=6.0,
    tiles=(
        Tile(rows=1, columns=16, efficiency=0.15),
        Tile(rows=16, columns=64, efficiency=0.8),
    ),
    bandwidth_fraction=0.7,
    fill_k=40.0,
    packing_passes=0.8,
)


def measured(
    law: MatmulLaw, roof: Roof, sizes: list[int], rows: list[int], width: int, noise: float
) -> dict[str, Any]:
    """A table of times that follow a law, but for noise."""
    m, n, k = (a.ravel() for a in np.meshgrid(rows, sizes, sizes, indexing="ij"))
    bytes_of = {"weight_bytes": width * n * k, "activation_bytes": width * m * (n + k)}
    seconds = matmul_seconds(law, roof, m, n, k, **bytes_of)
    scatter = np.exp(noise * np.random.default_rng(0).standard_normal(m.size))
    return {"m": m, "n": n, "k": k, "time_ms": np.maximum(seconds * scatter, 0) * 1e3}


GPU_TABLE = measured(
    GPU_TRUTH,
    GPU_ROOF,
    [512, 1024, 1536, 2048, 3072, 4096, 8192],
    [1, 16, 80, 192, 616, 2048],
    2,
    0.02,
)
CPU_TABLE = measured(CPU_TRUTH, CPU_ROOF, [256, 768, 2048], [1, 4, 16, 64, 512], 4, 0.04)


def errors(law: MatmulLaw, truth: MatmulLaw, roof: Roof, width: int, m: Any) -> Any:
    """Relative errors on shapes between those of the table."""
    n, k = np.array([640.0, 2560.0, 6144.0])[:, None], np.array([896.0, 3584.0])[:, None, None]
    sizes = {"weight_bytes": width * n * k, "activation_bytes": width * m * (n + k)}
    fitted, true = (matmul_seconds(which, roof, m, n, k, **sizes) for which in (law, truth))
    return np.abs(fitted / true - 1)


def test_finds_a_gpu_law_again() -> None:
    law = fit_matmul(GPU_TABLE, GPU_ROOF)
    assert law.rows == 7 * 7 * 6
    off = errors(law, GPU_TRUTH, GPU_ROOF, 2, np.array([1.0, 24, 96, 400, 1000, 4096]))
    assert np.median(off) < 0.06
    assert law.median_error_percent < 6
    assert law.launch_us == pytest.approx(4.0, rel=0.3)
    assert law.bandwidth_fraction == pytest.approx(0.85, rel=0.15)


def test_finds_a_cpu_law_from_45_noisy_points() -> None:
    law = fit_matmul(CPU_TABLE, CPU_ROOF, kernel="fp32", kind="cpu")
    off = errors(law, CPU_TRUTH, CPU_ROOF, 4, np.array([1.0, 16, 80, 616]))
    assert np.median(off) < 0.06
    assert off.max() < 0.25
    assert not law.corrections


def test_the_order_of_rows_does_not_matter_and_a_fit_repeats() -> None:
    law = fit_matmul(CPU_TABLE, CPU_ROOF, kernel="fp32", kind="cpu")
    assert fit_matmul(CPU_TABLE, CPU_ROOF, kernel="fp32", kind="cpu") == law
    turned = {name: column[::-1] for name, column in CPU_TABLE.items()}
    again = fit_matmul(turned, CPU_ROOF, kernel="fp32", kind="cpu")
    assert again.launch_us == pytest.approx(law.launch_us, rel=0.01)


def test_one_odd_kernel_bends_nothing() -> None:
    times = CPU_TABLE["time_ms"].copy()
    times[20] *= 5
    bent = fit_matmul({**CPU_TABLE, "time_ms": times}, CPU_ROOF, kernel="fp32", kind="cpu")
    off = errors(bent, CPU_TRUTH, CPU_ROOF, 4, np.array([1.0, 16, 80, 616]))
    assert np.median(off) < 0.08


def test_the_library_with_most_rows_counts() -> None:
    both = {name: np.concatenate([column, column[:9]]) for name, column in CPU_TABLE.items()}
    both["time_ms"] = np.concatenate([CPU_TABLE["time_ms"], 3 * CPU_TABLE["time_ms"][:9]])
    both["source"] = np.array(["one"] * 45 + ["other"] * 9)
    alone = fit_matmul(CPU_TABLE, CPU_ROOF, kernel="fp32", kind="cpu")
    assert fit_matmul(both, CPU_ROOF, kernel="fp32", kind="cpu") == alone


def spoilt(column: str, row: int, value: float) -> dict[str, Any]:
    table = {name: values.astype(float).copy() for name, values in CPU_TABLE.items()}
    table[column][row] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({name: column[:19] for name, column in CPU_TABLE.items()}, "19 measurements are too few"),
        ({name: CPU_TABLE[name] for name in ("m", "n", "k")}, "lack the columns time_ms"),
        (spoilt("time_ms", 7, float("nan")), "row 7 of the measurements has time_ms nan"),
        (spoilt("time_ms", 7, -1.0), "row 7 of the measurements has time_ms -1"),
        (spoilt("m", 3, 0.0), "row 3 of the measurements has m 0"),
        (spoilt("time_ms", 44, 1e-3), "row 44 .* times the device's peak FLOP/s"),
        (spoilt("time_ms", 8, 0.05), "row 8 .* times the device's peak DRAM bandwidth"),
        ({**CPU_TABLE, "time_ms": CPU_TABLE["time_ms"] * 1e4}, "times the roofline"),
        ({**CPU_TABLE, "time_ms": ["soon"] * 45}, "has time_ms 'soon', no number"),
    ],
)
def test_refuses_in_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message) as caught:
        fit_matmul(table, CPU_ROOF, kernel="fp32", kind="cpu")
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


def test_refuses_a_kernel_it_knows_no_widths_of() -> None:
    with pytest.raises(FitError, match="no matmul kernel 'int3'"):
        fit_matmul(CPU_TABLE, CPU_ROOF, kernel="int3")


class AcceptedError(Exception):
    """Nothing more is asked of a table."""


@pytest.mark.parametrize(
    ("kernel", "faster", "refused"),
    [("w8a16", 1.25, None), ("w8a16", 2.5, 1.25), ("bf16", 1.25, 1.25)],
)
def test_8_bits_are_twice_as_fast_as_16_and_no_faster(
    monkeypatch: pytest.MonkeyPatch, kernel: str, faster: float, refused: float | None
) -> None:
    """Weight-only kernels may quantize their inputs after all."""
    monkeypatch.setattr(matmul, "_most_promising", accept)
    m, n, k = (float(CPU_TABLE[name][-1]) for name in ("m", "n", "k"))
    table = spoilt("time_ms", 44, 1e3 * 2 * m * n * k / CPU_ROOF.flops_per_s / faster)
    message = rf"row 44 .* {refused} times the device's peak FLOP/s" if refused else None
    with pytest.raises(FitError if refused else AcceptedError, match=message):
        fit_matmul(table, CPU_ROOF, kernel=kernel, kind="cpu")


def accept(*arguments: Any) -> None:
    raise AcceptedError


@pytest.mark.parametrize("faster", [1.05, 1.15])
def test_traffic_is_that_of_weights_and_activations(
    monkeypatch: pytest.MonkeyPatch, faster: float
) -> None:
    monkeypatch.setattr(matmul, "_most_promising", accept)
    # 8 rows of 16 and 16 × 16 weights in 4 bytes: 1024 of weights, 512 in and 512 out
    moved = np.full(20, 1024 + 512 + 512)
    table = {"m": np.full(20, 8), "n": np.full(20, 16), "k": np.full(20, 16)}
    seconds = moved / CPU_ROOF.bytes_per_s / faster
    message = r"1\.15 times the device's peak DRAM bandwidth" if faster > 1.1 else None
    with pytest.raises(FitError if faster > 1.1 else AcceptedError, match=message):
        fit_matmul({**table, "time_ms": 1e3 * seconds}, CPU_ROOF, kernel="fp32", kind="cpu")


def test_a_gpu_law_with_limits_of_rows_is_found_again() -> None:
    truth = replace(
        GPU_TRUTH,
        tiles=(
            Tile(rows=16, columns=64, efficiency=0.3, m_up_to=64),
            Tile(rows=128, columns=128, efficiency=0.8, m_over=64),
        ),
        splits=(1,),
        split_us=0.0,
        split_bandwidth_ratio=None,
        quantizing_passes=2.0,
        quantizing_row_ns=6.0,
        quantizing_k_ns=0.5,
    )
    sizes, rows = [512, 1024, 1536, 2048, 3072, 4096, 8192], [1, 16, 64, 80, 192, 616, 2048]
    law = fit_matmul(measured(truth, GPU_ROOF, sizes, rows, 1, 0.02), GPU_ROOF, kernel="fp8")
    assert law.median_error_percent < 7
    assert law.quantizing_row_ns == pytest.approx(6.0, rel=0.3)


def test_few_shapes_are_each_held_out() -> None:
    n, k = np.repeat([1.0, 2.0, 2.0], 5), np.repeat([1.0, 1.0, 3.0], 5)
    tests = held_out(n, k)
    np.testing.assert_array_equal(np.stack(tests).sum(axis=0), 1)
    assert all(len(set(zip(n[test], k[test], strict=True))) == 1 for test in tests)


def test_of_many_shapes_about_a_quarter_is_held_out() -> None:
    n = np.tile(np.arange(1.0, 401.0), 3)
    (test,) = held_out(n)
    assert 0.15 < test.mean() < 0.35
    for shape in (1.0, 2.0, 77.0):
        assert len(set(test[n == shape])) == 1
    assert (held_out(n[::-1])[0] == test[::-1]).all()


def test_refuses_measurements_of_one_shape() -> None:
    one = {name: np.resize(column[:1], 20) for name, column in CPU_TABLE.items()}
    with pytest.raises(FitError, match="all measurements are of one shape"):
        fit_matmul(one, CPU_ROOF, kernel="fp32", kind="cpu")


def test_the_error_of_few_shapes_is_that_of_the_noise() -> None:
    # 9 shapes with 4 % noise: median |normal| is 0.67 of it
    law = fit_matmul(CPU_TABLE, CPU_ROOF, kernel="fp32", kind="cpu")
    assert 1.5 < law.median_error_percent < 6
    assert law.p90_error_percent > law.median_error_percent
