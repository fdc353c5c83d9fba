"""Which range a kernel belongs to, on profiles written out by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from torch.autograd import DeviceType

from roofline.torch_side.measure.kernel_events import RANGE, Spent, busy, spent_by_range

ONE, TWO = f"{RANGE}1", f"{RANGE}2"


class Interval(NamedTuple):
    start: float
    end: float

    def elapsed_us(self) -> float:
        return self.end - self.start


class Kernel(NamedTuple):
    duration: float


@dataclass
class Event:
    """What is used of a `FunctionEvent`; times are in microseconds."""

    name: str
    start: float
    end: float
    children: list[Event] = field(default_factory=list)
    launched: list[float] = field(default_factory=list)
    device_type: Any = DeviceType.CPU
    is_user_annotation: bool = False
    cpu_parent: Event | None = None

    def __post_init__(self) -> None:
        for child in self.children:
            child.cpu_parent = self

    @property
    def cpu_children(self) -> list[Event]:
        return self.children

    @property
    def kernels(self) -> list[Kernel]:
        return [Kernel(duration) for duration in self.launched]

    @property
    def time_range(self) -> Interval:
        return Interval(self.start, self.end)

    @property
    def self_cpu_time_total(self) -> float:
        return self.end - self.start - sum(c.end - c.start for c in self.children)

    def all(self) -> list[Event]:
        return [self, *(inner for child in self.children for inner in child.all())]


def kernel(start: float, end: float, name: str = "gemm", annotation: bool = False) -> Event:
    return Event(name, start, end, device_type=DeviceType.CUDA, is_user_annotation=annotation)


def call(name: str, inside: Event, start: float, end: float) -> Event:
    """An op as the dispatcher runs it under a mode: outside, mode, range, op."""
    ranged = Event(name, start + 2, end - 1, [inside])
    mode = Event("PythonDispatchMode", start + 1, end, [ranged])
    return Event(inside.name, start, end + 1, [mode])


def seconds(microseconds: float) -> Any:
    return pytest.approx(microseconds * 1e-6)


def test_cuda_kernels_belong_to_the_range_that_launched_them() -> None:
    launch = Event("cudaLaunchKernel", 22, 27)
    first = call(ONE, Event("aten::addmm", 20, 30, [launch], launched=[100.0, 7.0]), 10, 40)
    copied = Event("aten::copy_", 62, 66, launched=[3.0])
    second = call(TWO, Event("aten::clone", 60, 70, [copied], launched=[]), 50, 80)
    device = [
        kernel(100, 200),
        kernel(210, 217, "splitKreduce"),
        kernel(220, 223, "Memcpy DtoD"),
        kernel(100, 223, ONE, annotation=True),
    ]

    spent = spent_by_range([*first.all(), *second.all(), *device], on_cpu=False)

    assert spent[ONE] == Spent(2, seconds(107), seconds(10))  # 20 to 30, its launch included
    assert spent[TWO] == Spent(1, seconds(3), seconds(10))
    assert spent[None] == Spent(0, seconds(0), seconds(0))


def test_no_kernel_is_lost() -> None:
    """One launched by an op in no range, one by no op at all; a wait that claims both is none."""
    lone = Event("aten::fill_", 0, 5, launched=[4.0])
    wait = Event("cudaDeviceSynchronize", 5, 90, launched=[4.0, 6.0])
    events = [lone, wait, kernel(10, 14), kernel(20, 26, "triton")]

    spent = spent_by_range(events, on_cpu=False)

    assert set(spent) == {None}
    assert spent[None] == Spent(2, seconds(10), seconds(5))


def test_on_a_cpu_ops_are_the_kernels() -> None:
    copied = Event("aten::copy_", 23, 27)
    first = call(ONE, Event("aten::addmm", 20, 30, [copied]), 10, 40)
    view = Event("aten::view", 50, 52)

    spent = spent_by_range([*first.all(), view], on_cpu=True)

    # in the range: all of addmm; on the way to it, 10 to 41: the dispatcher
    assert spent == {
        None: Spent(1, seconds(2), seconds(2)),
        ONE: Spent(1, seconds(10), seconds(10)),
    }


def test_the_innermost_range_counts() -> None:
    inner = Event(TWO, 5, 20, [Event("aten::mm", 6, 16)])
    outer = Event(ONE, 0, 30, [inner, Event("aten::add", 21, 24)])

    spent = spent_by_range(outer.all(), on_cpu=True)

    assert spent[TWO].device_s == seconds(10)
    assert spent[ONE].device_s == seconds(3)


def test_busy_is_the_union_of_kernels() -> None:
    """0–10, 5–12 and 20–30 overlap by 5; nested and drawn ranges add nothing: 12 + 10."""
    events = [
        kernel(20, 30),
        kernel(0, 10),
        kernel(5, 12),
        kernel(21, 25),
        kernel(0, 99, "step", annotation=True),
        Event("aten::mm", 0, 99),
    ]

    assert busy(events, on_cpu=False) == (4, seconds(22))
    assert busy([], on_cpu=False) == (0, 0.0)


def test_a_busy_cpu_is_in_ops_that_call_no_other() -> None:
    linear = Event("aten::linear", 0, 30, [Event("aten::t", 2, 4), Event("aten::addmm", 10, 28)])

    assert busy([*linear.all(), Event("a range", 0, 90)], on_cpu=True) == (2, seconds(20))
