"""A variable that is no axis: the window of attention, against a loop over single steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from made_up import device
from toy import ADDITIVE, llm

from roofline import analyze
from roofline.engine import count, price
from roofline.engine.estimate import Estimate

W = 12
SUMMED = (*ADDITIVE, "attainable_time_s", "attainable_error_s")
Run = Callable[..., Estimate]


@pytest.fixture
def windowed() -> Run:
    """Analyze a model whose decode steps attend to the last 12 tokens at most."""

    def analyzed(**options: Any) -> Estimate:
        model = llm(sliding_window=W)
        return analyze(model, device(), visual_tokens=2, text_tokens=3, **options)

    return analyzed


def step_of(keys: int, attention: str, batch: int) -> Estimate:
    """One step of a model without a window, against keys - 1 in the cache and its own."""
    return analyze(
        llm(),
        device(),
        visual_tokens=2,
        text_tokens=keys - 1 - 2,
        stage="decode",
        attention=attention,
        batch=batch,
    )


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 6, 7, 8, 30])  # at the 7th step 12 keys are reached
def test_a_generation_is_a_loop_over_its_steps(
    windowed: Run, attention: str, batch: int, steps: int
) -> None:
    whole = windowed(stage="generate", output_tokens=steps, attention=attention, batch=batch).llm
    prompt = analyze(
        llm(), device(), visual_tokens=2, text_tokens=3, attention=attention, batch=batch
    ).llm
    loop = [step_of(min(5 + i, W), attention, batch).llm for i in range(1, steps + 1)]

    for name in SUMMED:
        expected = getattr(prompt, name) + sum(getattr(each, name) for each in loop)
        assert getattr(whole, name) == pytest.approx(expected, rel=1e-12), name
    computing = prompt.bound_times_s["compute"] + sum(s.bound_times_s["compute"] for s in loop)
    assert whole.bound_times_s["compute"] == pytest.approx(computing, rel=1e-12)


def test_ops_are_summed_over_the_same_loop(windowed: Run) -> None:
    whole = windowed(stage="generate", output_tokens=9)
    steps = [step_of(min(5 + i, W), "flash", 1) for i in range(1, 10)]

    for op in whole.ops:
        if op.phase == "decode":
            same = [next(o for o in step.ops if o.key == op.key) for step in steps]
            for name in (
                *("flops", "vector_flops", "kv_read_bytes", "kv_write_bytes"),
                *("memory_access_bytes", "roofline_time_s", "attainable_time_s"),
            ):
                expected = sum(getattr(one, name) for one in same)
                assert getattr(op, name) == pytest.approx(expected, rel=1e-12), (op.name, name)
            for resource, seconds in op.resource_times_s.items():
                expected = sum(one.resource_times_s[resource] for one in same)
                assert seconds == pytest.approx(expected, rel=1e-12)


def test_the_window_does_bite(windowed: Run) -> None:
    plain = analyze(
        llm(), device(), visual_tokens=2, text_tokens=3, stage="generate", output_tokens=30
    )

    assert windowed(stage="generate", output_tokens=30).llm.flops < plain.llm.flops
    # up to the 7th step nobody notices
    assert windowed(stage="generate", output_tokens=7).llm.flops == pytest.approx(
        analyze(
            llm(), device(), visual_tokens=2, text_tokens=3, stage="generate", output_tokens=7
        ).llm.flops,
        rel=1e-14,
    )


def test_a_step_alone(windowed: Run) -> None:
    found, expected = windowed(stage="decode").llm, step_of(6, "flash", 1).llm

    for name in SUMMED:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-14)


@pytest.mark.parametrize("chunk", [1, 5, 1 << 14])
def test_many_generations_at_once_bit_for_bit(
    windowed: Run, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price, "CHUNK", chunk)
    monkeypatch.setattr(count, "CHUNK", chunk)
    lengths, batches = [0, 1, 5, 8, 40], [1, 3]
    many = windowed(stage="generate", output_tokens=lengths, batch=[[b] for b in batches]).llm

    for i, batch in enumerate(batches):
        for j, steps in enumerate(lengths):
            one = windowed(stage="generate", output_tokens=steps, batch=batch).llm
            for name in SUMMED:
                assert getattr(many, name)[i, j] == getattr(one, name), (name, batch, steps)
