"""Telemetry of a GPU that is not there: an NVML whose figures and faults each test sets."""

from __future__ import annotations

import inspect
import re
import sys
import threading
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roofline.torch_side.measure import telemetry as module
from roofline.torch_side.measure.energy import energy_per_run
from roofline.torch_side.measure.telemetry import (
    NvmlTelemetry,
    Snapshot,
    open_telemetry,
    telemetry_warnings,
    throttle_reasons,
)

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
    time_s=12.5,
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


# A GPU that answers


def test_reads_in_units_of_people() -> None:
    telemetry = opened(FakeNvml())

    assert telemetry.available
    assert telemetry.snapshot() == FULL
    assert telemetry.energy_j() == 5.25
    assert telemetry.describe() == {
        "name": "NVIDIA H200",
        "driver": "570.86.15",
        "cuda_driver": "12.8",
        "memory_total_bytes": 150_754_820_096,
        "memory_used_bytes": 754_820_096,
        "power_limit_w": 700,
        "max_sm_clock_mhz": 1980,
        "other_processes": 0,
    }
    assert telemetry.notes == []


def test_asks_about_the_device_of_that_uuid() -> None:
    asked = []
    nvml = FakeNvml()
    telemetry = open_telemetry("cuda:1", nvml=nvml, uuid=lambda device: asked.append(device) or GPU)
    telemetry.snapshot()

    assert asked == ["cuda:1"]
    handles = {call[1] for call in nvml.calls if call[0].startswith("nvmlDeviceGet")}
    assert handles == {f"GPU-{GPU}", "gpu"}


def test_a_mig_slice_is_read_as_the_whole_gpu() -> None:
    handles = {f"MIG-{GPU}": "slice"}

    def find(uuid: str) -> str:
        if uuid not in handles:
            raise NOT_FOUND
        return handles[uuid]

    parents = {"slice": "gpu"}
    telemetry = opened(
        FakeNvml(
            nvmlDeviceGetHandleByUUID=find,
            nvmlDeviceGetDeviceHandleFromMigDeviceHandle=parents.__getitem__,
        )
    )

    assert telemetry.snapshot() == FULL
    assert telemetry.notes == [
        "clocks, power and energy are those of the whole GPU, not of its MIG slice"
    ]


def test_one_of_the_processes_is_this_one() -> None:
    def others(*pids: int) -> int | None:
        running = [SimpleNamespace(pid=pid) for pid in pids]
        nvml = FakeNvml(nvmlDeviceGetComputeRunningProcesses=running)
        return opened(nvml).snapshot().other_processes

    assert [others(), others(1), others(1, 2, 3)] == [0, 0, 2]


@pytest.mark.parametrize(
    ("mask", "names", "idle"),
    [
        (0x0, [], False),
        (0x1, [], True),  # idle
        (0x2, [], False),  # clocks that somebody set
        (0x4, ["power cap"], False),
        (0x5, ["power cap"], True),
        (0x48, ["hardware slowdown", "hardware thermal slowdown"], False),
        (0x20, ["software thermal slowdown"], False),
        (0x80, ["power brake"], False),
        (1 << 40, [], False),  # of a future driver
    ],
)
def test_throttle_mask(mask: int, names: list[str], idle: bool) -> None:
    snapshot = opened(FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=mask)).snapshot()

    assert (snapshot.throttle, snapshot.idle) == (names, idle)


# A GPU that does not


def test_other_devices_have_no_telemetry() -> None:
    for device in ("cpu", "mps", "xpu:0"):
        telemetry = open_telemetry(device)
        kind = device.removesuffix(":0")
        assert telemetry.notes == [
            f"no clocks, power or energy on {kind}: NVML reads NVIDIA GPUs alone"
        ]
        assert_blind(telemetry)


