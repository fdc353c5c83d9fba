"""What else is at work on a machine while something is timed on it.

Asked between rounds of samples, so that those which were disturbed can be taken anew. The CPU's own
books say how long threads of this process stood in line for a core, and what a hypervisor took
away; NVML says what holds the GPU's clocks down, and who else computes there. What cannot be read
is taken for calm: `statistics.disturbed` still sees it in the samples.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from roofline.records.measurement import Snapshot
from roofline.torch_side.measure.telemetry import (
    CLOCK_DROP,
    NvmlTelemetry,
    open_telemetry,
    others_on_gpu,
)

if TYPE_CHECKING:
    import torch

_LARGE_SHARE = 0.05
"""Of the time in which this process wanted a core. A quiet machine's own chores take 1 % or so."""
_STEAL = 7
"""Column of a CPU in /proc/stat, behind its name: the hypervisor gave it to others."""
_LASTING = ("power cap", "sync boost", "display clock")
"""They hold clocks down for as long as the work is what it is, or by somebody's setting: taken anew
the samples would be the same. `Watch.lasting` and `telemetry_warnings` name them."""
FOR_GOOD = "clocks held down for good"
"""How `Watch.lasting` begins."""
_BUSY_PERCENT = 5
"""Of a GPU on which nothing runs yet."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class CpuDisturbance:
    """Whether others have kept this process from its cores since it was asked last; Linux alone.

    proc: the folder of the kernel's books.
    """

    def __init__(
        self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._proc, self._clock = proc, clock
        self._last_s, self._threads, self._stolen = clock(), self._read_threads(), self._steal()

    def __call__(self) -> str:
        now_s, threads, stolen = self._clock(), self._read_threads(), self._steal()
        none = (0, 0)
        ran, waited = (
            sum(
                now[column] - self._threads.get(name, none)[column] for name, now in threads.items()
            )
            for column in (0, 1)
        )
        cores_s = len(stolen) * (now_s - self._last_s)
        taken_s = (sum(stolen.values()) - sum(self._stolen.values())) / _TICKS_PER_S
        self._last_s, self._threads, self._stolen = now_s, threads, stolen
        if waited > _LARGE_SHARE * (ran + waited):
            return "threads of this process stood in line for a core"
        if taken_s > _LARGE_SHARE * cores_s:
            return "the hypervisor gave cores of this machine to others"
        return ""

    def _read_threads(self) -> dict[str, tuple[int, int]]:
        """Nanoseconds that each thread ran, and that it stood in line for a core."""
        found = {}
        for file in self._proc.glob("self/task/*/schedstat"):
            try:
                ran, waited, *_ = map(int, file.read_text().split())
            except (OSError, ValueError):  # the thread has ended
                continue
            found[file.parent.name] = ran, waited
        return found

    def _steal(self) -> dict[str, int]:
        """Ticks that were taken from each of the cores that this process may use."""
        try:
            lines = (self._proc / "stat").read_text().splitlines()
            mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        except (OSError, AttributeError):  # no Linux
            return {}
        columns = (line.split() for line in lines)
        return {name: int(rest[_STEAL]) for name, *rest in columns if name in mine}


class Watch:
    """What has disturbed a run on a device since it was called last.

    during: snapshots that the telemetry takes in the background.
    """

    def __init__(
        self, cpu: Callable[[], str], telemetry: NvmlTelemetry, during: Sequence[Snapshot]
    ) -> None:
        self.during = during
        self._cpu, self._telemetry = cpu, telemetry
        self._seen = 0
        self._held: dict[str, None] = {}

    def __call__(self) -> str:
        """The GPU's trouble first; empty where nothing is known to have been at work."""
        on_cpu = self._cpu()
        if not self._telemetry.available:
            return on_cpu
        now = self._telemetry.snapshot()
        fresh, self._seen = [*self.during[self._seen :], now], len(self.during)
        self._held |= dict.fromkeys(why for why in _held_down_by(fresh) if why in _LASTING)
        return others_on_gpu([now]) or _held_down(fresh) or self._slowed(fresh) or on_cpu

    @property
    def lasting(self) -> str:
        """What holds the clocks down and would again: no disturbance, but to be known. Empty where
        nothing has at any call.
        """
        return f"{FOR_GOOD} ({', '.join(self._held)})" if self._held else ""

    def _slowed(self, fresh: Sequence[Snapshot]) -> str:
        """Whether the clock is below what it has been at work; not where a cap says why."""
        clocks = [each.sm_clock_mhz for each in self.during if _tells(each)]
        highest = max((clock for clock in clocks if clock is not None), default=0.0)
        for each in filter(_tells, fresh):
            if each.sm_clock_mhz is not None and each.sm_clock_mhz < (1 - CLOCK_DROP) * highest:
                return f"the SM clock fell more than {100 * CLOCK_DROP:.0f} % below its highest"
        return ""


@contextmanager
def watch(
    device: torch.device | str,
    telemetry: NvmlTelemetry | None = None,
    clock: Callable[[], float] = time.perf_counter,
    *,
    host: bool = True,
) -> Iterator[Watch]:
    """Look out for disturbances of a device, and of the CPU that feeds it, while the block runs.

    telemetry: of the device, if it is open already.
    host: whether what disturbs the CPU counts: not where the device has all of its work before a
        time begins.
    """
    telemetry = telemetry or open_telemetry(device, clock=clock)
    with telemetry.sampling() as during:
        yield Watch(CpuDisturbance() if host else _calm, telemetry, during)


def busy_before(telemetry: NvmlTelemetry) -> str:
    """What runs on a GPU before anything of ours does; empty where nothing is seen."""
    percent = telemetry.snapshot().utilization_percent or 0
    if percent <= _BUSY_PERCENT:
        return ""
    return f"the GPU was {percent:.0f} % busy before anything ran"


def blind_spots(device: torch.device, telemetry: NvmlTelemetry) -> list[str]:
    """What could not be looked at, and why; a CPU has none, as NVML is not for it."""
    return [] if device.type == "cpu" else telemetry.notes


def _calm() -> str:
    return ""


def _held_down_by(fresh: Sequence[Snapshot]) -> list[str]:
    return [why for each in fresh if not each.idle for why in each.throttle or ()]


def _held_down(fresh: Sequence[Snapshot]) -> str:
    harmful = [why for why in _held_down_by(fresh) if why not in _LASTING]
    return f"clocks were held down ({harmful[0]})" if harmful else ""


def _tells(snapshot: Snapshot) -> bool:
    """Whether its clock is that of work which nothing known slows down."""
    return not snapshot.idle and not snapshot.throttle
