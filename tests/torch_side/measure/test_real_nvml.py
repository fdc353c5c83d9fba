"""The real NVML library, where it is installed: it says what its functions are without a GPU."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import (
    FakeNvml,
    assert_blind,
    opened,
)

from roofline.torch_side.measure import telemetry as module
from roofline.torch_side.measure.telemetry import (
    open_telemetry,
    throttle_reasons,
)


@pytest.fixture
def pynvml() -> Any:
    return pytest.importorskip("pynvml")


def test_calls_fit_the_real_functions(pynvml: Any) -> None:
    nvml = FakeNvml()
    telemetry = opened(nvml)
    telemetry.describe()
    telemetry.snapshot()
    telemetry.energy_j()

    assert len({call[0] for call in nvml.calls}) == len(nvml.answers)
    for name, *arguments in nvml.calls:
        inspect.signature(getattr(pynvml, name)).bind(*arguments)
    assert (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM, pynvml.NVML_TEMPERATURE_GPU) == (1, 2, 0)


def test_names_are_those_of_the_real_library(pynvml: Any) -> None:
    source = Path(module.__file__).read_text(encoding="utf-8")
    functions = set(re.findall(r"\bnvml[A-Z]\w+", source)) - {"nvmlClocksEventReason"}

    assert len(functions) > 15
    for name in functions | set(re.findall(r"NVMLError_\w+", source)):
        assert hasattr(pynvml, name), name


@pytest.mark.parametrize(
    ("constant", "names"),
    [
        ("GpuIdle", []),
        ("ApplicationsClocksSetting", []),
        ("SwPowerCap", ["power cap"]),
        ("HwSlowdown", ["hardware slowdown"]),
        ("SyncBoost", ["sync boost"]),
        ("SwThermalSlowdown", ["software thermal slowdown"]),
        ("HwThermalSlowdown", ["hardware thermal slowdown"]),
        ("HwPowerBrakeSlowdown", ["power brake"]),
        ("DisplayClockSetting", ["display clock"]),
    ],
)
def test_bits_are_those_of_the_real_library(pynvml: Any, constant: str, names: list[str]) -> None:
    mask = getattr(pynvml, f"nvmlClocksEventReason{constant}")

    assert throttle_reasons(mask) == names


def test_the_real_library_without_such_a_gpu(pynvml: Any) -> None:
    telemetry = open_telemetry("cuda", uuid=lambda device: "00000000")

    [note] = telemetry.notes
    assert note.startswith("no clocks, power or energy: ")
    assert_blind(telemetry)
