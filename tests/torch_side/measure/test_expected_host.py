"""What a run of a reducer is expected to take: its launches are in the span that they run in."""

from __future__ import annotations

import pytest

from roofline import reducers
from roofline.records.measurement import WHOLE
from roofline.specs.catalog import load_hardware
from roofline.specs.runtimes import find_runtime
from roofline.torch_side.measure.expectation import Expectation
from roofline.torch_side.measure.request import Request
from roofline.units import MICRO

PARTS = {"features": ("vision", "reducer", "connector", "llm")}
INSIDE = ("vision", "connector", "llm")
ISSUED = {"vision": 327, "connector": 4, "llm": 1303}


@pytest.mark.parametrize("name", reducers.names())
def test_a_device_of_the_catalog_takes_as_long_as_issuing_all_kernels(name: str) -> None:
    request = Request.of(
        model="llava-1.5-7b", reducer=name, visual_tokens=144, device="cpu", quant="fp16"
    )
    expectation = Expectation(request, load_hardware("h100-sxm"))
    launch_us = find_runtime("eager").launch_us
    assert expectation.estimate is not None
    assert launch_us is not None

    reducer = reducers.find(name)
    spans = PARTS.get(reducer.site, INSIDE)
    own = sum(float(op.count * op.launches) for op in expectation.ops if op.component == "reducer")
    own_span = "reducer" if reducer.site == "features" else reducer.site
    seconds = {span: expectation.of(span, spans).attainable_time_s for span in spans}
    for span, expected_s in seconds.items():
        launches = ISSUED.get(span, 0) + (own if span == own_span else 0)
        assert expected_s is not None
        assert expected_s >= launches * launch_us.value * MICRO * (1 - 1e-12)
    whole = expectation.of(WHOLE, spans).attainable_time_s
    assert sum(filter(None, seconds.values())) == pytest.approx(whole)
