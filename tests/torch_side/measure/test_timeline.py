"""The timeline of a real run: torch's events, the components, and the estimate under them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from made_up import lawful, toy_laws

import roofline
from roofline.device.laws.host import HostLaw
from roofline.records.timeline import MEASURED, Seen
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.torch_side.measure import timeline as module
from roofline.torch_side.measure.expectation import Expectation
from roofline.torch_side.measure.pipeline import build_pipeline
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.timeline import ATTAINABLE, ROOFLINE, timeline

ANSWER = 3
NS = 1e-9


def device() -> Hardware:
    """With laws of kernels and of the host."""
    host = {"llm": HostLaw(fixed_us=500.0, layer_us=100.0)}
    return lawful("xeon", toy_laws("fp32", tile=16, vector_gb_per_s=100.0, host=host))


def made(hardware: Hardware | None = None, **axes: Any) -> dict[str, Any]:
    """The timeline of a tiny model, as whoever reads the file has it."""
    request = Request.of(model="llava-tiny", device="cpu", quant="fp32", visual_tokens=9, **axes)
    scenario = request.scenario
    with build_pipeline(
        request.spec,
        reducer=scenario.reducer,
        visual_tokens=9,
        text_tokens=request.count("text_tokens"),
        output_tokens=request.count("output_tokens"),
    ) as pipeline:
        pipeline.prefill()
        run: dict[str, Callable[..., object]] = {
            "prefill": pipeline.prefill,
            "decode": pipeline.decode_step,
            "generate": pipeline.generate,
        }
        content = timeline(run[scenario.stage], "cpu", Expectation(request, hardware))
    found: dict[str, Any] = json.loads(content)
    return found


def process(found: dict[str, Any], title: str) -> list[dict[str, Any]]:
    """Spans of one process, with their rows' names."""
    events = found["traceEvents"]
    heads = [e for e in events if e["name"] == "process_name" and e["args"]["name"] == title]
    if not heads:
        return []
    own = [event for event in events if event["pid"] == heads[0]["pid"]]
    rows = {e["tid"]: e["args"]["name"] for e in own if e["name"] == "thread_name"}
    return [event | {"row": rows[event["tid"]]} for event in own if event["ph"] == "X"]


def sums_s(spans: list[dict[str, Any]], *, components: bool) -> dict[str, float]:
    """Seconds by row, of components or of the ops in them."""
    sums: Counter[str] = Counter()
    for span in spans:
        if (span["name"] == span["row"]) == components:
            sums[span["row"]] += span["dur"] * 1e-6
    return dict(sums)


def test_a_prefill_beside_its_estimate() -> None:
    found = made(device())
    estimate = roofline.analyze(
        "llava-tiny", device(), "fp32", visual_tokens=9, text_tokens=40, runtime="eager"
    )
    components = estimate.components

    for title, component, op in (
        (ROOFLINE, "roofline_time_s", "roofline_time_s"),
        (ATTAINABLE, "elapsed_time_s", "attainable_time_s"),
    ):
        spans = process(found, title)
        expected = {name: float(getattr(components[name], component)) for name in components}
        assert sums_s(spans, components=True) == pytest.approx(expected, abs=NS)
        ops = dict.fromkeys(components, 0.0)
        for each in estimate.ops:
            ops[each.component] += float(getattr(each, op))
        assert sums_s(spans, components=False) == pytest.approx(ops, abs=20 * NS)
    rows = [span["row"] for span in process(found, MEASURED)]
    assert rows == ["vision", "connector", "llm"]


def test_spans_lie_in_each_other_and_begin_where_they_ran() -> None:
    found = made(device())
    began = {span["row"]: span["ts"] for span in process(found, MEASURED)}

    for title in (ROOFLINE, ATTAINABLE):
        spans = process(found, title)
        for component in (span for span in spans if span["name"] == span["row"]):
            assert component["ts"] == began[component["row"]]
            until = component["ts"]
            for op in (s for s in spans if s["row"] == component["row"] and s is not component):
                assert round(1000 * op["ts"]) == round(1000 * until)
                until = op["ts"] + op["dur"]
            assert round(1000 * until) <= round(1000 * (component["ts"] + component["dur"]))