def assert_blind(telemetry: NvmlTelemetry) -> None:
    """Everything can be asked, and is None."""
    assert not telemetry.available
    snapshot = telemetry.snapshot()
    assert snapshot == Snapshot(time_s=snapshot.time_s)
    assert telemetry.energy_j() is None
    assert telemetry.describe() == {}
    with telemetry.sampling(period_s=0.001) as samples:
        assert not [each for each in threading.enumerate() if each.name == "roofline-telemetry"]
    assert samples == []
    assert energy_per_run(pytest.fail, telemetry, synchronize=pytest.fail) is None


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    telemetry = open_telemetry("cuda", uuid=lambda device: GPU)

    assert telemetry.notes == [
        "no clocks, power or energy: nvidia-ml-py is not installed (pip install nvidia-ml-py)"
    ]
    assert_blind(telemetry)


@pytest.mark.parametrize(
    ("function", "fault", "reason"),
    [
        (
            "nvmlInit",
            error("LibraryNotFound"),
            "libnvidia-ml.so.1 is missing (it comes with the NVIDIA driver, and into a container "
            "with the driver capability `utility`)",
        ),
        (
            "nvmlInit",
            error("DriverNotLoaded"),
            "the NVIDIA driver is not loaded (`nvidia-smi` must work first)",
        ),
        (
            "nvmlInit",
            error("NoPermission"),
            "this user may not read it (ask the machine's administrator)",
        ),
        (
            "nvmlDeviceGetHandleByUUID",
            error("NoPermission"),
            "this user may not read it (ask the machine's administrator)",
        ),
        ("nvmlDeviceGetHandleByUUID", NOT_FOUND, "Not Found"),
        ("nvmlInit", error("Unknown", "Unknown Error\nand more"), "Unknown Error"),
    ],
)
def test_no_way_to_the_device(function: str, fault: type[NvmlError], reason: str) -> None:
    telemetry = opened(FakeNvml(**{function: fault()}))

    assert telemetry.notes == [f"no clocks, power or energy: {reason}"]
    assert_blind(telemetry)


def test_torch_without_cuda() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("has CUDA")

    telemetry = open_telemetry("cuda", nvml=FakeNvml())

    [note] = telemetry.notes
    assert note.startswith("no clocks, power or energy: ")
    assert "\n" not in note
    assert_blind(telemetry)


def test_an_amd_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "hip", "6.3")

    assert open_telemetry("cuda", nvml=FakeNvml()).notes == [
        "no clocks, power or energy: this is an AMD GPU, and NVML reads NVIDIA GPUs alone"
    ]


def test_what_is_unsupported_is_left_out_and_asked_once() -> None:
    nvml = FakeNvml(
        nvmlDeviceGetPowerUsage=NOT_SUPPORTED(),
        nvmlDeviceGetTotalEnergyConsumption=NOT_SUPPORTED(),
        nvmlDeviceGetComputeRunningProcesses=error("NoPermission")(),
        nvmlDeviceGetComputeRunningProcesses_v2=error("NoPermission")(),
    )
    telemetry = opened(nvml)
    for _ in range(3):
        snapshot = telemetry.snapshot()
        assert telemetry.energy_j() is None

    assert (snapshot.power_w, snapshot.other_processes) == (None, None)
    assert (snapshot.sm_clock_mhz, snapshot.power_limit_w) == (1755, 700)
    assert telemetry.notes == [
        "NVML gave no power, energy: this device does not offer it",
        "NVML gave no processes: this user may not read it (ask the machine's administrator)",
    ]
    names = [call[0] for call in nvml.calls]
    assert names.count("nvmlDeviceGetPowerUsage") == 1
    assert names.count("nvmlDeviceGetPowerUsage") < names.count("nvmlDeviceGetClockInfo")


@pytest.mark.parametrize(
    ("new", "old", "answer"),
    [
        (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            0x4,
        ),
        ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV", 70),
        ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2", []),
    ],
)
@pytest.mark.parametrize("missing_from", ["driver", "pynvml"])
def test_functions_of_another_age(new: str, old: str, answer: Any, missing_from: str) -> None:
    nvml = FakeNvml(**{old: answer})
    if missing_from == "driver":
        nvml.answers[new] = error("FunctionNotFound")()
    else:
        del nvml.answers[new]
    telemetry = opened(nvml)
    snapshot = telemetry.snapshot()

    assert telemetry.notes == []
    assert None not in (snapshot.throttle, snapshot.temperature_c, snapshot.other_processes)


