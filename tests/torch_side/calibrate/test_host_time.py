"""What is measured of the host, by a clock that says how long everything takes."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from launches import launches_by_component
from made_up import device

import roofline
from roofline.torch_side.calibrate import host_time
from roofline.torch_side.measure.pipeline import build_pipeline


def test_a_reducers_host_time_tells_its_launches_and_what_a_read_takes() -> None:
    """Each look at the clock is 1 s later: a span takes 1 s, and so do all reads of a sample."""
    ticks = count()
    laws, disturbed = host_time.host_laws(
        device(), torch.device("cpu"), quant="fp16", budget_s=50.0, clock=lambda: float(next(ticks))
    )

    loaded = roofline.load_model("llava-tiny", dtype="fp16")
    with build_pipeline(
        "llava-tiny", reducer="prumerge", visual_tokens=4, text_tokens=8, loaded=loaded
    ) as pipeline:
        issued = launches_by_component(pipeline).totals["reducer"]
    assert set(laws) == {"vision", "reducer", "connector", "llm", "decode"}
    assert laws["reducer"].launches == issued == 59
    assert laws["reducer"].fixed_us == pytest.approx(1e6)
    assert laws["reducer"].wait_us == pytest.approx(1e6 / 20)
    assert {name for name, law in laws.items() if law.launches or law.wait_us} == {"reducer"}
    assert disturbed == ""


def test_what_disturbed_it_all_the_time_is_stated_once() -> None:
    ticks = count()
    looks: list[str] = []
    _, disturbed = host_time.host_laws(
        device(),
        torch.device("cpu"),
        quant="fp16",
        budget_s=50.0,
        clock=lambda: float(next(ticks)),
        disturbance=lambda: looks.append("") or "others",
    )

    assert len(looks) > 1
    assert disturbed == "others"
