"""What else a machine does while it is measured: other processes, clocks that are held down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from roofline.torch_side.measure import machine
from roofline.torch_side.measure.telemetry import NvmlTelemetry, open_telemetry

POWER_CAP = "power cap"
"""No disturbance that goes away: the device's own load holds its clocks down."""
_OTHERS_SHARE = 0.1
"""Of the CPUs that torch computes on; less is what every machine does beside."""
_SLACK_S = 0.05
"""The kernel counts in steps of 10 ms."""
_BUSY_PERCENT = 5
"""Of a GPU on which nothing runs yet."""


@dataclass
class Disturbance:
    """What was seen during one stretch of time; complete once it is over."""

    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(self.reasons)

    @property
    def passes(self) -> bool:
        """Whether a repeat may be spared it."""
        return any(POWER_CAP not in reason for reason in self.reasons)


class Watch:
    """Looks at the CPUs where they compute, and at a GPU as NVML sees it."""

    def __init__(
        self,
        device: torch.device,
        telemetry: NvmlTelemetry | None = None,
        others_s: Callable[[], float | None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """others_s: seconds of CPUs that went to others so far, by a clock that `clock` is."""
        self._on_cpu = device.type == "cpu"
        self._telemetry = telemetry or open_telemetry(device)
        self._others_s, self._clock = others_s or others_cpu_s, clock
        self._cpus = machine.units(device) if self._on_cpu else os.cpu_count() or 1

    @property
    def notes(self) -> list[str]:
        """What could not be looked at, and why."""
        return [] if self._on_cpu else self._telemetry.notes

    def busy_before(self) -> str:
        """What runs on the GPU before anything of ours does; empty where nothing is seen."""
        percent = self._telemetry.snapshot().utilization_percent or 0
        if percent <= _BUSY_PERCENT:
            return ""
        return f"the GPU was {percent:.0f} % busy before anything ran"

    @contextmanager
    def over(self, *, host: bool = False) -> Iterator[Disturbance]:
        """What disturbs the work inside the block. host: whether the CPUs count in any case."""
        found = Disturbance()
        telemetry = self._telemetry
        before, begun_s, others_s = telemetry.snapshot(), self._clock(), self._others_s()
        with telemetry.sampling() as during:
            yield found
        took_s, more_s = self._clock() - begun_s, self._others_s()
        snapshots = [before, *during, telemetry.snapshot()]
        if (self._on_cpu or host) and others_s is not None and more_s is not None:
            share = (more_s - others_s - _SLACK_S) / (took_s * self._cpus) if took_s else 0.0
            if share > _OTHERS_SHARE:
                found.reasons.append("other processes on the CPUs")
        if any(snapshot.other_processes for snapshot in snapshots):
            found.reasons.append("another process on the GPU")
        held = [reason for each in snapshots if not each.idle for reason in each.throttle or ()]
        found.reasons += [f"clocks held down ({reason})" for reason in dict.fromkeys(held)]


def others_cpu_s(stat: Path = Path("/proc/stat")) -> float | None:
    """Seconds that the machine's CPUs have spent on all but this process, those that a hypervisor
    took included; None where nobody counts them.
    """
    try:
        fields = stat.read_text().partition("\n")[0].split()
        ticks = [int(number) for number in fields[1:9]]
    except (OSError, ValueError):
        return None
    if fields[:1] != ["cpu"] or len(ticks) < 8:
        return None
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = ticks
    busy_s = (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return busy_s - own.user - own.system
