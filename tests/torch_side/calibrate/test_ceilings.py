"""Kernels that show ceilings, and what is made of their times."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up_machine import made_up_s
from msgspec.structs import replace
from torch.cuda.jiterator import _CodeParser

from roofline.errors import InputError
from roofline.specs.catalog import load_hardware
from roofline.torch_side.calibrate import ceilings, measured_spec
from roofline.torch_side.calibrate.found_ceilings import (
    cache_ceiling,
    check_ceilings,
    compute_ceiling,
    memory_ceiling,
    vector_ceiling,
)
from roofline.torch_side.calibrate.measured_spec import (
    computes_at,
    measured_hardware,
    vector_peak,
)
from roofline.torch_side.calibrate.selection import Modes, chosen_benches
from roofline.torch_side.measure import machine

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MIB, GIB = 2.0**20, 2.0**30


def row(op: str, seconds: float, *, noise: float = 0.0, **columns: Any) -> dict[str, Any]:
    return {"op": op, **columns, "time_s": seconds, "fastest_s": seconds, "noise": noise}


class TestBenches:
    def test_memory_is_measured_where_no_launch_counts(self) -> None:
        """On a GPU of 50 MiB of cache: 1 GiB, of which a launch is a hundredth at most."""
        rows = [bench.row for bench in ceilings.bandwidth(CUDA, 50 * MIB, 80 * GIB)]

        sizes = {(each["level"], each["bytes"]) for each in rows}
        assert sizes == {("cache", 12.5 * MIB), ("cache", 25 * MIB), ("memory", GIB)}
        assert {each["op"] for each in rows} == {"copy", "read", "write"}

    def test_a_large_cache_is_gone_beyond_and_memory_not_filled(self) -> None:
        [*_, large] = ceilings.bandwidth(CUDA, 2 * GIB, 80 * GIB)
        [*_, small] = ceilings.bandwidth(CUDA, 50 * MIB, 4 * GIB)

        assert large.row["bytes"] == 4 * GIB
        assert small.row["bytes"] == GIB / 2

    def test_streams_move_what_their_rows_say(self) -> None:
        """By what each reads and writes of its two tensors of half the bytes."""
        for bench in ceilings.bandwidth(CPU, MIB, 16 * MIB):
            run = bench.make()
            given = run() if bench.row["op"] != "write" else None
            tensors = [each.cell_contents for each in run.__closure__ or ()]
            assert sum(tensor.nbytes for tensor in tensors) == bench.row["bytes"]
            if bench.row["op"] == "read":
                assert given == pytest.approx(len(tensors[0]))

    def test_products_on_a_cpu(self) -> None:
        wide, narrow = ceilings.arithmetic(CPU, int8=True)

        assert (wide.row["dtype"], narrow.row["dtype"]) == ("fp32", "int8")
        assert wide.row["flops"] == narrow.row["flops"] == 2 * 1024**3
        wide_result, narrow_result = wide.make()(), narrow.make()()
        assert isinstance(wide_result, torch.Tensor)
        assert isinstance(narrow_result, torch.Tensor)
        assert (wide_result.dtype, narrow_result.dtype) == (torch.float32, torch.int32)

    def test_a_gpu_s_vector_units_do_multiply_adds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[tuple[str, dict[str, float]]] = []

        def compiled(source: str, **numbers: float) -> Any:
            made.append((source, numbers))
            return lambda x: x

        monkeypatch.setattr(torch.cuda.jiterator, "_create_jit_fn", compiled)
        monkeypatch.setattr(torch, "rand", lambda *size, device: size)
        [bench] = ceilings.arithmetic(CUDA, int8=False)
        assert bench.make()() == (2**23,)

        [(source, numbers)] = made
        assert _CodeParser(source).function_name == "multiply_adds"
        assert set(numbers) == {"by", "plus"}

    @pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
    def test_they_do_as_many_as_their_row_says(self, tmp_path: Path) -> None:
        """Counted by a number type that counts its own operations."""
        counting = """
        #include <cstdio>
        long operations = 0;
        struct Counted {
          double v;
          Counted(double v = 0) : v(v) {}
          Counted operator*(Counted o) { ++operations; return v * o.v; }
          Counted operator+(Counted o) { ++operations; return v + o.v; }
          Counted& operator+=(Counted o) { v += o.v; return *this; }
        };
        %s
        int main() {
          Counted result = multiply_adds(Counted(0.25), Counted(0.5), Counted(0.5));
          std::printf("%%ld %%g", operations, result.v);
        }
        """
        file = tmp_path / "count.cpp"
        file.write_text(counting % ceilings._SOURCE)
        subprocess.run(["g++", str(file), "-o", str(tmp_path / "count")], check=True)
        counted, result = subprocess.run(
            [tmp_path / "count"], check=True, capture_output=True, text=True
        ).stdout.split()

        # each chain began with an addition; x → x / 2 + 1 / 2 ends at 1
        [bench] = ceilings.arithmetic(CUDA, int8=False)
        chains = 8
        assert (int(counted) - chains) * 2**23 == bench.row["flops"]
        assert float(result) == chains


class TestCacheCeiling:
    def rows(self, launch_s: float, bytes_per_s: float) -> list[dict[str, Any]]:
        sizes = (12.5 * MIB, 25 * MIB)
        streams = [
            row("copy", launch_s + size / bytes_per_s, level="cache", bytes=size) for size in sizes
        ]
        return [*streams, row("launch", launch_s)]

    def test_launches_are_none_of_it(self) -> None:
        """As on an H100: 25 MiB at 5.5 TB/s take 4.8 µs, beside a launch of 2."""
        found = cache_ceiling(self.rows(2e-6, 5.5e12), on_cpu=False)

        assert found.per_s == pytest.approx(5.5e12)
        assert found.beaten == ""

    def test_noise_is_no_bandwidth(self) -> None:
        """Two sizes in one time would be infinitely fast: a few launches are taken off at most."""
        rows = [
            row("copy", 100e-6, level="cache", bytes=10 * MIB),
            row("copy", 100e-6, level="cache", bytes=20 * MIB),
            row("launch", 2e-6),
        ]
        assert cache_ceiling(rows, on_cpu=False).per_s == pytest.approx(20 * MIB / 92e-6)

    def test_a_kernel_that_is_faster_still_is_named(self) -> None:
        vector_op = row("pointwise", 10e-6, function="gelu", bytes=11e7, noise=0.02)
        rows = [*self.rows(2e-6, 5.5e12), vector_op]
        found = cache_ceiling(rows, on_cpu=False)

        assert found.per_s == pytest.approx(11e12)
        assert found.beaten == "pointwise gelu 110000000.0 beats the cache ceiling by 100 %"
        # a CPU's cores have faster caches of their own
        assert cache_ceiling(rows, on_cpu=True).beaten == ""

    def test_memory_is_not_faster_than_the_cache(self) -> None:
        rows = [*self.rows(2e-6, 1e12), row("read", 1e-3, level="memory", bytes=3e9)]

        assert "read memory" in cache_ceiling(rows, on_cpu=False).beaten

    def test_an_op_that_ran_in_one_size_alone_shows_none(self) -> None:
        alone = row("read", 1e-9, level="cache", bytes=12.5 * MIB)
        found = cache_ceiling([*self.rows(2e-6, 5.5e12), alone], on_cpu=True)

        assert found.per_s == pytest.approx(5.5e12)


class TestMissingCeilings:
    """Of a device on which some did not run."""

    ROWS = (
        row("copy", 1e-3, level="memory", bytes=3e9),
        row("copy", 1e-5, level="cache", bytes=1e7),
        row("copy", 2e-5, level="cache", bytes=2e7),
        row("launch", 1e-6),
    )

    def test_all_are_there(self) -> None:
        check_ceilings(self.ROWS, {})

    @pytest.mark.parametrize(
        ("missing", "words"),
        [
            (0, "this device's memory ceiling could not be measured (not measured: copy memory: "),
            (1, "this device's cache ceiling could not be measured (not measured: copy cache: "),
            (2, "this device's cache ceiling could not be measured (not measured: copy cache: "),
            (3, "this device's launch overhead could not be measured (not measured: launch: "),
        ],
    )
    def test_the_one_that_is_missing_is_named_with_the_reason(
        self, missing: int, words: str
    ) -> None:
        left_out = {
            "copy memory 3e9": "not measured: copy memory: out of memory",
            "copy cache 1e7": "not measured: copy cache: out of memory",
            "launch": "not measured: launch: out of memory",
        }
        rows = [each for index, each in enumerate(self.ROWS) if index != missing]
        with pytest.raises(InputError) as caught:
            check_ceilings(rows, left_out)

        assert caught.value.line == f"{words}out of memory): mend that, and go on with --resume"


class TestMemoryCeiling:
    STREAM = row("copy", 1e-3, level="memory", bytes=3e9, noise=0.01)

    def matmul(self, seconds: float, noise: float = 0.01) -> dict[str, Any]:
        return row("matmul", seconds, dtype="fp16", m=1, n=1000, k=1000, noise=noise)

    @pytest.mark.parametrize(
        ("beats", "noise", "named"),
        [(0.9, 0.0, False), (1.04, 0.0, False), (1.2, 0.3, False), (1.2, 0.01, True)],
    )
    def test_weights_are_cold_and_may_not_beat_it(
        self, beats: float, noise: float, named: bool
    ) -> None:
        """2 MB at 3 TB/s take 0.67 µs; beyond the noise, and 5 %, a weight was in a cache."""
        found = memory_ceiling([self.STREAM, self.matmul(2e6 / 3e12 / beats, noise)], 50 * MIB)

        assert found.per_s == pytest.approx(3e12 * max(1.0, beats))
        assert found.beaten == ("matmul fp16 1 1000 1000 beats the memory ceiling by 20 %" * named)

    def test_packed_weights_are_as_small_as_they_are(self) -> None:
        """Of w4a16 half a byte and a scale to 128, whatever the activations are."""
        packed = row("matmul", 1e-6, dtype="w4a16", m=1, n=1000, k=1000)
        found = memory_ceiling([row("copy", 1.0, level="memory", bytes=1.0), packed], 0)

        assert found.per_s == pytest.approx((0.5 + 2 / 128) * 1e6 / 1e-6)

    def test_a_cache_may_serve_what_it_holds(self) -> None:
        op = row("pointwise", 10e-6, function="gelu", bytes=60 * MIB)
        found = memory_ceiling([self.STREAM, op], 50 * MIB)
        assert found.per_s == 3e12

    def test_keys_and_values_of_decode_are_cold_those_of_prompts_not(self) -> None:
        def attention(tokens: int) -> dict[str, Any]:
            return row(
                "attention", 1e-6, dtype="fp16", batch_size=1, tokens=tokens, keys=1000,
                num_heads=8, head_dim=128, causal=0,
            )  # fmt: skip

        assert memory_ceiling([self.STREAM, attention(1)], 50 * MIB).per_s == pytest.approx(
            2 * 2 * 1000 * 8 * 128 / 1e-6
        )
        assert memory_ceiling([self.STREAM, attention(1000)], 50 * MIB).per_s == 3e12


class TestComputeCeilings:
    MATMUL = row("matmul", 1e-3, dtype="bf16", m=1000, n=1000, k=1000)

    def test_the_best_matmul_is_the_peak(self) -> None:
        slow = {**self.MATMUL, "fastest_s": 2e-3}
        found = compute_ceiling([slow, self.MATMUL], "bf16", on_cpu=False)
        assert found is not None
        assert (found.per_s, found.beaten) == (2e12, "")

    def test_attention_that_beats_it_is_named(self) -> None:
        attention = row(
            "attention", 1e-3, dtype="bf16", batch_size=1, tokens=2000, keys=2000, num_heads=8,
            head_dim=128, causal=0,
        )  # fmt: skip
        found = compute_ceiling([self.MATMUL, attention], "bf16", on_cpu=False)

        assert found is not None
        # 4 · 8 · 128 · 2000² are 16.4 GFLOP in a millisecond
        assert found.beaten.startswith("attention bf16 1 2000 2000")
        assert found.beaten.endswith("beats the bf16 compute ceiling by 719 %")
        on_cpu = compute_ceiling([self.MATMUL, attention], "bf16", on_cpu=True)
        assert on_cpu is not None
        assert (on_cpu.per_s, on_cpu.beaten) == (found.per_s, "")

    def test_eight_bit_products_bound_the_kernels_that_they_are_part_of(self) -> None:
        product = row("arithmetic", 1e-3, function="product", dtype="int8", flops=4e9)
        kernel = row("matmul", 1e-3, dtype="w8a8", m=1000, n=1000, k=1000)
        found = compute_ceiling([product, kernel], "int8", on_cpu=False)
        assert found is not None
        assert (found.per_s, found.beaten) == (4e12, "")

    def test_weights_of_few_bits_compute_in_sixteen(self) -> None:
        packed = {**self.MATMUL, "dtype": "w4a16", "fastest_s": 0.5e-3}
        found = compute_ceiling([self.MATMUL, packed], "bf16", on_cpu=False)
        assert found is not None
        assert found.beaten == "matmul w4a16 1000 1000 1000 beats the bf16 compute ceiling by 100 %"

    def test_a_type_without_matmuls_has_no_peak(self) -> None:
        with pytest.raises(InputError, match="no matmul in fp16: leave it out of --quant"):
            computes_at([self.MATMUL], "fp16", on_cpu=False)

    def test_none_of_what_did_not_run(self) -> None:
        assert compute_ceiling([self.MATMUL], "fp16", on_cpu=False) is None


class TestGpuSpec:
    """Of a GPU that is not here: ceilings from made-up times, and laws that ship."""

    def test_it_says_what_its_times_depend_on_and_what_the_catalogue_says(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = load_hardware("h100-sxm")
        assert known.kernel_laws is not None
        laws = replace(known.kernel_laws, source="calibration")
        monkeypatch.setattr(measured_spec, "fit_device", lambda *_, **__: laws)
        for name, value in {
            "device_name": "NVIDIA A Card",
            "cache_bytes": 50 * MIB,
            "memory_bytes": 80 * GIB,
            "units": 132,
            "compute_capability": "9.0",
            "catalogued": known,
        }.items():
            monkeypatch.setattr(machine, name, lambda device, value=value: value)
        benches = chosen_benches(CUDA, Modes(["bf16"], []), 50 * MIB, 80 * GIB)
        rows = [
            {
                **bench.row,
                "time_s": made_up_s(bench.row),
                "fastest_s": made_up_s(bench.row),
                "noise": 0.0,
                "replay_share": 0.004,
            }
            for bench in [*benches["ceilings"], *benches["matmul"]]
            if bench.row["op"] != "arithmetic"
        ]
        rows[-2]["backend"], rows[-1]["backend"] = "flash", "math"
        hardware, beaten = measured_hardware(
            rows, CUDA, name="card", modes=Modes(["bf16"], [], ["w4a16: a kernel"])
        )

        assert hardware.kind == "gpu"
        assert hardware.vector_peak_fp32_tflops.value == 67
        assert "h100-sxm, as it ships" in hardware.sources["catalogue"]
        assert hardware.kernel_laws is not None
        assert hardware.kernel_laws.conditions == (
            f"torch {torch.__version__}, 132 SMs, CUDA graphs whose replay is up to 0.4 % of a "
            "time, attention by flash and math; w4a16: a kernel"
        )
        assert beaten == []


CHAINS = row("arithmetic", 1e-3, function=ceilings.MULTIPLY_ADDS, dtype="fp32", flops=60e9)
FP32_MATMUL = row("matmul", 1e-3, dtype="fp32", m=3000, n=3000, k=3000)


class TestVectorPeak:
    def test_it_is_what_multiply_adds_reach(self) -> None:
        figure, sources = vector_peak([CHAINS], CUDA)

        assert (figure.value, figure.source, sources) == (60.0, "calibration", {})
        assert figure.note == "multiply-adds in registers"

    def test_an_fp32_matmul_computes_there_too(self) -> None:
        slow = {**CHAINS, "fastest_s": 2e-3}
        found = vector_ceiling([slow, FP32_MATMUL], of_matmuls=True)
        assert found is not None
        assert found.per_s == 54e12
        assert found.beaten.startswith("matmul fp32 3000 3000 3000 beats the vector ceiling")
        in_matrix_units = vector_ceiling([slow, FP32_MATMUL], of_matmuls=False)
        assert in_matrix_units is not None
        assert (in_matrix_units.per_s, in_matrix_units.beaten) == (30e12, "")

    def test_on_a_cpu_matmuls_and_products_are_one(self) -> None:
        product = row("arithmetic", 1e-3, function="product", dtype="fp32", flops=2e9)
        found = vector_ceiling([product, FP32_MATMUL], of_matmuls=True)
        assert found is not None
        assert (found.per_s, found.beaten) == (54e12, "")

    def test_without_them_the_catalogue_says_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = load_hardware("h100-sxm")
        monkeypatch.setattr(machine, "catalogued", lambda device: known)
        figure, sources = vector_peak([], CUDA)

        assert figure.value == known.vector_peak_fp32_tflops.value
        assert figure.note == "not measured: no kernel of multiply-adds runs here"
        assert sources[figure.source].startswith("h100-sxm, as it ships: NVIDIA H100")

    def test_where_nobody_does_it_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "catalogued", lambda device: None)
        monkeypatch.setattr(machine, "device_name", lambda device: "A Card")

        with pytest.raises(InputError, match=r"nothing says what A Card computes.*--quant fp32"):
            vector_peak([row("launch", 1e-6)], CUDA)
