"""The findings on the first page are what the tool says."""

from __future__ import annotations

import re
from pathlib import Path

import roofline
from roofline.engine.compare import Comparison
from roofline.engine.estimate import Estimate
from roofline.explore.study import study

README = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())


def reduced(batch: int) -> tuple[Estimate, Comparison]:
    """The prompt that the page opens with, and an answer of 128 tokens."""
    estimate = roofline.analyze("llava-1.5-7b", "a100-80gb", reducer="prumerge", batch=batch)
    assert estimate.inputs["visual_tokens"] == 40
    comparison = estimate.answered(128).comparison
    assert comparison is not None
    return estimate, comparison


def found(pattern: str) -> tuple[float, ...]:
    match = re.search(pattern, README)
    assert match, pattern
    return tuple(map(float, match.groups()))


def test_what_an_answer_leaves_of_the_saving() -> None:
    prefill, answer = reduced(1)
    assert prefill.comparison is not None
    (times,) = found(r"At batch 1 a prefill is ([\d.]+) times as fast with PruMerge's 40 tokens")
    assert times == round(float(prefill.comparison.speedup or 0), 1)
    assert answer.tie
    assert "**an answer of 128 tokens is not**" in README

    answered, comparison = reduced(32)[0].answered(128), reduced(32)[1]
    times, small, large = found(
        r"At batch 32 the same answer is ([\d.]+) times as fast, and needs (\d+) GB instead of "
        r"(\d+)"
    )
    assert not comparison.tie
    assert times == round(float(comparison.speedup or 0), 1)
    assert small == round(float(answered.end_to_end.peak_memory_bytes) / 1e9)
    assert large == round(float(comparison.full_end_to_end.peak_memory_bytes) / 1e9)


def test_where_fewer_tokens_stop_paying() -> None:
    (deployment,) = study(model="llava-1.5-7b", hardware="a100-80gb").deployments
    (floor,) = found(r"Fewer than (\d+) visual tokens stop paying")
    ridge, vision_ms = found(
        r"bound by reading its weights up to (\d+), and the vision tower's ([\d.]+) ms stay"
    )
    assert (floor, ridge) == (deployment.floor_tokens, deployment.ridge_tokens)
    vision = reduced(1)[0].components["vision"].attainable_time_s
    assert vision_ms == round(1e3 * float(vision or 0), 1)
