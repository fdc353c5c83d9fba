"""What a profile's events say: which range each kernel was launched from, and when kernels ran.

Events are those of `torch.profiler.profile.events()`. CPU events nest; that of an op holds the
device kernels that the op launched. An op's name has a namespace, `aten::mm`, which tells it from
ranges (`record_function`) and from the driver's own calls (`cudaLaunchKernel`). On a CPU an op
that calls no other is its own kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # no stub names it

RANGE = "roofline call "
"""How the names of the ranges begin that tell kernels apart."""
_DRIVER = "cu"
"""How the names of the driver's calls begin: `cuda…` of the runtime, `cu…` of the driver itself."""
_S_PER_US = 1e-6


class Spent(Struct):
    """Kernels, and the time that they took."""

    kernels: int = 0
    device_s: float = 0.0
    host_s: float = 0.0
    """CPU time in the calls that launched them; on a CPU the work itself."""


def spent_by_range(events: Iterable[Any], *, on_cpu: bool) -> dict[str | None, Spent]:
    """Sum up kernels by the name of the innermost `RANGE` around them, None for those in none.

    All kernels are in the sum, also those that no op launched. Of an op around a range nothing is:
    that is the dispatcher on its way to the op inside the range.
    """
    events = list(events)
    around = {id(outer) for event in events if _is_range(event) for outer in _outward(event)}
    spent: dict[str | None, Spent] = {None: Spent()}
    for op in filter(_is_op, events):
        name = next((outer.name for outer in _outward(op) if _is_range(outer)), None)
        entry = spent.setdefault(name, Spent())
        if not on_cpu:
            entry.kernels += len(op.kernels)
            entry.device_s += sum(kernel.duration for kernel in op.kernels) * _S_PER_US
        if id(op) in around:
            continue
        driver = (call for call in op.cpu_children if call.name.startswith(_DRIVER))
        host_us = op.self_cpu_time_total + sum(call.time_range.elapsed_us() for call in driver)
        entry.host_s += host_us * _S_PER_US
        if on_cpu:
            entry.kernels += _is_leaf(op)
            entry.device_s += host_us * _S_PER_US
    if not on_cpu:
        kernels = [event for event in events if _is_kernel(event)]
        device_s = sum(kernel.time_range.elapsed_us() for kernel in kernels) * _S_PER_US
        missing = len(kernels) - sum(entry.kernels for entry in spent.values())
        missing_s = device_s - sum(entry.device_s for entry in spent.values())
        spent[None].kernels += missing
        spent[None].device_s += missing_s
    return spent


def busy(events: Iterable[Any], *, on_cpu: bool) -> tuple[int, float]:
    """How many kernels ran, and the seconds in which at least one did."""
    chosen = _is_leaf if on_cpu else _is_kernel
    intervals = sorted(
        (event.time_range.start, event.time_range.end) for event in events if chosen(event)
    )
    covered_us, until = 0.0, float("-inf")
    for start, end in intervals:
        covered_us += max(0.0, end - max(start, until))
        until = max(until, end)
    return len(intervals), covered_us * _S_PER_US


def _outward(event: Any) -> Iterator[Any]:
    """The CPU events around one, from the inside out."""
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event


def _on_cpu(event: Any) -> bool:
    return bool(event.device_type == DeviceType.CPU)


def _is_range(event: Any) -> bool:
    return _on_cpu(event) and event.name.startswith(RANGE)


def _is_op(event: Any) -> bool:
    return _on_cpu(event) and "::" in event.name


def _is_leaf(event: Any) -> bool:
    return _is_op(event) and not any(map(_is_op, event.cpu_children))


def _is_kernel(event: Any) -> bool:
    """Kernels, copies and fills on a device; ranges are drawn there too, and are none."""
    return not _on_cpu(event) and not event.is_user_annotation and not event.name.startswith(RANGE)
