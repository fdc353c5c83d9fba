"""Laws of a whole device: each kernel's rows to its own law, and what is kept of old ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

import roofline
from roofline.device.kernel_types import kernel_roof
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw, Tile, matmul_seconds
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.fitting import attention, matmul, pointwise
from roofline.fitting.device import fit_device
from roofline.fitting.fit_files import fitted
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.rows import FitError
from roofline.specs.catalog import load_hardware
from roofline.specs.kernel_laws import KernelLaws

FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}
VECTOR = PointwiseLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=100.0)
MATMUL = MatmulLaw(
    **FIT,
    launch_us=1.0,
    tiles=(Tile(rows=1, columns=1, efficiency=0.5),),
    bandwidth_fraction=0.5,
)
LABELS: dict[str, Any] = {"source": "datasheet", "date": "2026-01-01"}


def vector_rows(launch_us: float, gb_per_s: float, **columns: Any) -> pd.DataFrame:
    size = 2.0 ** np.arange(14, 30)
    seconds = launch_us * 1e-6 + size / (gb_per_s * 1e9)
    return pd.DataFrame({"bytes": size, "time_ms": 1e3 * seconds, **columns})


def test_each_vector_op_gets_the_law_of_its_rows() -> None:
    rows = pd.concat(
        [vector_rows(5, 200, function="swiglu"), vector_rows(9, 150, function="residual")]
    )
    laws = fit_device(load_hardware("t4"), {"pointwise": rows}, **LABELS).of(PointwiseLaw)

    assert list(laws) == ["swiglu", "residual", "default"]
    assert laws["swiglu"].launch_us == pytest.approx(5, rel=0.05)
    assert laws["residual"].bandwidth_gb_per_s == pytest.approx(150, rel=0.05)
    # the plainest op goes for all others, though it is not the first
    assert laws["default"] == laws["residual"]


def test_without_functions_all_rows_are_of_one_law() -> None:
    laws = fit_device(load_hardware("t4"), {"pointwise": vector_rows(5, 200)}, **LABELS)

    assert list(laws.of(PointwiseLaw)) == ["default"]
    assert laws.of(PointwiseLaw)["default"].rows == 16
    assert laws.conditions == "not stated"


def test_the_first_op_goes_for_others_where_none_is_plain() -> None:
    rows = pd.concat([vector_rows(5, 200, function="silu"), vector_rows(9, 150, function="gelu")])
    laws = fit_device(load_hardware("t4"), {"pointwise": rows}, **LABELS).of(PointwiseLaw)
    assert laws["default"] == laws["silu"]


def test_an_op_that_is_called_default_goes_before_the_plainest() -> None:
    rows = pd.concat(
        [vector_rows(9, 150, function="residual"), vector_rows(5, 200, function="default")]
    )
    laws = fit_device(load_hardware("t4"), {"pointwise": rows}, **LABELS).of(PointwiseLaw)
    assert set(laws) == {"residual", "default"}
    assert laws["default"].launch_us == pytest.approx(5, rel=0.05)


def test_of_two_libraries_that_with_most_rows_is_fitted_and_named() -> None:
    few = vector_rows(50, 20, source="other 1").head(7)
    rows = pd.concat([few, vector_rows(5, 200, source="ours 2")])
    laws = fit_device(load_hardware("t4"), {"pointwise": rows}, **LABELS)

    assert laws.conditions == "ours 2"
    assert laws.of(PointwiseLaw)["default"].rows == 16
    assert laws.of(PointwiseLaw)["default"].launch_us == pytest.approx(5, rel=0.05)


def test_an_error_names_the_kernel_and_progress_comes_before_it() -> None:
    seen: list[str] = []
    rows = vector_rows(5, 200, function="gelu").head(3)

    with pytest.raises(FitError, match=r"^pointwise gelu: 3 measurements are too few"):
        fit_device(load_hardware("t4"), {"pointwise": rows}, **LABELS, progress=seen.append)
    assert seen == ["pointwise gelu"]


Calls = dict[str, dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the fits of matmul and attention are called with, by kernel; none is made."""
    found: Calls = {}

    def record(family: str, law: Any) -> Callable[..., Any]:
        def fit(rows: Any, roof: Any, **options: Any) -> Any:
            key = f"{family} {len(found)}"
            found[key] = {"rows": rows, "roof": roof, **options}
            return law

        return fit

    attention_law = AttentionLaw(
        **FIT,
        launch_us=1,
        block_us=1,
        efficiency=0.5,
        head_dim_power=0,
        longest_share=0,
        fill_keys=0,
        bandwidth_fraction=0.5,
    )
    monkeypatch.setattr(matmul, "fit_matmul", record("matmul", MATMUL))
    monkeypatch.setattr(attention, "fit_attention", record("attention", attention_law))
    return found


