"""Whether a run is limited by the device or by the host that feeds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from roofline.errors import InputError
from roofline.records.measurement import HostOverhead
from roofline.torch_side.measure.kernel_events import busy
from roofline.torch_side.measure.timing import Clock, synchronizer

BUSY_SHARE = 0.8
"""A device that works for a smaller part of the time than this is waiting for its host."""


def host_overhead(
    run: Callable[[], object],
    device: str | torch.device,
    repeats: int = 5,
    clock: Clock = time.perf_counter,
) -> HostOverhead:
    """Compare the time in which kernels run with the time that passes; medians of runs.

    run: what is looked at, in any mode: eager, compiled, or a replayed CUDA graph.
    repeats: runs without a profiler for the wall time, and as many with one for the kernels,
        behind one of each that is not looked at.

    The verdict is `launch-bound` where the device works for less than `BUSY_SHARE` of the time,
    else `device-bound`. Kernels are what runs on the device, copies and fills included; on a CPU,
    ops that call no other: all else is the host's.
    """
    if repeats < 1:
        raise InputError(f"`repeats` must be 1 or more, and is {repeats}")
    torch_device = torch.device(device)
    synchronize, on_cpu = synchronizer(torch_device), torch_device.type == "cpu"
    walls: list[float] = []
    for _ in range(repeats + 1):
        synchronize()
        start = clock()
        run()
        synchronize()
        walls.append(clock() - start)
    profiled: list[tuple[int, float]] = []
    for _ in range(repeats + 1):
        with profile(activities=[_activity(torch_device)]) as profiler:
            run()
            synchronize()
        profiled.append(busy(profiler.events(), on_cpu=on_cpu))
    wall_s = median(walls[1:])
    busy_s = min(wall_s, median(seconds for _, seconds in profiled[1:]))
    return HostOverhead(
        busy_s=busy_s,
        wall_s=wall_s,
        kernels=profiled[-1][0],
        verdict=verdict(busy_s, wall_s),
    )


def verdict(busy_s: float, wall_s: float) -> str:
    """What a device that is busy for so much of the time waits for."""
    return "launch-bound" if busy_s < BUSY_SHARE * wall_s else "device-bound"


def _activity(device: torch.device) -> ProfilerActivity:
    """Kernels alone, where they are events of their own: CPU events would slow the host down."""
    return ProfilerActivity.CPU if device.type == "cpu" else ProfilerActivity.CUDA
