"""Up to how many visual tokens a prefill waits for its host."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import roofline
from roofline.engine.estimate import Estimate
from roofline.errors import ScenarioError


def curve(**given: Any) -> Estimate:
    tokens = np.arange(1, 577)
    return roofline.analyze("llava-1.5-7b", "h100-sxm", visual_tokens=tokens, **given)


def test_there_the_llms_host_takes_longer_than_its_kernels_and_behind_it_no_more() -> None:
    bound = roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm")
    assert bound is not None
    assert 0 < bound < 576

    llm = curve(runtime="eager").llm
    assert llm.host_time_s is not None
    waits = llm.host_time_s >= llm.kernel_time_s
    assert waits[:bound].all()
    assert not waits[bound]
    elapsed = curve(runtime="eager").end_to_end.elapsed_time_s
    assert elapsed is not None
    assert elapsed[bound - 1] <= 1.01 * elapsed[0]
    assert elapsed[575] > 1.2 * elapsed[0]


def test_it_does_not_depend_on_what_is_left_or_on_the_stage() -> None:
    expected = roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm")
    for given in (
        {"visual_tokens": 40},
        {"visual_tokens": 40, "reducer": "prumerge"},
        {"stage": "generate", "output_tokens": 8},
    ):
        found = roofline.analyze("llava-1.5-7b", "h100-sxm", runtime="eager", **given)
        assert found.launch_bound_tokens == expected
        assert found.to_dict()["launch_bound_tokens"] == expected


def test_a_faster_device_waits_longer_and_a_longer_text_less() -> None:
    by_device = {
        name: roofline.launch_bound_tokens("llava-1.5-7b", name) for name in ("l40s", "b200")
    }
    assert by_device["l40s"] == 0
    assert by_device["b200"] or 0 > 100

    by_text = [
        roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm", text_tokens=n) for n in (1, 100)
    ]
    assert by_text[0] is not None
    assert by_text[1] is not None
    assert by_text[0] == pytest.approx(by_text[1] + 99, abs=2)


@pytest.mark.parametrize("runtime", ["cuda-graph", "vllm", "trt-llm"])
def test_where_the_host_adds_there_is_no_such_count(runtime: str) -> None:
    assert roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm", runtime=runtime) is None


def test_nor_without_a_runtime_images_or_one_configuration() -> None:
    assert roofline.analyze("llava-1.5-7b", "h100-sxm").launch_bound_tokens is None
    eager = {"runtime": "eager"}
    assert roofline.analyze("llama-3-8b", "h100-sxm", **eager).launch_bound_tokens is None
    assert roofline.analyze("clip-vit-l-336", "h100-sxm", **eager).launch_bound_tokens is None
    assert curve(**eager).launch_bound_tokens is None


def test_arrays_of_counts_are_refused() -> None:
    with pytest.raises(ScenarioError, match="takes single counts"):
        roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm", batch=[1, 8])


def test_a_prompt_of_a_million_tokens_is_not_priced_at_each() -> None:
    """The first that keeps the device busy is near, and the host's time does not go with tokens."""
    started = time.process_time()
    few, many = (
        roofline.analyze("llava-1.5-7b", "b200", runtime="eager", visual_tokens=most)
        for most in (8192, 5_000_000)
    )
    assert few.launch_bound_tokens is not None
    assert 576 < few.launch_bound_tokens < 4096
    assert many.launch_bound_tokens == few.launch_bound_tokens
    assert time.process_time() - started < 5


def test_where_it_waits_for_long_more_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm")
    monkeypatch.setattr("roofline.engine.launch_bound.FIRST_TRIED", 2)
    assert roofline.launch_bound_tokens("llava-1.5-7b", "h100-sxm") == expected
