"""What else runs on a machine is seen while it is measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_nvml import FakeNvml, opened

from roofline.torch_side.calibrate.disturbance import Watch, others_cpu_s
from roofline.torch_side.measure.telemetry import NvmlTelemetry

CPU, CUDA = torch.device("cpu"), torch.device("cuda:1")
ONE, TWO = [SimpleNamespace(pid=1)], [SimpleNamespace(pid=1), SimpleNamespace(pid=2)]


def on_cpu(monkeypatch: pytest.MonkeyPatch, others_s: list[float | None]) -> Watch:
    """Ten seconds on two threads, in which others have taken so much."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    readings: Iterator[float | None] = iter(others_s)
    moments = iter([0.0, 10.0])
    return Watch(CPU, NvmlTelemetry(), others_s=lambda: next(readings), clock=lambda: next(moments))


@pytest.mark.parametrize(
    ("others_s", "seen"),
    [
        ([100.0, 101.9], []),  # less than a tenth of two cores for ten seconds
        ([100.0, 110.0], ["other processes on the CPUs"]),
        ([None, None], []),
    ],
)
def test_other_processes_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, others_s: list[float | None], seen: list[str]
) -> None:
    with on_cpu(monkeypatch, others_s).over() as found:
        assert found.reasons == []

    assert found.reasons == seen
    assert found.passes == bool(seen)


def test_a_gpu_does_not_mind_them_but_its_host_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for host, seen in ((False, []), (True, ["other processes on the CPUs"])):
        readings, moments = iter([0.0, 10.0]), iter([0.0, 10.0])
        watch = Watch(
            CUDA, opened(FakeNvml()), others_s=lambda r=readings: next(r),
            clock=lambda m=moments: next(m),
        )  # fmt: skip
        with watch.over(host=host) as found:
            pass
        assert found.reasons == seen


def gpu(**answers: Any) -> Watch:
    return Watch(CUDA, opened(FakeNvml(**answers)), others_s=lambda: 0.0)


@pytest.mark.parametrize(
    ("answers", "seen", "passes"),
    [
        ({}, "", False),
        ({"nvmlDeviceGetComputeRunningProcesses": TWO}, "another process on the GPU", True),
        (
            {"nvmlDeviceGetCurrentClocksEventReasons": 0x40},
            "clocks held down (hardware thermal slowdown)",
            True,
        ),
        # the load itself does that, and would again
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0x4}, "clocks held down (power cap)", False),
        # of a device that does nothing no clock counts
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0x41}, "", False),
        (
            {
                "nvmlDeviceGetComputeRunningProcesses": TWO,
                "nvmlDeviceGetCurrentClocksEventReasons": 0x24,
            },
            "another process on the GPU, clocks held down (power cap), "
            "clocks held down (software thermal slowdown)",
            True,
        ),
    ],
)
def test_what_a_gpu_says_of_itself(answers: dict[str, Any], seen: str, passes: bool) -> None:
    with gpu(**answers).over() as found:
        pass

    assert str(found) == seen
    assert found.passes == passes


def test_one_that_comes_while_it_is_measured() -> None:
    running = [ONE]
    watch = gpu(nvmlDeviceGetComputeRunningProcesses=lambda handle: running[0])
    with watch.over() as found:
        running[0] = TWO

    assert str(found) == "another process on the GPU"


def test_a_gpu_that_is_busy_before_anything_runs() -> None:
    busy = {"nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40)}
    idle = {"nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=1, memory=0)}

    assert gpu(**busy).busy_before() == "the GPU was 97 % busy before anything ran"
    assert gpu(**idle).busy_before() == ""
    assert Watch(CPU).busy_before() == ""


def test_what_cannot_be_looked_at_is_a_note_on_a_gpu_alone() -> None:
    blind = NvmlTelemetry(note="no clocks, power or energy: no driver")

    assert Watch(CUDA, blind).notes == ["no clocks, power or energy: no driver"]
    assert Watch(CPU).notes == []


class TestCpuTime:
    def test_what_the_kernel_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """All that is not idle or waiting, and not ours, in steps of 1/100 s."""
        monkeypatch.setattr(os, "sysconf", lambda name: 100)
        monkeypatch.setattr(os, "times", lambda: SimpleNamespace(user=2.0, system=1.0))
        stat = tmp_path / "stat"
        stat.write_text("cpu  400 10 90 99999 88888 5 15 80 0 0\ncpu0 1 2 3\n")

        # 4 + 0.1 + 0.9 + 0.05 + 0.15 + 0.8 less our 3
        assert others_cpu_s(stat) == pytest.approx(3.0)

    @pytest.mark.parametrize(
        "content", ["", "cpu 1 2", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8"]
    )
    def test_a_file_of_another_form(self, tmp_path: Path, content: str) -> None:
        stat = tmp_path / "stat"
        stat.write_text(content)
        assert others_cpu_s(stat) is None

    def test_no_such_file(self, tmp_path: Path) -> None:
        assert others_cpu_s(tmp_path / "stat") is None

    @pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux counts it there")
    def test_a_real_process_shows_and_our_own_work_does_not(self) -> None:
        """One that computes beside us is seen; that of our own threads is not taken for it."""
        spin = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
        other = subprocess.Popen([sys.executable, "-c", spin])
        try:
            time.sleep(0.3)
            own_s = os.times().user + os.times().system
            before, begun = others_cpu_s(), time.monotonic()
            while time.monotonic() < begun + 1.0:
                pass
            after = others_cpu_s()
            own_s = os.times().user + os.times().system - own_s
        finally:
            other.kill()
            other.wait()
        assert before is not None
        assert after is not None
        # it shares the CPUs with whatever else runs here
        assert after - before > 0.2
        assert own_s > 0.1
