"""Energy of one run, by the GPU's own counter."""

from __future__ import annotations

import time
from collections.abc import Callable

from roofline.torch_side.measure.telemetry import NvmlTelemetry

_STANDSTILL_S = 1.0
"""Ten times the longest known step of a counter."""


def energy_per_run(
    run: Callable[[], object],
    telemetry: NvmlTelemetry,
    *,
    synchronize: Callable[[], None],
    clock: Callable[[], float] = time.perf_counter,
    calls: int = 1,
    least_s: float = 2.0,
) -> float | None:
    """Joules that one run takes, while runs follow each other for `least_s` or longer.

    The counter moves in steps, so energy is taken from one step to another: either end is off by
    a step at most, and by no more than the time of `calls` runs.

    synchronize: waits until the device has done what was issued (see `timing.synchronizer`).
    calls: runs between two looks at the counter; 10 ms of them hide what looking costs.

    None, with a note in the telemetry, where there is no counter or it stands still.
    """
    last_j, moved_s = telemetry.energy_j(), clock()
    first: tuple[float, float, int] | None = None  # joules, moment and runs at the first step
    runs = 0
    while last_j is not None:
        for _ in range(calls):
            run()
        synchronize()
        runs += calls
        now_j, now_s = telemetry.energy_j(), clock()
        if now_j == last_j:
            if now_s - moved_s > _STANDSTILL_S:
                telemetry.note(f"no energy: the counter stood still for {now_s - moved_s:.1f} s")
                break
            continue
        last_j, moved_s = now_j, now_s
        if now_j is None:
            break
        if first is None:
            first = now_j, now_s, runs
        elif now_s - first[1] >= least_s:
            return (now_j - first[0]) / (runs - first[2])
    return None
