"""One run as a timeline: torch's own events, the components, and what was expected of them."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from roofline.engine.result import OpTotals
from roofline.records.timeline import Expected, Seen, with_expectations
from roofline.torch_side.measure.expectation import Expectation
from roofline.torch_side.measure.timing import Mark, synchronizer

ROOFLINE, ATTAINABLE = "predicted (roofline)", "predicted (attainable)"
"""Titles of the tracks."""
_RANGE = "roofline span "
"""How the names of the profiler's ranges begin; behind it the number of the span."""


def timeline(
    run: Callable[[Mark], object],
    device: str | torch.device,
    expectation: Expectation | None = None,
) -> bytes:
    """JSON for ui.perfetto.dev: a run of its own under the profiler, the second that is.

    run: takes a mark to call with a component's name behind its work, as `Pipeline.prefill` does.
    Without an expectation, or one without times, what was measured stands alone.
    """
    torch_device = torch.device(device)
    _profiled(run, torch_device)  # the first is slow: the profiler itself gets going
    trace, names = _profiled(run, torch_device)
    seen = _seen(trace["traceEvents"], names)
    return msgspec.json.encode(with_expectations(trace, seen, _tracks(names, expectation)))


def _profiled(
    run: Callable[[Mark], object], device: torch.device
) -> tuple[dict[str, Any], list[str]]:
    """What the profiler exported, and the names of the spans in the order in which they ran."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    synchronize = synchronizer(device)
    synchronize()
    with profile(activities=activities) as profiler:
        with _ranges() as (mark, names):
            run(mark)
        synchronize()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return msgspec.json.decode(file.read_bytes()), names


@contextmanager
def _ranges() -> Iterator[tuple[Mark, list[str]]]:
    """A mark that ends one range of the profiler and begins the next, and the names so far.

    A range's name is known at its end alone, so that ranges are numbered.
    """
    names: list[str] = []
    with ExitStack() as current:
        current.enter_context(record_function(f"{_RANGE}0"))

        def mark(name: str) -> None:
            current.close()
            names.append(name)
            current.enter_context(record_function(f"{_RANGE}{len(names)}"))

        yield mark, names


def _seen(events: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Seen]:
    """When each span ran: on the device where it has ranges there, else on the host.

    The names of spans take the places of their ranges' numbers.
    """
    ranges: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    for event in events:
        numbered = re.fullmatch(rf"{_RANGE}(\d+)", str(event.get("name")))
        if numbered is None or event["ph"] != "X":
            continue
        number, on_device = int(numbered[1]), event.get("cat") == "gpu_user_annotation"
        event["name"] = [*names, "behind the last"][number]
        bounds = event["ts"], event["ts"] + event["dur"]
        ranges.setdefault((number, on_device), []).append(bounds)
    found = []
    for number, name in enumerate(names):
        own = ranges.get((number, True)) or ranges[number, False]
        start_us, end_us = min(start for start, _ in own), max(end for _, end in own)
        found.append(Seen(name, start_us, end_us))
    return found


def _tracks(
    names: Sequence[str], expectation: Expectation | None
) -> Mapping[str, Sequence[Expected]]:
    """What was expected of each span; nothing without a device's spec."""
    if expectation is None or expectation.estimate is None:
        return {}
    tracks = {
        ATTAINABLE: _track(names, expectation, "attainable_time_s"),
        ROOFLINE: _track(names, expectation, "roofline_time_s"),
    }
    return {title: track for title, track in tracks.items() if track}


def _track(names: Sequence[str], expectation: Expectation, figure: str) -> list[Expected]:
    """Of one figure; empty where it is not known. Of decode steps each has its share of all."""
    often, found = Counter(names), []
    for name in names:
        seconds = getattr(expectation.of(name, often), figure)
        if seconds is None:
            return []
        times = often[name]
        parts = [
            (_label(op, times), float(getattr(op, figure) or 0.0) / times)
            for op in expectation.ops_of(name, often)
        ]
        found.append(Expected(name, seconds / times, parts))
    return found


def _label(op: OpTotals, times: int) -> str:
    """Its name, in which layers, and how often it runs there."""
    return f"{op.name} {op.layers}".strip() + f" ×{float(op.count) / times:g}"
