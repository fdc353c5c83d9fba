"""What else is at work on a machine: by the kernel's books and NVML's, which a test writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_nvml import FakeNvml, opened
from msgspec.structs import replace

from roofline.records.measurement import Snapshot
from roofline.torch_side.measure.disturbance import (
    CpuDisturbance,
    Watch,
    blind_spots,
    busy_before,
    watch,
)
from roofline.torch_side.measure.telemetry import NvmlTelemetry, open_telemetry

pytestmark = pytest.mark.noisy

WAITED = "threads of this process stood in line for a core"
STOLEN = "the hypervisor gave cores of this machine to others"
CORES = 4


class Books:
    """A `/proc` of threads and cores, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_s = folder, 50.0
        self.threads: dict[int, tuple[int, int]] = {7: (10**9, 10**8)}
        self.stolen = [100] * CORES
        self.write()

    def write(self) -> None:
        for number, (ran, waited) in self.threads.items():
            file = self.folder / "self" / "task" / str(number) / "schedstat"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{ran} {waited} 3\n", encoding="utf-8")
        cores = [f"cpu{n} 1 2 3 4 5 6 7 {stolen} 0 0" for n, stolen in enumerate(self.stolen)]
        text = "\n".join(["cpu  9 9 9 9 9 9 9 999999 9 9", *cores, "ctxt 5"])
        (self.folder / "stat").write_text(text, encoding="utf-8")

    def pass_(self, seconds: float, ran_s: float = 0.0, waited_s: float = 0.0) -> None:
        self.now_s += seconds
        ran, waited = self.threads[7]
        self.threads[7] = round(ran + ran_s * 1e9), round(waited + waited_s * 1e9)
        self.write()


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    return Books(tmp_path)


def asked(books: Books) -> CpuDisturbance:
    return CpuDisturbance(books.folder, lambda: books.now_s)


def test_time_in_line_for_a_core_counts_since_the_last_look(books: Books) -> None:
    cpu = asked(books)
    books.pass_(1.0, ran_s=0.96, waited_s=0.04)
    assert cpu() == ""
    books.pass_(1.0, ran_s=0.94, waited_s=0.06)
    assert cpu() == WAITED
    books.pass_(1.0, ran_s=1.0)
    assert cpu() == ""


def test_threads_come_and_go(books: Books) -> None:
    cpu = asked(books)
    books.threads[8] = (0, 10**9)  # a new one, all of whose time is since then
    books.pass_(1.0, ran_s=1.0)
    assert cpu() == WAITED
    (books.folder / "self" / "task" / "8" / "schedstat").unlink()
    del books.threads[8]
    books.pass_(1.0, ran_s=1.0)
    assert cpu() == ""


def test_a_thread_that_ends_under_the_eyes_is_left_out(books: Books) -> None:
    (books.folder / "self" / "task" / "9").mkdir()
    (books.folder / "self" / "task" / "9" / "schedstat").write_text("", encoding="utf-8")
    cpu = asked(books)
    books.pass_(1.0, ran_s=1.0)
    assert cpu() == ""


def test_what_a_hypervisor_takes_of_the_cores_at_hand(books: Books) -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    cpu = asked(books)
    books.stolen[0] += 10**6  # a core that this process may not use
    books.stolen[1] += round(0.09 / tick)
    books.pass_(1.0)  # of 2 s
    assert cpu() == ""
    books.stolen[2] += round(0.11 / tick)
    books.pass_(1.0)
    assert cpu() == STOLEN


def test_without_books_everything_is_calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CpuDisturbance(tmp_path / "nothing")() == ""
    (tmp_path / "stat").write_text("cpu0 1 2 3 4 5 6 7 8", encoding="utf-8")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    assert CpuDisturbance(tmp_path)() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the books are Linux's")
def test_a_busy_neighbour_on_the_same_core_is_seen() -> None:
    """In earnest: this process and a loop that never ends share one core."""
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        time.sleep(0.2)
        cpu = CpuDisturbance()
        until = time.perf_counter() + 0.5
        while time.perf_counter() < until:
            pass
        assert cpu() == WAITED
    finally:
        os.sched_setaffinity(0, mine)
        neighbour.kill()
        neighbour.wait()


# GPUs

AT_WORK = Snapshot(taken_at_s=0.0, sm_clock_mhz=1700.0, throttle=[], idle=False, other_processes=0)


