"""Calibration: what comes out of known times, and a real one in small."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

import roofline
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.errors import InputError
from roofline.specs.catalog import load_hardware
from roofline.specs.writing import hardware_yaml
from roofline.torch_side.calibrate import calibrate as module
from roofline.torch_side.calibrate.calibrate import Calibration, calibrate
from roofline.torch_side.calibrate.microbench import POINTWISE_READS_AND_WRITES, Pool
from roofline.torch_side.measure.timing import Measurement, Subject

PEAK, BANDWIDTH, LAUNCH_S = 50e9, 10e9, 5e-6


def made_up_s(row: dict[str, Any]) -> float:
    """A machine of 50 GFLOP/s and 10 GB/s that needs 5 µs for everything."""
    match row["op"]:
        case "launch":
            return LAUNCH_S
        case "matmul":
            m, n, k = row["m"], row["n"], row["k"]
            return LAUNCH_S + max(2 * m * n * k / PEAK, 4 * (n * k + m * (n + k)) / BANDWIDTH)
        case "attention":
            batch, queries, keys = row["batch_size"], row["tokens"], row["keys"]
            pairs = queries * keys - row["causal"] * queries * (queries - 1) / 2
            size = row["num_heads"] * row["head_dim"]
            moved = 4 * 2 * batch * size * (queries + keys)
            return LAUNCH_S + 4 * batch * size * pairs / PEAK + moved / BANDWIDTH
        case "copy" | "read" | "write" if row["level"] == "cache":
            return row["bytes"] / (3 * BANDWIDTH)
        case _:
            return LAUNCH_S + row["bytes"] / BANDWIDTH


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Fewer and smaller kernels: what is measured takes no time worth mentioning."""
    patch.setattr(module._Calibrator, "_cost_s", lambda *_: 0.0)  # whatever else runs here
    patch.setattr(module, "_CPU_ROWS", (1, 4, 16, 64, 128))
    patch.setattr(module, "_CPU_SHAPES", ((64, 64), (128, 64), (64, 128), (128, 128)))
    patch.setattr(module, "_VECTOR_ROWS", (1, 8, 32, 64, 128))
    patch.setattr(module, "_WIDTHS", (64, 128))
    patch.setattr(module, "_PROMPTS", (8, 16, 32, 64, 96, 128))
    patch.setattr(module.machine, "cache_bytes", lambda device: 2.0**20)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def made_up() -> Calibration:
    """A calibration whose every kernel takes `made_up_s`."""
    benches: dict[str, dict[str, Any]] = {}
    timed = module._Calibrator._time

    def remember(self: Any, part: str, given: Sequence[Any], budget_s: float) -> None:
        benches.update((bench.name, dict(bench.row)) for bench in given)
        timed(self, part, given, budget_s)

    def measured(subjects: Sequence[Subject], *_: Any, **__: Any) -> dict[str, Measurement]:
        # the lower quartile of five counts for laws, the fastest for ceilings
        made = {subject.name: made_up_s(benches[subject.name]) for subject in subjects}
        return {
            name: Measurement(total=[9.0, seconds, 8.0, seconds, 7.0], stopped="settled")
            for name, seconds in made.items()
        }

    hosts = {"llm": HostLaw(fixed_us=10.0, layer_us=2.0)}
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(module._Calibrator, "_time", remember)
        patch.setattr(module, "measure", measured)
        patch.setattr(module, "calls_for", lambda *_: 1)
        patch.setattr(module, "host_laws", lambda *_, **__: hosts)
        return calibrate("cpu", name="made-up", modes=["fp32"], seconds=10.0)


def test_ceilings_are_the_best_that_was_seen(made_up: Calibration) -> None:
    hardware = made_up.hardware
    best = max(
        2 * row["m"] * row["n"] * row["k"] / row["time_s"]
        for row in made_up.rows
        if row["op"] == "matmul"
    )

    # to four digits, upwards
    assert best <= hardware.matmul_peaks.fp32_tflops.value * 1e12 <= 1.001 * best  # type: ignore[union-attr]
    assert hardware.vector_flops_per_s == hardware.matmul_peaks.fp32_tflops.value * 1e12  # type: ignore[union-attr]
    assert hardware.l2_bandwidth_gb_per_s.value == pytest.approx(30, rel=1e-3)  # type: ignore[union-attr]
    assert hardware.memory_bandwidth_gb_per_s.value <= 10.01
    assert hardware.launch_overhead_us.value == pytest.approx(5, rel=1e-3)  # type: ignore[union-attr]
    assert hardware.kind == "cpu"


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
        *("copy", "read", "write", "launch", "matmul", "attention", "pointwise")
    }
    assert all(float(row["time_s"]) > 0 for row in table)


