"""A fit of mixture-of-experts MLPs finds again what made its table, and knows other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_laws import CURVED_MOE, ROOF, experts_seconds
from made_up import device, figure, peaks

from roofline.device.kernel_types import MATMUL_KERNELS
from roofline.device.laws.moe import MoeLaw
from roofline.fitting import FitError, fit_moe, moe
from roofline.fitting.device import fit_device
from roofline.specs.catalog import load_hardware

BF16 = MATMUL_KERNELS["bf16"]


def table(slower: float = 1.0, **columns: Any) -> dict[str, Any]:
    shapes = [
        (hidden, inner, experts, top_k)
        for hidden in (1024, 4096)
        for inner in (96, 768, 4096)
        for experts, top_k in ((8, 2), (128, 8))
    ]
    tokens = 4.0 ** np.arange(8)
    rows = [(t, *shape) for shape in shapes for t in tokens]
    times = [experts_seconds(CURVED_MOE, *row) for row in rows]
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(len(rows)))
    names = ("num_tokens", "hidden_size", "inter_size", "num_experts", "topk")
    data: dict[str, Any] = dict(zip(names, np.array(rows).T, strict=True))
    data["time_ms"] = 1e3 * slower * np.array(times) * noise * 1.03
    return data | {name: np.full(len(rows), value) for name, value in columns.items()}


def joined(*tables: dict[str, Any]) -> dict[str, Any]:
    return {name: np.concatenate([one[name] for one in tables]) for name in tables[0]}


@pytest.fixture(scope="module")
def law() -> MoeLaw:
    return fit_moe(table(), ROOF, BF16)


@pytest.fixture
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """For which rows a fit takes: how near it comes is found out from all starts above."""
    monkeypatch.setattr(moe, "STARTS", moe.STARTS[:1])


def test_finds_a_law_again(law: MoeLaw) -> None:
    assert law.rows == 96
    assert law.library == ""
    assert law.median_other_library_error_percent is None
    fitted, true = (experts_seconds(which, np.array([1.0, 50, 3000]), 4096, 768, 128, 8)
                    for which in (law, CURVED_MOE))  # fmt: skip
    np.testing.assert_allclose(fitted, true, rtol=0.12)
    # whole shapes of twelve are held out in turn
    assert law.median_error_percent < 30


def test_a_fit_predicts_what_its_law_says() -> None:
    data = moe._MoeTimes.of(table(), ROOF, BF16)
    fit = moe._MoeFit(data, moe.START)
    scatter = np.random.default_rng(1).standard_normal(fit.start.size)
    x = fit.start + 0.3 * fit.spread * scatter

    np.testing.assert_allclose(np.exp(fit.logarithm(x, None)), data.predict(fit.law(x)), rtol=1e-12)


@pytest.mark.usefixtures("one_start")
def test_the_library_with_most_rows_counts_and_the_others_tell_an_error() -> None:
    few = {name: column[::2] for name, column in table(1.5, source="other 9.0").items()}
    rows = pd.DataFrame(joined(few, table(source="mine 1.0"))).assign(dtype="bf16")
    # of `ROOF`
    hardware = device(
        matmul_peaks=peaks(bf16_tflops=100),
        memory_bandwidth_gb_per_s=figure(1000),
        sm_count=figure(100),
        l2_cache_mib=figure(4e7 / 2**20),
    )
    law = fit_device(hardware, {"moe": rows}, source="test", date="2026-01-01").of(MoeLaw)["bf16"]

    assert law.library == "mine 1.0"
    assert law.rows == 96
    assert law.median_other_library_error_percent == pytest.approx(100 * (1 - 1 / 1.5), abs=5)


def test_devices_share_an_expert_and_a_fit_repeats(law: MoeLaw) -> None:
    whole = table()
    shared = whole | {
        "inter_size": 4 * whole["inter_size"],
        "moe_tp_size": np.full(len(whole["time_ms"]), 4),
    }
    assert fit_moe(shared, ROOF, BF16) == law


@pytest.mark.usefixtures("one_start")
def test_a_few_rows_that_beat_the_roof_are_left_out_and_many_refused() -> None:
    data = table()
    data["time_ms"][-1] /= 50
    assert fit_moe(data, ROOF, BF16).rows == 95
    with pytest.raises(FitError, match="times the device's peak"):
        fit_moe(data | {"time_ms": data["time_ms"] / 100}, ROOF, BF16)


def test_refuses_too_few_rows() -> None:
    few = {name: column[:10] for name, column in table().items()}
    with pytest.raises(FitError, match="10 measurements are too few"):
        fit_moe(few, ROOF, BF16)


def test_a_type_that_no_matmul_has_is_named() -> None:
    rows = pd.DataFrame(table()).assign(dtype="int3")
    with pytest.raises(FitError, match=r"^moe int3: dtype must be one of .*bf16.*fp8"):
        fit_device(load_hardware("h100-sxm"), {"moe": rows}, source="datasheet", date="2026-01-01")
