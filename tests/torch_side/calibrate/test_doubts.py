"""What makes a calibration untrusted, and where that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_up_machine import made_up_s, pretend, shrink
from msgspec.structs import replace

from roofline.cli.calibrate import calibrate as command
from roofline.device.laws.matmul import MatmulLaw
from roofline.specs.catalog import load_hardware
from roofline.specs.writing import hardware_yaml
from roofline.torch_side.calibrate.calibrate import Calibration, calibrate
from roofline.torch_side.calibrate.doubts import doubts, remarks
from roofline.torch_side.measure.disturbance import FOR_GOOD

KNOWN = load_hardware("a100-80gb")


def rows(disturbed: int, of: int = 10, why: str = "others") -> list[dict[str, Any]]:
    return [{"disturbed": why if i < disturbed else ""} for i in range(of)]


def test_times_of_a_busy_machine_are_untrusted() -> None:
    assert doubts(KNOWN, rows(2), []) == ""

    doubt = doubts(KNOWN, rows(9), [])
    assert doubt == "9 of 10 kernels were disturbed (others): measure again on a quiet machine"
    found = Calibration(KNOWN, [], [], doubt)
    assert hardware_yaml(KNOWN, comment=found.comment).startswith(f"# untrusted: {doubt}\n")


def test_single_kernels_that_were_disturbed_are_a_remark() -> None:
    assert remarks(rows(2), []) == ["2 of 10 kernels: others"]
    assert remarks(rows(0), []) == []


def test_what_the_work_itself_brings_is_a_remark_however_often() -> None:
    """Measured again, times at a power cap would be the same."""
    capped = f"{FOR_GOOD} (power cap)"

    assert doubts(KNOWN, rows(9, why=capped), []) == ""
    assert remarks(rows(9, why=capped), []) == [f"9 of 10 kernels: {capped}"]
    both = [*rows(9, why=capped), *rows(5, of=5)]
    assert doubts(KNOWN, both, []).startswith("5 of 15 kernels were disturbed (others): ")


def test_laws_that_err_much_are_untrusted() -> None:
    assert KNOWN.kernel_laws is not None
    bad = {
        name: replace(law, median_error_percent=90.0)
        for name, law in KNOWN.kernel_laws.of(MatmulLaw).items()
    }
    laws = KNOWN.kernel_laws.updated(matmul=bad)
    doubt = doubts(replace(KNOWN, kernel_laws=laws), [], [])

    assert "matmul bf16 errs by 90 %" in doubt
    assert f"{len(bad) - 2} more laws do" in doubt or len(bad) <= 2


def test_single_samples_ask_for_time_and_not_for_quiet() -> None:
    """Of a few kernels nobody need know more; of most of them nothing would be known."""
    once = {"disturbed": "a single sample tells nothing"}
    assert doubts(KNOWN, [*[once] * 5, *[{}] * 5], []) == ""
    assert doubts(KNOWN, [*[once] * 6, *[{}] * 4], []) == (
        "6 of 10 kernels have a single sample: raise --seconds"
    )


def test_a_ceiling_that_is_none_is_untrusted() -> None:
    beaten = ["gelu beats the cache ceiling by 30 %"]

    assert doubts(KNOWN, rows(0), beaten).startswith(
        "gelu beats the cache ceiling by 30 %: measure"
    )
    assert remarks(rows(0), beaten) == [
        "gelu beats the cache ceiling by 30 %: one of the two was measured wrongly"
    ]


def test_a_replay_that_weighs_is_a_remark() -> None:
    light, heavy = {"replay_share": 0.009}, {"replay_share": 0.043}

    assert remarks([light], []) == []
    assert remarks([light, heavy], []) == [
        "the replay of a CUDA graph is 1 to 4.3 % of the times of 1 kernels"
    ]


class TestWholeRun:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shrink(monkeypatch)

    def test_weights_that_were_warm_raise_the_ceiling_and_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As from a cache four times as fast as memory: nothing of a copy's size has shown that."""

        def warm_s(row: Any) -> float:
            slowly = made_up_s(row)
            return slowly / 4 if row["op"] == "matmul" and row["n"] == 128 else slowly

        pretend(monkeypatch, warm_s)
        found = calibrate("cpu", modes=["fp32"], seconds=60.0)

        assert "matmul fp32 1 128 128 beats the memory ceiling" in found.untrusted
        best = max(
            4 * row["n"] * row["k"] / row["fastest_s"]
            for row in found.rows
            if row["op"] == "matmul"
        )
        assert found.hardware.memory_bytes_per_s >= best
        assert found.hardware.kernel_laws is not None
        assert f"untrusted: {found.untrusted}" in found.hardware.kernel_laws.conditions

    def test_another_process_is_in_file_table_and_exit_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A competitor for the cores, all the time."""
        busy = "threads of this process stood in line for a core"
        pretend(monkeypatch, disturbance=busy)
        output, table = tmp_path / "here.yaml", tmp_path / "rows.csv"
        result = CliRunner().invoke(
            command,
            ["--quant", "fp32", "--seconds", "60", "-o", str(output), "--measurements", str(table)],
        )

        assert result.exit_code == 0
        verdict = f"kernels were disturbed ({busy})"
        assert verdict in " ".join(result.stdout.split())
        assert verdict in result.stderr
        assert verdict in output.read_text().splitlines()[0]
        assert f"the host's time: {busy}" in result.stderr
        lines = table.read_text().splitlines()
        assert all(busy in line for line in lines[1:])
