"""On a CUDA device: events against the wall clock, and what NVML says of a real GPU."""

from __future__ import annotations

import time

import pytest

torch = pytest.importorskip("torch")

from roofline.records.statistics import StoppingRule, WarmUpRule  # noqa: E402
from roofline.torch_side.measure.energy import energy_per_run  # noqa: E402  # torch may be missing
from roofline.torch_side.measure.telemetry import open_telemetry  # noqa: E402
from roofline.torch_side.measure.timing import (  # noqa: E402
    CudaStopwatch,
    Mark,
    Subject,
    WallStopwatch,
    calls_for,
    measure,
    stopwatch_for,
    synchronizer,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Work:
    """Long kernels: 2 · 4096³ FLOPs a multiplication, milliseconds in fp32 on any GPU."""

    def __init__(self) -> None:
        self.left = torch.randn(4096, 4096, device="cuda")
        self.out = torch.empty_like(self.left)

    def multiply(self, times: int) -> None:
        for _ in range(times):
            torch.mm(self.left, self.left, out=self.out)

    def marked(self, mark: Mark) -> None:
        self.multiply(4)
        mark("four")
        self.multiply(12)
        mark("twelve")


def test_events_agree_with_the_wall_clock() -> None:
    """Two clocks for the same runs; neither is asserted against a duration."""
    work, events = Work(), CudaStopwatch("cuda")
    wall = WallStopwatch(time.perf_counter, synchronizer("cuda"))
    work.multiply(8)
    pairs = []
    for _ in range(9):
        wall.start()
        events.start()
        work.marked(events.mark)
        by_events = events.stop()
        pairs.append((sum(by_events.values()), wall.stop()["total"]))
        assert list(by_events) == ["four", "twelve"]

    ratios = sorted(inside / outside for inside, outside in pairs)
    assert ratios[len(ratios) // 2] == pytest.approx(1, abs=0.03)
    assert ratios[-1] <= 1.001  # the wall clock encloses the events


def test_marks_wait_for_nothing() -> None:
    work, events = Work(), stopwatch_for("cuda")
    events.start()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work.marked(events.mark)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    spans = events.stop()
    assert spans["twelve"] / spans["four"] == pytest.approx(3, rel=0.2)


def test_measures_on_the_device() -> None:
    work = Work()
    rule = StoppingRule(relative_ci=0.05, least=6, cap_s=20)
    subjects = [Subject("marked", work.marked), Subject("plain", lambda mark: work.multiply(16))]
    found = measure(
        subjects, stopwatch_for("cuda"), rule, warm_up=WarmUpRule(most=10), together=True
    )

    assert found["marked"].stopped == "settled"
    marked, plain = (min(each.total) for each in found.values())
    assert marked == pytest.approx(plain, rel=0.05)


def test_the_gpu_that_torch_means() -> None:
    pytest.importorskip("pynvml")
    telemetry = open_telemetry("cuda")
    if not telemetry.available:
        pytest.skip(telemetry.notes[0])

    described = telemetry.describe()
    # CUDA adds to the name of a MIG slice
    assert torch.cuda.get_device_name("cuda").startswith(str(described["name"]))
    snapshot = telemetry.snapshot()
    assert snapshot.sm_clock_mhz is not None
    assert snapshot.max_sm_clock_mhz is not None
    assert 0 < snapshot.sm_clock_mhz <= snapshot.max_sm_clock_mhz


def test_energy_agrees_with_power() -> None:
    pytest.importorskip("pynvml")
    telemetry, work = open_telemetry("cuda"), Work()
    if telemetry.energy_j() is None:
        pytest.skip(telemetry.notes[-1])
    stopwatch = stopwatch_for("cuda")
    calls = calls_for(lambda: work.multiply(1), stopwatch, least_s=0.01)

    with telemetry.sampling(0.05) as samples:
        energy_j = energy_per_run(
            lambda: work.multiply(calls), telemetry, synchronize=synchronizer("cuda")
        )
        stopwatch.start()
        work.multiply(calls)
        seconds = stopwatch.stop()["total"]

    assert energy_j is not None
    powers_w = [sample.power_w for sample in samples if sample.power_w is not None]
    if not powers_w:
        pytest.skip("no power readings")
    # the last reading: NVML averages power over up to a second, which began idle
    assert energy_j / seconds == pytest.approx(powers_w[-1], rel=0.3)
