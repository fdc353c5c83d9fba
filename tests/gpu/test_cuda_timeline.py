"""The timeline of a run on a CUDA device: components are where their kernels ran."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from roofline.records.timeline import MEASURED  # noqa: E402
from roofline.specs.catalog import load_hardware  # noqa: E402
from roofline.torch_side.measure.expectation import Expectation  # noqa: E402
from roofline.torch_side.measure.pipeline import build_pipeline  # noqa: E402
from roofline.torch_side.measure.request import Request  # noqa: E402
from roofline.torch_side.measure.timeline import ATTAINABLE, ROOFLINE, timeline  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_components_hold_their_kernels_and_predictions_begin_with_them() -> None:
    request = Request.of(model="llava-tiny", device="cuda", quant="fp16", visual_tokens=36)
    expectation = Expectation(request, load_hardware("h100"))
    with build_pipeline(request.spec, visual_tokens=36, quant="fp16", device="cuda") as pipeline:
        events = json.loads(timeline(pipeline.prefill, "cuda", expectation))["traceEvents"]

    titles = {
        event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"
    }
    began = {
        title: {
            event["name"]: event["ts"]
            for event in events
            if event["ph"] == "X" and titles.get(event["pid"]) == title
        }
        for title in (MEASURED, ATTAINABLE, ROOFLINE)
    }
    for name, at_us in began[MEASURED].items():
        assert began[ATTAINABLE][name] == began[ROOFLINE][name] == at_us
    kernels = [event for event in events if event.get("cat") == "kernel"]
    assert kernels
    first = min(event["ts"] for event in kernels)
    assert began[MEASURED]["vision"] <= first < began[MEASURED]["connector"]