def test_torchs_own_events_are_there_and_their_ranges_have_names() -> None:
    events = made(device())["traceEvents"]
    ranges = {e["name"]: e for e in events if e.get("cat") == "user_annotation"}
    assert {"vision", "connector", "llm"} <= set(ranges)
    assert not any("roofline span" in str(event["name"]) for event in events)
    llm = ranges["llm"]
    inside = [
        event
        for event in events
        if event["name"] == "aten::mm" and 0 <= event["ts"] - llm["ts"] <= llm["dur"]
    ]
    assert inside
    assert all({"ph", "ts", "pid", "tid", "name"} <= set(event) for event in events)
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_decode_steps_share_what_is_expected_of_all() -> None:
    found = made(device(), stage="generate", output_tokens=ANSWER)
    estimates = [
        roofline.analyze(
            "llava-tiny",
            device(),
            "fp32",
            visual_tokens=9,
            text_tokens=40,
            output_tokens=ANSWER,
            stage=stage,  # type: ignore[arg-type]  # one of them
        )
        for stage in ("generate", "prefill")
    ]
    steps_s = float(estimates[0].llm.roofline_time_s - estimates[1].llm.roofline_time_s)

    rows = [span["row"] for span in process(found, MEASURED)]
    assert rows == ["vision", "connector", "llm", *["decode"] * ANSWER]
    spans = process(found, ROOFLINE)
    assert sums_s(spans, components=True)["decode"] == pytest.approx(steps_s, abs=ANSWER * NS)
    assert sums_s(spans, components=False)["decode"] == pytest.approx(steps_s, abs=99 * NS)
    assert len([span for span in spans if span["name"] == "decode"]) == ANSWER


def test_one_decode_step() -> None:
    found = made(device(), stage="decode")

    assert [span["row"] for span in process(found, MEASURED)] == ["decode"]
    assert any(span["name"] == "lm_head ×1" for span in process(found, ROOFLINE))


def test_a_reducer_inside_a_component_is_expected_there() -> None:
    found = made(device(), reducer="fastv")
    estimate = roofline.analyze(
        "llava-tiny", device(), "fp32", visual_tokens=9, text_tokens=40, reducer="fastv"
    )
    both = sum(float(estimate.components[name].roofline_time_s) for name in ("llm", "reducer"))

    assert sums_s(process(found, ROOFLINE), components=True)["llm"] == pytest.approx(both, abs=NS)
    assert sums_s(process(found, ROOFLINE), components=False)["llm"] == pytest.approx(
        both, abs=50 * NS
    )


def test_without_a_spec_what_was_measured_stands_alone() -> None:
    found = made()
    assert process(found, MEASURED)
    assert process(found, ROOFLINE) == process(found, ATTAINABLE) == []


def test_without_laws_there_is_a_roofline_alone() -> None:
    found = made(load_hardware("xeon-8480"))
    assert process(found, ROOFLINE)
    assert process(found, ATTAINABLE) == []


def test_on_a_gpu_spans_are_those_of_its_kernels() -> None:
    """Ranges as CUDA's are exported: the host's are over before the device's begin."""
    host, gpu = {"ph": "X", "cat": "user_annotation"}, {"ph": "X", "cat": "gpu_user_annotation"}
    events: list[dict[str, Any]] = [
        host | {"name": "roofline span 0", "ts": 1.0, "dur": 2.0},
        host | {"name": "roofline span 1", "ts": 3.0, "dur": 1.0},
        host | {"name": "roofline span 2", "ts": 4.0, "dur": 0.0},
        gpu | {"name": "roofline span 0", "ts": 10.0, "dur": 5.0},
        gpu | {"name": "roofline span 0", "ts": 12.0, "dur": 8.0},  # on another stream
        host | {"name": "aten::mm", "ts": 1.0, "dur": 1.0},
        {"ph": "f", "name": "roofline span 0", "ts": 1.0},
    ]

    found = module._seen(events, ["vision", "llm"])
    assert found == [Seen("vision", 10.0, 20.0), Seen("llm", 3.0, 4.0)]
    assert [event["name"] for event in events[:5]] == [
        "vision",
        "llm",
        "behind the last",
        "vision",
        "vision",
    ]


def test_the_first_run_under_the_profiler_is_not_the_one() -> None:
    runs: list[str] = []

    def run(mark: Callable[[str], None]) -> None:
        runs.append("run")
        mark(f"run {len(runs)}")

    names = [event["name"] for event in json.loads(timeline(run, "cpu"))["traceEvents"]]
    assert len(runs) == 2
    assert "run 2" in names
    assert "run 1" not in names
