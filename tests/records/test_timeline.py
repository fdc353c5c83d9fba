"""A timeline: rows, their order, what begins where, and that no span sticks out of another."""

from __future__ import annotations

from typing import Any

import pytest

from roofline.records.timeline import MEASURED, Expected, Seen, with_expectations

BOOT_US = 4_903_771_624_796.465
TRACE: dict[str, Any] = {
    "schemaVersion": 1,
    "host_name": "a-host",
    "traceName": "/home/somebody/t.json",
    "baseTimeNanoseconds": 10**18,
    "traceEvents": [
        {"ph": "M", "name": "process_name", "ts": 0.0, "pid": 77, "tid": 0, "args": {"name": "p"}},
        {"ph": "X", "name": "aten::mm", "ts": BOOT_US, "dur": 5.5, "pid": 77, "tid": 77},
        {"ph": "X", "name": "Profiler", "ts": BOOT_US + 1, "dur": 5.5, "pid": "Spans", "tid": "P"},
        {"ph": "s", "id": 1, "name": "ac2g", "ts": BOOT_US + 2.25, "pid": 77, "tid": 77},
    ],
}
SEEN = [
    Seen("vision", BOOT_US, BOOT_US + 100),
    Seen("llm", BOOT_US + 100, BOOT_US + 400),
    Seen("decode", BOOT_US + 400, BOOT_US + 450),
    Seen("decode", BOOT_US + 450, BOOT_US + 460),
]
EXPECTED = [
    Expected("vision", 70e-6, [("q_proj ×2", 30e-6), ("norm", 0.0), ("k_proj ×2", 20e-6)]),
    Expected("llm", 250e-6, [("mlp ×2", 250.0004e-6)]),
    Expected("decode", 60e-6),
    Expected("decode", 60e-6, [("mlp", 1e-6)]),
]


def spans(made: dict[str, Any], title: str) -> list[tuple[str, str, float, float]]:
    """Row, name, start and duration of a process's spans."""
    events = made["traceEvents"]
    [pid] = {e["pid"] for e in events if e["ph"] == "M" and e["args"].get("name") == title}
    own = [event for event in events if event["pid"] == pid]
    rows = {e["tid"]: e["args"]["name"] for e in own if e["name"] == "thread_name"}
    return [(rows[e["tid"]], e["name"], e["ts"], e["dur"]) for e in own if e["ph"] == "X"]


def made(**tracks: list[Expected]) -> dict[str, Any]:
    return with_expectations(TRACE, SEEN, tracks)


def test_time_begins_with_the_first_event() -> None:
    events = made()["traceEvents"]

    assert [e["ts"] for e in events[:4]] == [0.0, 0.465, 1.465, 2.715]
    assert made()["baseTimeNanoseconds"] == 10**18 + 4_903_771_624_796_000
    assert TRACE["traceEvents"][1]["ts"] == BOOT_US  # what was given stays as it was


def test_nobody_learns_whose_machine_it_was() -> None:
    assert set(made()) == {"schemaVersion", "baseTimeNanoseconds", "traceEvents"}


def test_components_stand_as_they_ran() -> None:
    assert spans(made(), MEASURED) == [
        ("vision", "vision", 0.465, 100.0),
        ("llm", "llm", 100.465, 300.0),
        ("decode", "decode", 400.465, 50.0),
        ("decode", "decode", 450.465, 10.0),
    ]


def test_what_was_expected_begins_where_it_was_measured() -> None:
    assert spans(made(roof=EXPECTED), "roof") == [
        ("vision", "vision", 0.465, 70.0),
        ("vision", "q_proj ×2", 0.465, 30.0),
        ("vision", "k_proj ×2", 30.465, 20.0),
        ("llm", "llm", 100.465, 250.0),
        ("llm", "mlp ×2", 100.465, 250.0),  # no longer than what it is a part of
        ("decode", "decode", 400.465, 60.0),
        ("decode", "decode", 460.465, 60.0),  # behind the one before
        ("decode", "mlp", 460.465, 1.0),
    ]


def test_tracks_lie_under_each_other_and_under_torchs() -> None:
    events = made(first=EXPECTED, second=EXPECTED)["traceEvents"]
    titles = {
        e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name" and e["pid"] > 77
    }
    order = {
        titles[e["pid"]]: e["args"]["sort_index"]
        for e in events
        if e["name"] == "process_sort_index"
    }

    assert list(titles.values()) == [MEASURED, "first", "second"]
    assert sorted(order, key=order.__getitem__) == [MEASURED, "first", "second"]
    assert min(order.values()) > 536_870_912  # torch's own row of spans
    assert max(order.values()) < 2**31


def test_every_event_has_what_perfetto_needs() -> None:
    for event in made(roof=EXPECTED)["traceEvents"]:
        needed = {"ph", "ts", "pid", "tid", "name"} | ({"dur"} if event["ph"] == "X" else set())
        assert needed <= set(event)


def test_each_span_has_its_expectation() -> None:
    with pytest.raises(ValueError, match="shorter"):
        made(roof=EXPECTED[:3])


def test_of_an_empty_trace_nothing_is_made() -> None:
    found = with_expectations({"traceEvents": []}, [], {})
    assert [event["name"] for event in found["traceEvents"]] == [
        "process_name",
        "process_sort_index",
    ]
