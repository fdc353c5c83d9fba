"""An NVML that is not there, whose figures and faults each test sets, and a GPU read through it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from roofline.torch_side.measure.energy import energy_per_run
from roofline.torch_side.measure.telemetry import NvmlTelemetry, Snapshot, open_telemetry

GPU = "ffc79498-8ff3-c2dc-3b0d-fafd804516ae"


class NvmlError(Exception):
    """Base of NVML's errors; pynvml calls it NVMLError."""


def error(name: str, text: str = "") -> type[NvmlError]:
    """A class of NVML error, by the name that pynvml gives it."""
    return type(f"NVMLError_{name}", (NvmlError,), {"__str__": lambda self: text or name})


NOT_FOUND = error("NotFound", "Not Found")
NOT_SUPPORTED = error("NotSupported", "Not Supported")


class FakeNvml:
    """The functions of pynvml that are in use, answering for one GPU in NVML's units.

    answers: by function, a value, an exception to raise, or a callable. A function without an
    answer is missing, as from an older pynvml.
    """

    NVMLError = NvmlError
    NVMLError_NotFound = NOT_FOUND
    NVMLError_InvalidArgument = error("InvalidArgument")

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByUUID": self._handle,
            "nvmlSystemGetDriverVersion": "570.86.15",
            "nvmlSystemGetCudaDriverVersion": 12080,
            "nvmlDeviceGetName": "NVIDIA H200",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=150_754_820_096, used=754_820_096),
            "nvmlDeviceGetClockInfo": lambda handle, kind: {1: 1755, 2: 2619}[kind],  # SM, memory
            "nvmlDeviceGetMaxClockInfo": lambda handle, kind: {1: 1980}[kind],
            "nvmlDeviceGetPowerUsage": 412_500,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetTemperature": lambda handle, sensor: {0: 61}[sensor],
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
            "nvmlDeviceGetCurrentClocksEventReasons": 0,
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=4711)],
            "nvmlDeviceGetTotalEnergyConsumption": 5_250,
        } | answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.answers:
            raise AttributeError(f"module 'pynvml' has no attribute {name!r}")

        def function(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return function

    @staticmethod
    def _handle(uuid: str) -> str:
        if uuid != f"GPU-{GPU}":
            raise NOT_FOUND
        return "gpu"


def opened(nvml: FakeNvml) -> NvmlTelemetry:
    return open_telemetry("cuda:1", nvml=nvml, uuid=lambda device: GPU, clock=lambda: 12.5)


FULL = Snapshot(
    taken_at_s=12.5,
    sm_clock_mhz=1755,
    memory_clock_mhz=2619,
    max_sm_clock_mhz=1980,
    power_w=412.5,
    power_limit_w=700,
    temperature_c=61,
    utilization_percent=97,
    throttle=[],
    idle=False,
    other_processes=0,
)


def assert_blind(telemetry: NvmlTelemetry) -> None:
    """Everything can be asked, and is None."""
    assert not telemetry.available
    snapshot = telemetry.snapshot()
    assert snapshot == Snapshot(taken_at_s=snapshot.taken_at_s)
    assert telemetry.energy_j() is None
    assert telemetry.describe() == {}
    with telemetry.sampling(period_s=0.001) as samples:
        assert not [each for each in threading.enumerate() if each.name == "roofline-telemetry"]
    assert samples == []
    assert energy_per_run(pytest.fail, telemetry, synchronize=pytest.fail) is None
