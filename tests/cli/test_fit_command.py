"""`roofline fit`: from a table of measured kernels to a device that `analyze` takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import roofline
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.fitting import tables

Call = Callable[..., Any]
TENSOR_FLOPS_PER_S, BYTES_PER_S = 65e12, 320e9
"""Of a T4, from its data sheet."""


def slow_matmuls(hardware: str = "t4", factor: float = 2.0) -> pd.DataFrame:
    """Matmuls that take twice their bound and 5 µs."""
    m, n, k = (
        a.ravel()
        for a in np.meshgrid([1, 80, 1024], [512, 1024, 2048, 3072, 4096], [512, 1024, 4096])
    )
    bytes_ = 2 * (m * k + n * k + m * n)
    bound = np.maximum(2 * m * n * k / TENSOR_FLOPS_PER_S, bytes_ / BYTES_PER_S)
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(m.size))
    return pd.DataFrame(
        {
            "hardware": hardware,
            "dtype": "fp16",
            "m": m,
            "n": n,
            "k": k,
            "time_ms": 1e3 * (factor * bound * noise + 5e-6),
        }
    )


def saved(table: pd.DataFrame, name: str = "kernels.csv") -> str:
    if name.endswith("parquet"):
        table.to_parquet(name)
    else:
        table.to_csv(name, index=False)
    return name


def fit(call: Call, *files: str, hw: str = "t4", output: str = "mine.yaml", **options: str) -> Any:
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return call("fit", *files, "--hw", hw, "-o", output, "--date", "2026-01-01", *flags)


@pytest.mark.parametrize("name", ["kernels.csv", "kernels.parquet"])
def test_a_fitted_device_predicts_what_was_measured(call: Call, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    table = slow_matmuls()
    result = fit(call, saved(table, name))

    assert result.code == 0, result.err
    assert re.search(r"^matmul +fp16 +- +45 ", result.out, re.M)
    kernel = roofline.matmul_time("mine.yaml", table.m, table.n, table.k, "fp16")
    off = np.abs(kernel.attainable_time_s * 1e3 / table.time_ms - 1)
    assert np.median(off) < 0.05
    assert kernel.origin == "fitted"
    # a shape that lies between those measured: twice its bound and 5 µs
    between = roofline.matmul_time("mine.yaml", 512, 3072, 3072, "fp16")
    assert between.attainable_time_s == pytest.approx(2 * between.roofline_time_s + 5e-6, rel=0.15)


def test_the_file_says_what_it_was_fitted_to(call: Call) -> None:
    fit(call, saved(slow_matmuls()), source="our lab, driver 1")
    laws = yaml.safe_load(Path("mine.yaml").read_text(encoding="utf-8"))
    section = laws["kernel_laws"]

    said = laws["sources"][section["source"]]
    assert said.startswith("our lab, driver 1; other kernels: Baidu DeepBench")  # its fp32
    assert section["origin"] == "fitted"
    assert section["date"] == "2026-01-01; other kernels: 2019"
    assert section["matmul"]["fp16"]["rows"] == 45
    assert 0 <= section["matmul"]["fp16"]["median_error_percent"] < 20
    # the rest of the device is that of the base
    assert laws["matmul_peaks"]["fp16_tflops"]["value"] == 65


def test_it_is_deterministic(call: Call) -> None:
    table = saved(slow_matmuls())
    fit(call, table)
    fit(call, table, output="again.yaml")

    assert Path("mine.yaml").read_bytes() == Path("again.yaml").read_bytes()


def test_analyze_takes_it(call: Call) -> None:
    fit(call, saved(slow_matmuls()))
    command = ("analyze", "--model", "vicuna-7b", "--visual-tokens", "40", "--hw", "mine.yaml")
    result = call(*command)

    assert result.code == 0
    assert "fitted from public measurements" in result.out
    # nobody measured attention on a T4
    assert "typical for this architecture" in " ".join(result.out.split())


def test_rows_of_other_hardware_are_counted_and_left_out(call: Call) -> None:
    both = pd.concat([slow_matmuls(), slow_matmuls("v100-sxm2-16gb", factor=9.0)])
    result = fit(call, saved(both))

    assert "45 rows of other hardware were left out." in result.out
    assert re.search(r"^matmul +fp16 +- +45 ", result.out, re.M)


def test_hardware_picks_the_rows_of_another_name(call: Call) -> None:
    table = saved(slow_matmuls("the-cluster"))
    refused = fit(call, table)

    assert refused.code == 2
    assert "the hardware measured is the-cluster: name one of them with --hardware" in refused.err
    assert fit(call, table, hardware="the-cluster").code == 0


def test_the_table_of_a_calibration_is_of_that_form(call: Call) -> None:
    matmuls = slow_matmuls().drop(columns="hardware").assign(op="matmul")
    matmuls["time_s"] = matmuls.pop("time_ms") / 1e3
    size = 2.0 ** np.arange(14, 28)
    vector = pd.DataFrame(
        {
            "op": "pointwise",
            "function": "residual",
            "dtype": "fp16",
            "bytes": size,
            "time_s": 8e-6 + size / 250e9,
        }
    )
    copies = pd.DataFrame({"op": ["copy"], "bytes": [1e9], "time_s": [4e-3]})
    result = fit(call, saved(pd.concat([matmuls, vector, copies])))

    assert result.code == 0, result.err
    law = roofline.load_hardware("mine.yaml").kernel_laws.of(PointwiseLaw)["residual"]
    assert law.rows == 14
    assert law.launch_us == pytest.approx(8, rel=0.1)
    assert law.bandwidth_gb_per_s == pytest.approx(250, rel=0.05)
    assert roofline.load_hardware("mine.yaml").kernel_laws.of(PointwiseLaw)["default"] == law


def test_laws_of_what_is_not_in_the_table_are_kept(call: Call) -> None:
    fit(call, saved(slow_matmuls(factor=30.0).assign(dtype="fp32")))
    fit(call, saved(slow_matmuls(), "more.csv"), hw="mine.yaml", output="both.yaml")

    both = roofline.load_hardware("both.yaml")
    assert set(both.kernel_laws.of(MatmulLaw)) == {"fp16", "fp32"}
    assert both.sources["kernels"].startswith("more.csv; other kernels: ")
    assert "kernels.csv" in both.sources["kernels"]
    assert "; other kernels: " in both.kernel_laws.date


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (slow_matmuls().drop(columns="time_ms"), "lacks the column time_ms (or time_s)"),
        (slow_matmuls().drop(columns="dtype"), "lack the column dtype"),
        (slow_matmuls().drop(columns="k"), "none of the sets of columns that a fit takes"),
        (slow_matmuls().head(19), "matmul fp16: 19 measurements are too few"),
        (slow_matmuls(factor=0.5), "times the device's peak"),
        (slow_matmuls().assign(time_ms=np.nan), "kernels.csv, row 1 has time_ms nan"),
        (slow_matmuls().assign(dtype="int3"), "t4 has no int3 matmul peak"),
        (slow_matmuls().assign(dtype="bf16"), "t4 has no bf16 matmul peak"),
    ],
)
def test_it_refuses_in_one_line(call: Call, table: pd.DataFrame, message: str) -> None:
    result = fit(call, saved(table))

    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not Path("mine.yaml").exists()


def test_without_attention_rows_it_needs_a_device_to_take_them_from(call: Call) -> None:
    device = Path(roofline.__file__).parents[1] / "hardware" / "t4.yaml"
    text = re.sub(r"^(kernel_laws|laws_from):.*\n", "", device.read_text("utf-8"), flags=re.M)
    Path("bare.yaml").write_text(text, encoding="utf-8")
    table = saved(slow_matmuls())

    refused = fit(call, table, hw="bare.yaml")
    assert refused.code == 2
    assert "name with --like a device whose laws to take" in refused.err
    assert fit(call, table, hw="bare.yaml", like="a100").code == 0


def test_parquet_without_pyarrow_names_the_remedy(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    Path("kernels.parquet").write_bytes(b"PAR1")
    result = fit(call, "kernels.parquet")

    assert result.code == 2
    assert "needs pyarrow: pip install '.[fit]'" in result.err


@pytest.mark.parametrize("name", ["kernels.csv", "kernels.parquet"])
def test_what_is_no_table_is_said_in_one_line(call: Call, name: str) -> None:
    Path(name).write_bytes(b"\x00\xff\xfe not a table")
    missing, broken = fit(call, f"no-{name}"), fit(call, name)

    for result in (missing, broken):
        assert result.code == 2
        assert result.err.count("\n") == 1
    assert "cannot read" in missing.err


def test_it_does_not_replace_a_file(call: Call) -> None:
    Path("mine.yaml").write_text("precious", encoding="utf-8")
    result = fit(call, saved(slow_matmuls()))

    assert result.code == 2
    assert "--force" in result.err
    assert Path("mine.yaml").read_text(encoding="utf-8") == "precious"


TOWER = {
    "model": "vit_base_patch16_224",
    "precision": "amp",
    "mode": "compile",
    "hidden_size": 768,
    "layers": 12,
    "heads": 12,
    "patch_size": 16,
    "image_size": 224,
    "batch": 256,
}


def test_one_published_throughput_corrects_a_device(call: Call) -> None:
    """An A40 that runs a tower at 700 images a second, less than its laws say."""
    file = saved(pd.DataFrame([{"device": "a40", **TOWER, "images_per_s": 700.0}]), "models.csv")
    result = fit(call, file, hw="a40")
    assert "Corrected by 1 row of 1 model: rate: " in result.out
    assert "says nothing of others" in result.out

    data = yaml.safe_load(Path("mine.yaml").read_text())
    assert data["correction"]["rate"] < 1
    assert data["sources"]["models"] == "models.csv"
    slow, fast = (
        roofline.analyze("clip-vit-l-336", name, batch=64).end_to_end.attainable_time_s
        for name in ("mine.yaml", "a40")
    )
    assert slow is not None
    assert fast is not None
    assert slow > fast


def test_a_fault_in_a_row_of_a_whole_model_is_one_line(call: Call) -> None:
    file = saved(pd.DataFrame([{**TOWER, "images_per_s": 1e6}]), "models.csv")
    result = fit(call, file, hw="a40")
    assert result.code == 2
    assert re.search(r"models\.csv, row 1: vit_base_patch16_224 in .* roofline", result.err)
