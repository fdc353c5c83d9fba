"""What the GPU says of itself while it is measured: clocks, power, temperature, throttling, energy.

NVML answers, through `pynvml` (nvidia-ml-py). A missing thermometer never stops an experiment:
whatever cannot be read is None, and `NvmlTelemetry.notes` says what that was and how to get it.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from roofline.records.measurement import Snapshot
from roofline.units import MILLI

if TYPE_CHECKING:
    import torch

_SM, _MEMORY, _GPU_SENSOR = 1, 2, 0  # NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU
_IDLE = 0x1
_THROTTLE = {  # nvmlClocksEventReason…; idle and clocks that somebody set (0x2) are no trouble
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clock",
    0x200: "board limit",
    0x400: "reliability",
}
_REASONS = {
    "ModuleNotFoundError": "nvidia-ml-py is not installed (pip install nvidia-ml-py)",
    "NVMLError_LibraryNotFound": "libnvidia-ml.so.1 is missing (it comes with the NVIDIA driver, "
    "and into a container with the driver capability `utility`)",
    "NVMLError_DriverNotLoaded": "the NVIDIA driver is not loaded (`nvidia-smi` must work first)",
    "NVMLError_NoPermission": "this user may not read it (ask the machine's administrator)",
    "NVMLError_NotSupported": "this device does not offer it",
    "NVMLError_FunctionNotFound": "this driver does not offer it (a newer one may)",
}
CLOCK_DROP = 0.1
_HOT_C = 85


class NvmlTelemetry:
    """One NVIDIA GPU as NVML sees it; without a handle everything is None. Never raises."""

    def __init__(
        self,
        nvml: Any = None,
        handle: Any = None,
        *,
        note: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._nvml, self._handle, self._clock = nvml, handle, clock
        self._notes = [note] if note else []
        self._missing: dict[str, list[str]] = {}  # reason → what could not be read
        self._failed: set[str] = set()

    @property
    def available(self) -> bool:
        """Whether there is a device to ask."""
        return self._handle is not None

    @property
    def notes(self) -> list[str]:
        """What could not be read and why, a sentence each."""
        missing = [f"NVML gave no {', '.join(what)}: {why}" for why, what in self._missing.items()]
        return self._notes + missing

    def note(self, sentence: str) -> None:
        """Add to the notes."""
        self._notes.append(sentence)

    def describe(self) -> dict[str, str | int | float | None]:
        """Device and driver, for a record; no serial numbers. Empty without a device."""
        if not self.available:
            return {}
        cuda = self._ask("CUDA version", ["nvmlSystemGetCudaDriverVersion"], of_device=False)
        memory = self._ask("memory use", ["nvmlDeviceGetMemoryInfo"])
        return {
            "name": self._ask("name", ["nvmlDeviceGetName"]),
            "driver": self._ask("driver", ["nvmlSystemGetDriverVersion"], of_device=False),
            "cuda_driver": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            "memory_total_bytes": None if memory is None else memory.total,
            "memory_used_bytes": None if memory is None else memory.used,
            "power_limit_w": self._power_limit_w(),
            "max_sm_clock_mhz": self._max_sm_clock_mhz(),
            "other_processes": self._other_processes(),
        }

    def snapshot(self) -> Snapshot:
        """The device now."""
        return msgspec.structs.replace(self._quick(), other_processes=self._other_processes())

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded, by a counter that moves in steps of 20 to 100 ms."""
        return _scaled(self._ask("energy", ["nvmlDeviceGetTotalEnergyConsumption"]), MILLI)

    @contextmanager
    def sampling(self, period_s: float = 0.1) -> Iterator[list[Snapshot]]:
        """Collect snapshots in the background; the list is complete once the block is left."""
        samples: list[Snapshot] = []
        done = threading.Event()

        def collect() -> None:
            while not done.wait(period_s) and self.available:
                samples.append(self._quick())

        if not self.available:
            yield samples
            return
        thread = threading.Thread(target=collect, name="roofline-telemetry", daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            done.set()
            thread.join()

    def _quick(self) -> Snapshot:
        """What changes from moment to moment, and its limits."""
        if not self.available:
            return Snapshot(taken_at_s=self._clock())
        # where there are two functions, the other is for drivers or libraries of another age
        mask = self._ask(
            "throttle reasons",
            ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"],
        )
        busy = self._ask("utilization", ["nvmlDeviceGetUtilizationRates"])
        return Snapshot(
            taken_at_s=self._clock(),
            sm_clock_mhz=self._ask("SM clock", ["nvmlDeviceGetClockInfo"], _SM),
            memory_clock_mhz=self._ask("memory clock", ["nvmlDeviceGetClockInfo"], _MEMORY),
            max_sm_clock_mhz=self._max_sm_clock_mhz(),
            power_w=_scaled(self._ask("power", ["nvmlDeviceGetPowerUsage"]), MILLI),
            power_limit_w=self._power_limit_w(),
            temperature_c=self._ask(
                "temperature",
                ["nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"],
                _GPU_SENSOR,
            ),
            utilization_percent=None if busy is None else busy.gpu,
            throttle=None if mask is None else throttle_reasons(mask),
            idle=None if mask is None else bool(mask & _IDLE),
        )

    def _max_sm_clock_mhz(self) -> Any:
        return self._ask("highest SM clock", ["nvmlDeviceGetMaxClockInfo"], _SM)

    def _power_limit_w(self) -> float | None:
        return _scaled(self._ask("power limit", ["nvmlDeviceGetEnforcedPowerLimit"]), MILLI)

    def _other_processes(self) -> int | None:
        running = self._ask(
            "processes",
            ["nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2"],
        )
        if running is None:
            return None
        # this process is one of them, under whatever id its container hides it
        return max(len(running) - 1, 0)

    def _ask(
        self, what: str, functions: Sequence[str], *arguments: Any, of_device: bool = True
    ) -> Any:
        """The answer of the first function that has one; None, and never asked again, if none."""
        if not self.available or what in self._failed:
            return None
        given = (self._handle, *arguments) if of_device else arguments
        for function in functions:
            try:
                return getattr(self._nvml, function)(*given)
            except Exception as error:  # whatever it is, the measurement goes on without
                reason = _reason(error)
                if type(error).__name__ == "NVMLError_GpuIsLost":
                    self._handle = None
                    self.note(f"the GPU was lost while reading {what}: nothing more can be read")
                    return None
        self._failed.add(what)
        self._missing.setdefault(reason, []).append(what)
        return None


def open_telemetry(
    device: torch.device | str,
    *,
    nvml: Any = None,
    uuid: Callable[[torch.device | str], str] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> NvmlTelemetry:
    """Telemetry of the GPU that torch calls `device`, found by its UUID whatever its index is.

    On other devices, and wherever NVML is not to be had, one without a handle, whose note says so.
    nvml, uuid: stand in for the module `pynvml` and for torch's word on the device.
    """
    kind = str(device).partition(":")[0]
    if kind != "cuda":
        return NvmlTelemetry(
            note=f"no clocks, power or energy on {kind}: NVML reads NVIDIA GPUs alone"
        )
    try:
        identity = (uuid or _uuid)(device)
        nvml = nvml or importlib.import_module("pynvml")  # optional
        nvml.nvmlInit()
        handle, note = _handle(nvml, identity)
    except Exception as error:  # of torch, the library, the driver, or the device
        return NvmlTelemetry(note=f"no clocks, power or energy: {_reason(error)}", clock=clock)
    return NvmlTelemetry(nvml, handle, note=note, clock=clock)


def _uuid(device: torch.device | str) -> str:
    import torch

    if torch.version.hip:
        raise OSError("this is an AMD GPU, and NVML reads NVIDIA GPUs alone")
    return str(torch.cuda.get_device_properties(device).uuid)


def _handle(nvml: Any, uuid: str) -> tuple[Any, str]:
    """NVML's handle of a GPU, and what is to be said of it."""
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"), ""
    except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
        part = nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
        whole = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)
        return whole, "clocks, power and energy are those of the whole GPU, not of its MIG slice"


def _reason(error: Exception) -> str:
    known = _REASONS.get(type(error).__name__)
    return known or str(error).partition("\n")[0] or type(error).__name__


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def throttle_reasons(mask: int) -> list[str]:
    """Names of what holds the clocks down, from NVML's mask of clock event reasons."""
    return [name for bit, name in _THROTTLE.items() if mask & bit]


def telemetry_warnings(before: Snapshot, during: Sequence[Snapshot], after: Snapshot) -> list[str]:
    """What the device did that spoils a measurement; empty where nothing is known to.

    before, after: right before and after it. during: from `sampling`. Moments at which
    nothing ran say nothing of clocks.
    """
    everything = [before, *during, after]
    busy = [snapshot for snapshot in everything if not snapshot.idle]
    found = [_slow_clock(busy), *_throttled(busy), _hot(everything)]
    if others := others_on_gpu(everything):
        found.append(f"{others}: times are not this model's alone")
    return [warning for warning in found if warning]


def _slow_clock(busy: Sequence[Snapshot]) -> str:
    clocks = [snapshot.sm_clock_mhz for snapshot in busy if snapshot.sm_clock_mhz is not None]
    if not clocks:
        return ""
    highest = max(clocks)  # clocks rise first; only what comes after the highest is a drop
    lowest = min(clocks[clocks.index(highest) :])
    if lowest < (1 - CLOCK_DROP) * highest:
        return f"the SM clock fell from {highest:.0f} to {lowest:.0f} MHz: times vary with it"
    limits = [each.max_sm_clock_mhz for each in busy if each.max_sm_clock_mhz is not None]
    if limits and highest < (1 - CLOCK_DROP) * max(limits):
        return (
            f"the SM clock stayed at or below {highest:.0f} of {max(limits):.0f} MHz: "
            "peaks on data sheets assume the highest"
        )
    return ""


def _throttled(busy: Sequence[Snapshot]) -> list[str]:
    known = [snapshot.throttle for snapshot in busy if snapshot.throttle is not None]
    counts = Counter(reason for reasons in known for reason in reasons)
    return [
        f"clocks were held down ({reason}) in {count} of {len(known)} snapshots"
        for reason, count in counts.items()
    ]


def _hot(snapshots: Sequence[Snapshot]) -> str:
    hottest = max((each.temperature_c or 0 for each in snapshots), default=0)
    if hottest < _HOT_C:
        return ""
    return f"the GPU reached {hottest:.0f} °C: near its limit it slows down"


def others_on_gpu(snapshots: Sequence[Snapshot]) -> str:
    """That others compute there; empty where none are known to. Who merely holds memory counts."""
    others = max((each.other_processes or 0 for each in snapshots), default=0)
    if not others:
        return ""
    who = "another process computes" if others == 1 else f"{others} other processes compute"
    return f"{who} on this GPU"