def test_a_gpu_lost_in_the_middle() -> None:
    nvml = FakeNvml()
    telemetry = opened(nvml)
    assert telemetry.snapshot() == FULL

    lost = error("GpuIsLost", "GPU is lost")()
    nvml.answers |= {name: lost for name in nvml.answers if name.startswith("nvmlDevice")}
    partial = telemetry.snapshot()

    assert (partial.sm_clock_mhz, partial.throttle, partial.other_processes) == (None, None, None)
    assert telemetry.notes == [
        "the GPU was lost while reading throttle reasons: nothing more can be read"
    ]
    assert_blind(telemetry)
    assert len(telemetry.notes) == 1


# Sampling


def test_sampling_collects_until_the_block_is_left() -> None:
    enough = threading.Event()
    countdown = iter(range(5))

    def clocks(handle: str, kind: int) -> int:
        if kind == 1 and next(countdown, None) is None:
            enough.set()
        return 1000 + kind

    telemetry = opened(FakeNvml(nvmlDeviceGetClockInfo=clocks))
    with telemetry.sampling(period_s=0.001) as samples:
        assert enough.wait(timeout=60)
    count = len(samples)

    assert count >= 5
    assert {sample.sm_clock_mhz for sample in samples} == {1001}
    assert {sample.other_processes for sample in samples} == {None}  # slow to ask
    assert not [each for each in threading.enumerate() if each.name == "roofline-telemetry"]
    assert len(samples) == count


def test_sampling_ends_with_an_error_in_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), opened(FakeNvml()).sampling(period_s=0.001):
        raise KeyboardInterrupt
    assert not [each for each in threading.enumerate() if each.name == "roofline-telemetry"]


def test_sampling_ends_when_the_gpu_is_lost() -> None:
    nvml = FakeNvml(nvmlDeviceGetClockInfo=error("GpuIsLost")())
    telemetry = opened(nvml)
    with telemetry.sampling(period_s=0.001) as samples:
        for thread in threading.enumerate():
            if thread.name == "roofline-telemetry":
                thread.join(timeout=60)
                assert not thread.is_alive()

    assert len(samples) == 1


# Energy


