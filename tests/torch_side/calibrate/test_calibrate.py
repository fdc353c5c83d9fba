"""Calibration: what comes out of known times, and a real one in small."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
from made_up_machine import BANDWIDTH, CACHE_BANDWIDTH, PEAK, made_up_s, pretend, shrink

import roofline
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.errors import InputError
from roofline.fitting.device import fit_device
from roofline.fitting.tables import by_family, read_table
from roofline.specs.catalog import load_hardware
from roofline.specs.writing import hardware_yaml
from roofline.torch_side.calibrate import kernel_timing, selection
from roofline.torch_side.calibrate.calibrate import Calibration, about, calibrate
from roofline.torch_side.calibrate.microbench import POINTWISE_READS_AND_WRITES
from roofline.torch_side.measure.timing import Measurement

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def made_up() -> Calibration:
    """A calibration whose every kernel takes `made_up_s`."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        pretend(patch)
        return calibrate("cpu", name="made-up", modes=["fp32"], seconds=10.0)


def test_ceilings_are_those_of_the_machine(made_up: Calibration) -> None:
    hardware = made_up.hardware

    # a kernel of 43 ms comes that near to the peak, in spite of its launch; four digits, upwards
    assert hardware.matmul_peaks.fp32_tflops.value * 1e12 == pytest.approx(PEAK, rel=1e-3)  # type: ignore[union-attr]
    assert hardware.vector_flops_per_s == hardware.matmul_peaks.fp32_tflops.value * 1e12  # type: ignore[union-attr]
    assert hardware.memory_bytes_per_s == pytest.approx(BANDWIDTH, rel=2e-3)
    # 0.5 MiB take 17 µs, and the launch 5 more: the difference of two sizes knows none
    cache = hardware.l2_bandwidth_gb_per_s.value * 1e9  # type: ignore[union-attr]
    assert cache == pytest.approx(CACHE_BANDWIDTH, rel=1e-3)
    assert hardware.launch_overhead_us.value == pytest.approx(5, rel=1e-3)  # type: ignore[union-attr]
    assert hardware.kind == "cpu"
    assert (made_up.untrusted, made_up.notes) == ("", [])


def test_no_measured_kernel_is_above_a_ceiling(made_up: Calibration) -> None:
    hardware = made_up.hardware
    for row in made_up.rows:
        if row["op"] == "matmul":
            rate = 2 * row["m"] * row["n"] * row["k"] / row["fastest_s"]
            assert rate <= hardware.matmul_peaks.fp32_tflops.value * 1e12  # type: ignore[union-attr]


def test_laws_give_the_times_back(made_up: Calibration) -> None:
    laws = made_up.hardware.kernel_laws
    assert laws is not None

    assert laws.origin == "measured"
    assert laws.of(MatmulLaw)["fp32"].median_error_percent < 15
    for law in laws.of(PointwiseLaw).values():
        assert law.median_error_percent < 5
    assert laws.of(AttentionLaw)["fp32"].median_error_percent < 20
    assert set(laws.of(PointwiseLaw)) == {*POINTWISE_READS_AND_WRITES, "default"}
    assert laws.of(HostLaw)["llm"].layer_us == 2.0
    for law in laws.of(PointwiseLaw).values():
        assert law.launch_us == pytest.approx(5, rel=0.2)


