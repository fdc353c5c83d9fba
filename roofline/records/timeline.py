"""A timeline of one run as Chrome and Perfetto read it, with what was expected under it.

Events are those of the Trace Event Format: `X` is a span with a beginning and a duration, `M` the
name of a row. A process is a group of rows, a thread a row. Times are in µs, to the nanosecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import floor
from typing import Any

from msgspec import Struct

from roofline.units import NANO

Event = dict[str, Any]
MEASURED = "measured (components)"
_LAST = 2**30
"""Order of our rows: behind all that torch writes."""
_HOSTS = ("host_name", "traceName", "trace_id")
"""What a trace says of whose machine it is from."""


class Expected(Struct, frozen=True):
    """A span that was expected, and the ops in it, which run one after the other."""

    name: str
    duration_s: float
    parts: Sequence[tuple[str, float]] = ()
    """Names, and seconds."""


class Seen(Struct, frozen=True):
    """A span that was measured."""

    name: str
    start_us: float
    end_us: float


class _Slice(Struct, frozen=True):
    """What is drawn."""

    row: str
    name: str
    start_ns: int
    end_ns: int


def with_expectations(
    trace: Mapping[str, Any], seen: Sequence[Seen], tracks: Mapping[str, Sequence[Expected]]
) -> dict[str, Any]:
    """The trace with more processes: the components as they ran, and each track of expectations.

    trace: what a profiler exported; time begins anew at its first event, as counts of µs since
        some boot leave no digits for nanoseconds.
    seen: in the order in which they ran; those of one name share a row.
    tracks: by title, what was expected of each of `seen`, in that order; it begins where that
        began, or behind what is expected before it on the same row.
    """
    events: list[Event] = trace["traceEvents"]
    begin_us = floor(min((each["ts"] for each in events if each["ph"] != "M"), default=0.0))
    events = [each | {"ts": max(0.0, round(each["ts"] - begin_us, 3))} for each in events]
    measured = [
        _Slice(each.name, each.name, _ns(each.start_us - begin_us), _ns(each.end_us - begin_us))
        for each in seen
    ]
    groups = {MEASURED: measured}
    for title, expected in tracks.items():
        groups[title] = list(_laid_out(measured, expected))
    process = 1 + max((each["pid"] for each in events if isinstance(each["pid"], int)), default=0)
    for number, (title, slices) in enumerate(groups.items()):
        events += _process(process + number, _LAST + number, title, slices)
    kept = {name: value for name, value in trace.items() if name not in _HOSTS}
    if "baseTimeNanoseconds" in kept:
        kept["baseTimeNanoseconds"] += 1000 * begin_us
    return kept | {"traceEvents": events}


def _laid_out(measured: Sequence[_Slice], expected: Sequence[Expected]) -> Iterator[_Slice]:
    """Spans, each followed by its parts, which end inside it."""
    until: dict[str, int] = {}
    for ran, span in zip(measured, expected, strict=True):
        start_ns = max(ran.start_ns, until.get(span.name, 0))
        end_ns = until[span.name] = start_ns + round(span.duration_s / NANO)
        yield _Slice(span.name, span.name, start_ns, end_ns)
        part_ns = start_ns
        ends_s = accumulate(seconds for _, seconds in span.parts)
        for (name, _), end_s in zip(span.parts, ends_s, strict=True):
            until_ns = min(start_ns + round(end_s / NANO), end_ns)
            if until_ns > part_ns:
                yield _Slice(span.name, name, part_ns, until_ns)
            part_ns = until_ns


def _process(pid: int, order: int, title: str, slices: Iterable[_Slice]) -> Iterator[Event]:
    """A group of rows, one for each component."""
    yield _meta(pid, 0, "process_name", name=title)
    yield _meta(pid, 0, "process_sort_index", sort_index=order)
    rows: dict[str, int] = {}
    for each in slices:
        if each.row not in rows:
            row = rows[each.row] = len(rows) + 1
            yield _meta(pid, row, "thread_name", name=each.row)
            yield _meta(pid, row, "thread_sort_index", sort_index=row)
        yield {
            "ph": "X",
            "cat": "roofline",
            "name": each.name,
            "pid": pid,
            "tid": rows[each.row],
            "ts": each.start_ns / 1000,
            "dur": (each.end_ns - each.start_ns) / 1000,
        }


def _meta(pid: int, tid: int, what: str, **args: Any) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _ns(us: float) -> int:
    return round(1000 * us)