class Meter:
    """A GPU of 400 W whose counter moves every 64 ms; a run takes 10 ms."""

    POWER_W, STEP_S, RUN_S = 400, 0.064, 0.010

    def __init__(self) -> None:
        self.now, self.runs, self.waits = 0.03, 0, 0

    def clock(self) -> float:
        return self.now

    def run(self) -> None:
        self.now += self.RUN_S
        self.runs += 1

    def synchronize(self) -> None:
        self.waits += 1

    def millijoules(self, handle: str) -> int:
        return round(self.now // self.STEP_S * self.STEP_S * self.POWER_W * 1000)


def test_energy_of_one_run_from_a_counter_that_moves_in_steps() -> None:
    meter = Meter()
    telemetry = opened(FakeNvml(nvmlDeviceGetTotalEnergyConsumption=meter.millijoules))

    found = energy_per_run(
        meter.run, telemetry, synchronize=meter.synchronize, clock=meter.clock, least_s=1.0
    )

    # 400 W · 10 ms = 4 J. A second is counted from step to step, each seen a run late at most
    assert found == pytest.approx(4.0, rel=0.010 / 1.0)
    assert 1.0 <= meter.now <= 0.03 + 0.064 + 1.0 + 0.064 + 2 * 0.010
    assert meter.waits == meter.runs
    assert telemetry.notes == []


def test_energy_looks_only_between_calls() -> None:
    meter = Meter()
    telemetry = opened(FakeNvml(nvmlDeviceGetTotalEnergyConsumption=meter.millijoules))

    found = energy_per_run(
        meter.run,
        telemetry,
        synchronize=meter.synchronize,
        clock=meter.clock,
        calls=4,
        least_s=2.0,
    )

    assert found == pytest.approx(4.0, rel=4 * 0.010 / 2.0)
    assert meter.runs == 4 * meter.waits


def test_energy_of_a_counter_that_stands_still() -> None:
    meter = Meter()
    telemetry = opened(FakeNvml())

    found = energy_per_run(meter.run, telemetry, synchronize=meter.synchronize, clock=meter.clock)

    assert found is None
    assert telemetry.notes == ["no energy: the counter stood still for 1.0 s"]


def test_energy_where_there_is_no_counter() -> None:
    meter = Meter()
    telemetry = opened(FakeNvml(nvmlDeviceGetTotalEnergyConsumption=NOT_SUPPORTED()))

    found = energy_per_run(meter.run, telemetry, synchronize=meter.synchronize, clock=meter.clock)

    assert found is None
    assert meter.runs == 0
    assert telemetry.notes == ["NVML gave no energy: this device does not offer it"]


def test_energy_of_a_gpu_that_is_lost_meanwhile() -> None:
    meter = Meter()
    readings = chain([1000, 2000, 3000], repeat(error("GpuIsLost")()))

    def read(handle: str) -> int:
        reading = next(readings)
        if isinstance(reading, Exception):
            raise reading
        return reading

    telemetry = opened(FakeNvml(nvmlDeviceGetTotalEnergyConsumption=read))
    found = energy_per_run(meter.run, telemetry, synchronize=meter.synchronize, clock=meter.clock)

    assert found is None
    assert telemetry.notes == ["the GPU was lost while reading energy: nothing more can be read"]


# Warnings


def at(sm_clock_mhz: float | None = 1980, **fields: Any) -> Snapshot:
    known = {"throttle": [], "idle": False, "max_sm_clock_mhz": 1980, "temperature_c": 60}
    return Snapshot(time_s=0, sm_clock_mhz=sm_clock_mhz, **(known | fields))


def test_a_quiet_run_needs_no_warning() -> None:
    assert telemetry_warnings(at(1950), [at(1980), at(1800)], at(1900)) == []


def test_nothing_known_is_nothing_to_warn_of() -> None:
    blind = Snapshot(time_s=0)

    assert telemetry_warnings(blind, [], blind) == []
    assert telemetry_warnings(blind, [blind], blind) == []


def test_warns_of_a_falling_clock() -> None:
    during = [at(1755), at(1980), at(1770), at(1980)]  # −11 %

    assert telemetry_warnings(at(1755), during, at(1980)) == [
        "the SM clock fell from 1980 to 1770 MHz: times vary with it"
    ]


def test_rising_and_idle_clocks_are_no_fall() -> None:
    idle = at(345, idle=True)

    assert telemetry_warnings(idle, [at(1200), at(1900), idle, at(1980)], idle) == []


def test_warns_of_a_clock_that_is_held_low() -> None:
    assert telemetry_warnings(at(1400), [at(1410)] * 3, at(1410)) == [
        "the SM clock stayed at or below 1410 of 1980 MHz: peaks on data sheets assume the highest"
    ]


def test_warns_of_throttling_and_how_often() -> None:
    during = [at(throttle=["power cap"])] * 3 + [at(throttle=["power cap", "power brake"]), at()]
    unread = at(throttle=None)

    assert telemetry_warnings(at(), during, unread) == [
        "clocks were held down (power cap) in 4 of 6 snapshots",
        "clocks were held down (power brake) in 1 of 6 snapshots",
    ]


def test_warns_of_heat() -> None:
    assert telemetry_warnings(at(), [at(temperature_c=84)], at()) == []
    assert telemetry_warnings(at(), [at(temperature_c=88)], at()) == [
        "the GPU reached 88 °C: near its limit it slows down"
    ]


@pytest.mark.parametrize(
    ("count", "who"), [(1, "another process computes"), (3, "3 other processes compute")]
)
def test_warns_of_company(count: int, who: str) -> None:
    assert telemetry_warnings(at(other_processes=0), [], at(other_processes=count)) == [
        f"{who} on this GPU: times are not this model's alone"
    ]


# The real library, where it is installed: it needs no GPU to say what its functions are called


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