def test_the_file_reads_back_as_the_same_spec(made_up: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "made-up.yaml"
    file.write_text(hardware_yaml(made_up.hardware, comment=made_up.comment))

    assert load_hardware(str(file)) == made_up.hardware
    estimate = roofline.analyze("llava-small", str(file), "fp32", visual_tokens=40)
    assert estimate.end_to_end.attainable_time_s > estimate.end_to_end.roofline_time_s


def test_every_measured_kernel_is_a_row_of_the_table(made_up: Calibration) -> None:
    table = list(csv.DictReader(io.StringIO(made_up.csv())))

    assert len(table) == len(made_up.rows)
    assert {row["op"] for row in table} == {
        *("copy", "read", "write", "launch", "arithmetic", "matmul", "attention", "pointwise")
    }
    for row, given in zip(table, made_up.rows, strict=True):
        # five samples, of which two are the fastest, two are a tenth and one is eight times above
        assert float(row["time_s"]) == pytest.approx(made_up_s(given))
        assert float(row["noise"]) == pytest.approx(0.1)
        assert row["disturbed"] == ""


def test_roofline_fit_reads_the_table(made_up: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "kernels.csv"
    file.write_text(made_up.csv())
    laws = made_up.hardware.kernel_laws
    assert laws is not None

    fitted = fit_device(
        made_up.hardware, by_family(read_table(file)), source="calibration", date=laws.date
    )

    for family in (AttentionLaw, MatmulLaw, PointwiseLaw):
        assert fitted.of(family) == laws.of(family)


def test_low_bit_kernels_are_rows_of_the_operator_that_they_are(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    found = calibrate("cpu", modes=["bf16", "w8a8kv16", "w4a16"], seconds=60.0)
    kernels = {(row["dtype"], row.get("kernel")) for row in found.rows if row["op"] == "matmul"}

    assert kernels == {
        ("bf16", None), ("w8a8", "_int_mm"), ("w4a16", "_weight_int4pack_mm_for_cpu"),
    }  # fmt: skip
    laws = found.hardware.kernel_laws
    assert laws is not None
    assert set(laws.of(MatmulLaw)) == {"bf16", "w8a8", "w4a16"}
    assert "w8a8: torch._int_mm, a scale for each row of weights" in laws.conditions
    # products of 8-bit numbers alone show what w8a8 kernels can at most do
    assert found.hardware.matmul_peaks.int8_tops.value * 1e12 == pytest.approx(PEAK, rel=1e-3)  # type: ignore[union-attr]


def test_a_real_one_in_small(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # smaller vector ops take a thousand times their roofline where others are at work, too
    monkeypatch.setattr(selection, "_VECTOR_ROWS", (64, 128, 256, 512, 1024))
    monkeypatch.setattr(selection, "_WIDTHS", (256, 512))
    done: list[float] = []
    found = calibrate("cpu", modes=["fp32"], seconds=6.0, progress=lambda s, _: done.append(s))

    laws = found.hardware.kernel_laws
    assert laws is not None
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0, abs=0.02)
    assert set(laws.of(HostLaw)) == {"vision", "reducer", "connector", "llm", "decode"}
    estimate = roofline.analyze("llava-tiny", found.hardware, "fp32")
    assert estimate.end_to_end.attainable_time_s > estimate.end_to_end.roofline_time_s
    assert not [note for note in found.notes if "not measured" in note]


def test_a_mode_that_nobody_can_measure_is_an_error() -> None:
    with pytest.raises(InputError, match="'int4': choose from fp32"):
        calibrate("cpu", modes=["int4"])
    with pytest.raises(InputError, match="fp16, bf16 too"):
        calibrate("cpu", modes=["w8a16"])
    with pytest.raises(InputError, match="bf16 too: w8a16 computes in it"):
        calibrate("cpu", modes=["fp32", "w8a16"])
    with pytest.raises(InputError, match="no cuda"):
        calibrate("cuda")


def test_what_has_no_kernels_is_a_note() -> None:
    modes = selection.chosen_modes(torch.device("cuda"), ["bf16", "w8a16"])

    assert modes.names == ["bf16"]
    assert modes.notes == [
        "not measured: no kernels for w8a16 on cuda here (PyTorch's own is a plain loop over "
        "numbers, which nobody would run)"
    ]


def test_a_gpu_is_measured_in_all_modes_that_it_has_kernels_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    modes = selection.chosen_modes(torch.device("cuda"), None)

    assert modes.names == ["fp16", "bf16", "w8a8kv16", "w4a16"]
    assert [each.partition(",")[0] for each in modes.runs_as] == [
        "w8a8: torch._int_mm", "w4a16: torch._weight_int4pack_mm",
    ]  # fmt: skip


def test_a_kernel_that_does_not_run_is_left_out_with_the_reason(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)

    def refuse(*_: object) -> None:
        raise ImportError("no module named mslk\nand more")

    monkeypatch.setattr(selection.microbench, "through_layer", refuse)
    monkeypatch.setattr(kernel_timing, "calls_for", lambda run, *_: run() or 1)
    found = calibrate("cpu", modes=["bf16", "w4a16"], seconds=60.0)

    assert found.notes == ["not measured: matmul w4a16: no module named mslk"]
    assert not [row for row in found.rows if row.get("dtype") == "w4a16"]


def test_an_interrupted_calibration_is_none(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Measurement(total=[1.0], stopped="interrupted")
    monkeypatch.setattr(
        kernel_timing, "measure", lambda subjects, *_, **__: {subjects[0].name: stopped}
    )

    with pytest.raises(KeyboardInterrupt):
        calibrate("cpu", modes=["fp32"], seconds=10.0)


def test_rows_are_comparable_on_one_machine_in_one_software_alone() -> None:
    known = about("cpu", ["bf16", "w8a16"])

    assert known["modes"] == ["bf16", "w8a16"]
    assert known["torch"] == torch.__version__
    assert known["roofline"] == roofline.__version__
    assert known["threads"] == torch.get_num_threads()
    assert known["device"]
    assert about("cpu")["modes"] == ["fp32", "bf16"]
