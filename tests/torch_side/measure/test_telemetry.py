"""Telemetry of a GPU that answers, of one that does not, and of none."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from fake_nvml import (
    FULL,
    GPU,
    NOT_FOUND,
    NOT_SUPPORTED,
    FakeNvml,
    NvmlError,
    assert_blind,
    error,
    opened,
)

from roofline.torch_side.measure.telemetry import (
    open_telemetry,
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
    queried = []
    nvml = FakeNvml()
    telemetry = open_telemetry(
        "cuda:1", nvml=nvml, uuid=lambda device: queried.append(device) or GPU
    )
    telemetry.snapshot()

    assert queried == ["cuda:1"]
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