def test_a_real_one_in_small(small: None) -> None:
    done: list[float] = []
    found = calibrate("cpu", modes=["fp32"], seconds=3.0, progress=lambda s, _: done.append(s))

    laws = found.hardware.kernel_laws
    assert laws is not None
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0, abs=0.02)
    assert set(laws.of(HostLaw)) == {"vision", "reducer", "connector", "llm", "decode"}
    estimate = roofline.analyze("llava-tiny", found.hardware, "fp32")
    assert estimate.end_to_end.attainable_time_s > estimate.end_to_end.roofline_time_s
    assert found.notes == []


def test_a_mode_that_nobody_can_measure_is_an_error() -> None:
    with pytest.raises(InputError, match="'int4': choose from fp32"):
        calibrate("cpu", modes=["int4"])
    with pytest.raises(InputError, match="fp16, bf16 too"):
        calibrate("cpu", modes=["w8a16"])
    with pytest.raises(InputError, match="no cuda"):
        calibrate("cuda")


def test_what_has_no_kernels_is_a_note() -> None:
    calibrator = module._Calibrator(torch.device("cpu"), lambda: 0.0, None)

    assert list(calibrator._low_bit(["w4a16"])) == ["w8a16", "w8a8kv16"]
    assert calibrator.notes == ["no kernels for w4a16 on cpu"]


def test_an_interrupted_calibration_is_none(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Measurement(total=[1.0], stopped="interrupted")
    monkeypatch.setattr(module, "measure", lambda subjects, *_, **__: {subjects[0].name: stopped})

    with pytest.raises(KeyboardInterrupt):
        calibrate("cpu", modes=["fp32"], seconds=10.0)


def test_a_pool_gives_other_weights_each_time_until_it_is_through() -> None:
    pool = Pool(100, torch.float32, torch.device("cpu"))
    # 100 bytes are 3 matrices of 40, and 2 of 400: one alone would stay in the cache
    small = [pool.take(2, 5).data_ptr() for _ in range(6)]
    large = [pool.take(10, 10).data_ptr() for _ in range(4)]

    assert len(set(small)) == 3
    assert small[:3] == small[3:]
    assert len(set(large)) == 2


def test_too_little_time_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "measure", pytest.fail)

    said = r"391 kernels take some 6 s at least.*--seconds 6 or more"
    with pytest.raises(InputError, match=said):
        calibrate("cpu", modes=["fp32", "bf16"], seconds=1.0)


def test_what_a_slow_device_needs_is_found_out_first(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure", pytest.fail)
    monkeypatch.setattr(module._Calibrator, "_cost_s", lambda *_: 0.5)

    with pytest.raises(InputError, match=r"161 kernels take some 81 s at least"):
        calibrate("cpu", modes=["fp32"], seconds=10.0)


def test_times_of_a_busy_machine_are_untrusted() -> None:
    calibrator = module._Calibrator(torch.device("cpu"), lambda: 0.0, None)
    calibrator.rows = [{} for _ in range(10)]
    known = load_hardware("a100-80gb")
    assert calibrator._doubt(known) == ""

    calibrator.disturbed = 9
    doubt = calibrator._doubt(known)
    assert doubt == "9 of 10 kernels were disturbed: measure again on a quiet machine"
    found = Calibration(known, [], [], doubt)
    assert hardware_yaml(known, comment=found.comment).startswith(f"# untrusted: {doubt}\n")


def test_laws_that_err_much_are_untrusted() -> None:
    calibrator = module._Calibrator(torch.device("cpu"), lambda: 0.0, None)
    known = load_hardware("a100-80gb")
    assert known.kernel_laws is not None
    bad = {
        name: replace(law, median_error_percent=90.0)
        for name, law in known.kernel_laws.of(MatmulLaw).items()
    }
    laws = known.kernel_laws.updated(matmul=bad)

    assert "matmul bf16 errs by 90 %" in calibrator._doubt(replace(known, kernel_laws=laws))
