"""Energy of a run from a counter that moves in steps, or stands still, or is lost."""

from __future__ import annotations

from itertools import chain, repeat

import pytest
from fake_nvml import (
    NOT_SUPPORTED,
    FakeNvml,
    error,
    opened,
)

from roofline.torch_side.measure.energy import energy_per_run


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