def test_matmuls_run_at_the_peak_of_their_kernel(calls: Calls) -> None:
    rows = pd.DataFrame({"dtype": ["bf16", "nvfp4", "w4a16", "bf16"], "m": [1, 2, 3, 4]})
    laws = fit_device(load_hardware("b200"), {"matmul": rows}, **LABELS)

    assert list(laws.of(MatmulLaw)) == ["bf16", "fp4", "w4a16"]
    bf16, fp4, w4a16 = calls.values()
    # data sheet of the B200: 2250 TFLOP/s in bf16, 9000 in fp4; w4a16 computes in 16 bit
    assert [one["roof"].flops_per_s for one in (bf16, fp4, w4a16)] == [2.25e15, 9e15, 2.25e15]
    assert [list(one["rows"]["m"]) for one in (bf16, fp4, w4a16)] == [[1, 4], [2], [3]]
    assert [one["kernel"] for one in (bf16, fp4, w4a16)] == ["bf16", "fp4", "w4a16"]
    assert {one["kind"] for one in calls.values()} == {"gpu"}


def test_another_librarys_kernels_say_what_a_law_errs_on_them(calls: Calls) -> None:
    """Its own 3 rows are fitted; of the other library's, times are half and double the law's."""
    a100 = load_hardware("a100")
    sizes = {"m": [64, 4096, 8192], "n": 4096, "k": 4096, "time_ms": 1.0, "source": "mine 1"}
    shape = {"batch_size": 4, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    tokens = {"tokens": [64, 2048, 4096], **shape, "time_ms": 1.0, "source": "mine 1"}
    rows = np.array([64.0, 4096.0])
    matmul_s = matmul_seconds(
        MATMUL,
        kernel_roof(a100, "bf16"),
        rows,
        4096,
        4096,
        weight_bytes=2.0 * 4096 * 4096,
        activation_bytes=2 * 2 * 4096 * rows,
    )
    kernel = roofline.attention_time(a100, 4, 2048, 32, 8, 128).roofline_time_s
    others = {
        "matmul": pd.DataFrame(sizes).head(2).assign(time_ms=1e3 * matmul_s * [0.5, 2.0]),
        "attention": pd.DataFrame(tokens).iloc[1:2].assign(time_ms=1e3 * float(kernel)),
    }
    measured = {
        family: pd.concat([pd.DataFrame(own), others[family].assign(source="other 2")]).assign(
            dtype="bf16"
        )
        for family, own in (("matmul", sizes), ("attention", tokens))
    }
    laws = fit_device(a100, measured, **LABELS)

    matmuls, prompts = laws.of(MatmulLaw)["bf16"], laws.of(AttentionLaw)["bf16"]
    assert (matmuls.library, prompts.library) == ("mine 1", "mine 1")
    # +100 and −50 %
    assert matmuls.median_other_library_error_percent == pytest.approx(75, abs=0.1)
    assert matmuls.p90_other_library_error_percent == pytest.approx(95, abs=0.1)
    # this law attains half of peak at most, and the other library attains all
    assert prompts.median_other_library_error_percent is not None
    assert prompts.median_other_library_error_percent > 100
    assert {len(one["rows"]["time_ms"]) for one in calls.values()} == {3}


def test_a_cpu_is_fitted_as_one(calls: Calls) -> None:
    rows = pd.DataFrame({"dtype": ["bf16"], "m": [1]})
    fit_device(load_hardware("xeon-8480"), {"matmul": rows, "attention": rows}, **LABELS)

    assert [one["kind"] for one in calls.values()] == ["cpu", "cpu"]


def test_elements_of_attention_are_as_wide_as_their_type(calls: Calls) -> None:
    rows = pd.DataFrame({"dtype": ["bf16", "fp8", "fp32"], "tokens": [1, 2, 3]})
    laws = fit_device(load_hardware("h100"), {"attention": rows}, **LABELS)

    assert list(laws.of(AttentionLaw)) == ["bf16", "fp8", "fp32"]
    assert [one["kernel"] for one in calls.values()] == ["bf16", "fp8", "fp32"]
    assert [list(one["rows"]["tokens"]) for one in calls.values()] == [[1], [2], [3]]
    # data sheet of the H100 SXM: 989 TFLOP/s in bf16, twice that in fp8, 67 on vector units
    assert [one["roof"].flops_per_s for one in calls.values()] == [989e12, 1979e12, 67e12]
    with pytest.raises(FitError, match="attention w4a16: dtype must be one of"):
        fit_device(load_hardware("h100"), {"attention": rows.assign(dtype="w4a16")}, **LABELS)


@pytest.mark.parametrize(("device", "data_type"), [("a100", "bf16"), ("t4", "fp16")])
def test_attention_without_a_type_is_in_the_devices_16_bits(
    calls: Calls, device: str, data_type: str
) -> None:
    rows = pd.DataFrame({"tokens": [1]})
    laws = fit_device(load_hardware(device), {"attention": rows}, **LABELS)
    assert list(laws.of(AttentionLaw)) == [data_type]


def test_vector_ops_run_at_the_vector_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    roofs: list[Any] = []
    monkeypatch.setattr(pointwise, "fit_pointwise", lambda rows, roof: roofs.append(roof) or VECTOR)
    fit_device(load_hardware("h100"), {"pointwise": vector_rows(5, 200)}, **LABELS)

    assert roofs[0].flops_per_s == load_hardware("h100").vector_flops_per_s
    assert roofs[0].bytes_per_s == 3350e9


def test_a_plugins_fitter_is_found_by_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    FITTERS.names()
    monkeypatch.setattr(FITTERS, "_things", dict(FITTERS._things))
    law = HostLaw(fixed_us=1.0, layer_us=2.0)
    FITTERS.register(
        "host",
        Fitter(("layers",), lambda hardware, rows: {"llm": rows}, lambda hardware, name, rows: law),
    )
    laws = fit_device(load_hardware("t4"), {"host": pd.DataFrame({"layers": [1]})}, **LABELS)
    assert laws.of(HostLaw) == {"llm": law}


def old_laws(origin: Any) -> KernelLaws:
    return KernelLaws(
        origin=origin,
        source="datasheet",
        date="2020",
        conditions="old",
        families={
            "matmul": {"bf16": MATMUL, "fp8": replace(MATMUL, origin="typical")},
            "attention": load_hardware("a100").kernel_laws.families["attention"],  # type: ignore[union-attr]
            "pointwise": {"default": replace(VECTOR, launch_us=77.0)},
            "host": {"llm": HostLaw(fixed_us=1.0, layer_us=2.0)},
        },
    )


@pytest.mark.parametrize(
    ("old", "new", "kept"), [("fitted", "measured", "fitted"), ("fitted", "fitted", None)]
)
def test_old_laws_keep_their_origin_and_give_way_to_new_ones(
    tmp_path: Path, old: Any, new: Any, kept: str | None
) -> None:
    base = replace(load_hardware("a100"), kernel_laws=old_laws(old))
    file = tmp_path / "vector.csv"
    vector_rows(5, 200).to_csv(file)
    laws = fitted(base, [str(file)], source="here", date="2026", origin=new).hardware.kernel_laws
    assert laws is not None

    assert (laws.origin, laws.source) == (new, "kernels")
    assert laws.date == "2026; other kernels: 2020"
    assert laws.of(MatmulLaw)["bf16"] == replace(MATMUL, origin=kept)
    assert laws.of(MatmulLaw)["fp8"].origin == "typical"
    assert laws.of(PointwiseLaw)["default"].launch_us == pytest.approx(5, rel=0.05)
    assert laws.of(HostLaw) == {"llm": HostLaw(fixed_us=1.0, layer_us=2.0)}


def test_files_are_put_together_and_other_devices_counted(tmp_path: Path) -> None:
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    vector_rows(5, 200, hardware="t4").head(8).to_csv(first)
    pd.concat(
        [vector_rows(5, 200, hardware="T4").tail(8), vector_rows(1, 300, hardware="l4")]
    ).to_csv(second)
    found = fitted(load_hardware("t4"), [str(first), str(second)], source="us", date="2026")
    laws = found.hardware.kernel_laws
    assert laws is not None

    assert found.left_out == 16
    assert laws.of(PointwiseLaw)["default"].rows == 16
    # its matmuls stay Baidu's
    assert found.hardware.sources["kernels"].startswith("us; other kernels: Baidu DeepBench")
    assert found.hardware.laws_from == load_hardware("t4").laws_from