def gpu(nvml: FakeNvml, during: list[Snapshot]) -> Watch:
    return Watch(lambda: "", opened(nvml), during)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ""),
        ({"throttle": ["hardware thermal slowdown"]}, "held down (hardware thermal slowdown)"),
        ({"throttle": ["power cap", "power brake"]}, "held down (power brake)"),
        ({"throttle": ["power cap"], "sm_clock_mhz": 1200.0}, ""),  # what the work is worth
        ({"throttle": ["power brake"], "idle": True}, ""),
        ({"sm_clock_mhz": 1500.0}, "the SM clock fell more than 10 % below its highest"),
        ({"sm_clock_mhz": 1650.0}, ""),
        ({"sm_clock_mhz": 300.0, "idle": True}, ""),
        ({"sm_clock_mhz": None, "throttle": None, "idle": None}, ""),
    ],
)
def test_what_a_gpu_does_meanwhile(changes: dict[str, object], found: str) -> None:
    during = [AT_WORK] * 3
    disturbance = gpu(FakeNvml(), during)
    assert disturbance() == ""
    during.append(replace(AT_WORK, **changes))
    assert found in disturbance()
    assert disturbance() == ""  # that was then


def test_what_a_repeat_would_not_be_spared_is_stated_all_the_same() -> None:
    during: list[Snapshot] = []
    disturbance = gpu(FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=0x4), during)
    assert disturbance.lasting == ""
    assert disturbance() == ""
    assert disturbance.lasting == "clocks held down for good (power cap)"
    during.append(replace(AT_WORK, throttle=["sync boost", "power brake", "power cap"]))
    assert disturbance() == "clocks were held down (power brake)"
    assert disturbance.lasting == "clocks held down for good (power cap, sync boost)"


def test_of_a_gpu_that_does_nothing_no_clock_counts() -> None:
    disturbance = gpu(FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=0x45), [])
    assert disturbance() == ""
    assert disturbance.lasting == ""


def test_a_gpu_that_is_busy_before_anything_runs() -> None:
    def at(percent: int) -> NvmlTelemetry:
        used = SimpleNamespace(gpu=percent, memory=40)
        return opened(FakeNvml(nvmlDeviceGetUtilizationRates=used))

    assert busy_before(at(97)) == "the GPU was 97 % busy before anything ran"
    assert busy_before(at(1)) == ""
    assert busy_before(open_telemetry("cpu")) == ""


def test_what_cannot_be_looked_at_is_a_note_on_a_gpu_alone() -> None:
    blind = NvmlTelemetry(note="no clocks, power or energy: no driver")

    assert blind_spots(torch.device("cuda:1"), blind) == ["no clocks, power or energy: no driver"]
    assert blind_spots(torch.device("cpu"), blind) == []


def test_others_on_the_gpu_are_asked_for_at_each_look() -> None:
    processes = [object()]
    nvml = FakeNvml(nvmlDeviceGetComputeRunningProcesses=lambda handle: processes)
    disturbance = gpu(nvml, [])
    assert disturbance() == ""
    processes.append(object())
    assert disturbance() == "another process computes on this GPU"
    processes.append(object())
    assert disturbance() == "2 other processes compute on this GPU"


def test_a_gpu_waits_for_its_host_as_well() -> None:
    assert Watch(lambda: WAITED, opened(FakeNvml()), [])() == WAITED


def test_the_watch_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    cpu: Callable[[CpuDisturbance], str] = lambda self: looks.append("cpu") or WAITED  # noqa: E731
    monkeypatch.setattr(CpuDisturbance, "__call__", cpu)
    with watch(torch.device("cpu")) as disturbance:
        assert disturbance() == WAITED
    with watch("cuda", opened(FakeNvml())) as disturbance:
        assert disturbance() == WAITED
        time.sleep(0.25)
    assert disturbance.during
    assert looks == ["cpu", "cpu"]


def test_a_host_that_does_not_count_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuDisturbance, "__call__", lambda self: WAITED)
    processes = [object()]
    nvml = FakeNvml(nvmlDeviceGetComputeRunningProcesses=lambda handle: processes)
    with watch("cuda", opened(nvml), host=False) as disturbance:
        assert disturbance() == ""
        processes.append(object())
        assert disturbance() == "another process computes on this GPU"
