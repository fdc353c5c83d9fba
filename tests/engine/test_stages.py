"""A decode step by hand; a generation against its prompt and one step after the other."""

from __future__ import annotations

from typing import Any

import pytest
from toy import ADDITIVE, STAGES, lmm, toy
from toy import llm as toy_llm

from roofline import analyze
from roofline.engine.axes import STAGES as ALL_STAGES
from roofline.errors import ScenarioError


def test_all_stages_are_here() -> None:
    assert STAGES == ALL_STAGES


def test_a_decode_step_by_hand() -> None:
    # one token against 5 in the cache and itself: weights 2·64 + 2·32 + 3·128, scores [2, 1, 6],
    # e = 4, in QKᵀ and PV; K and V are read for 6 tokens and written for 1, in 2 bytes
    estimate = toy(stage="decode")

    assert estimate.llm.flops == 2 * (2 * 576 + 2 * (2 * 2 * 6 * 4)) + 2 * 8 * 10
    assert sum(op.kv_read_bytes for op in estimate.ops) == 2 * (2 * 6 * 4) * 2
    assert sum(op.kv_write_bytes for op in estimate.ops) == 2 * (2 * 1 * 4) * 2


def test_a_decode_step_of_llm_viewer_by_hand() -> None:
    # one token against the 5 in the cache and not itself: QKᵀ and PV 2·4·10, softmax 5·10, norms
    # 2·7·8, residual adds 2·8, activation 2·8; the lm_head one operation a weight
    estimate = toy(stage="decode", accounting="llm-viewer")

    layer = 2 * 576 + 2 * 80 + 50 + 112 + 16 + 16
    assert estimate.llm.flops == 2 * layer + 8 * 10
    assert sum(op.kv_read_bytes for op in estimate.ops) == 2 * (2 * 5 * 4) * 2
    assert sum(op.kv_write_bytes for op in estimate.ops) == 2 * (2 * 1 * 4) * 2


@pytest.mark.parametrize(
    ("accounting", "attention"), [("exact", "flash"), ("exact", "eager"), ("llm-viewer", "eager")]
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_generate_is_the_prompt_and_then_one_step_after_the_other(
    accounting: str, attention: str, batch: int, steps: int
) -> None:
    model = lmm() if accounting == "exact" else toy_llm()
    options: dict[str, Any] = {"accounting": accounting, "attention": attention, "batch": batch}
    whole = toy(model, stage="generate", output_tokens=steps, **options)
    prompt = toy(model, **options)
    single = [toy(model, stage="decode", text_tokens=3 + i, **options) for i in range(steps)]

    for part in whole.components:
        for name in ADDITIVE:
            parts = [getattr(e.components[part], name) for e in (prompt, *single)]
            assert getattr(whole.components[part], name) == pytest.approx(sum(parts), rel=1e-13)


@pytest.mark.parametrize("hardware", ["v100", "h100"])
@pytest.mark.parametrize("accounting", ["exact", "llm-viewer"])
def test_generate_with_a_shipped_model(hardware: str, accounting: str) -> None:
    options: dict[str, Any] = {"visual_tokens": 40, "batch": 8, "accounting": accounting}
    model = "llama-3-8b"
    whole = analyze(model, hardware, stage="generate", output_tokens=20, **options)
    prompt = analyze(model, hardware, **options)
    single = [
        analyze(model, hardware, stage="decode", text_tokens=40 + done, **options)
        for done in range(20)
    ]

    for name in ADDITIVE:
        parts = [getattr(e.llm, name) for e in (prompt, *single)]
        assert getattr(whole.llm, name) == pytest.approx(sum(parts), rel=1e-13)


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_output_tokens_change_nothing_but_a_generation(stage: str) -> None:
    assert toy(stage=stage, output_tokens=7).llm.flops == toy(stage=stage).llm.flops


def test_a_generation_needs_to_know_how_long_it_is() -> None:
    with pytest.raises(ScenarioError, match="give --output-tokens"):
        toy(stage="generate")
    with pytest.raises(ScenarioError, match="output_tokens"):
        toy(stage="generate", output_tokens=None)
    none, prompt = toy(stage="generate", output_tokens=0), toy()
    for name in ADDITIVE:
        assert getattr(none.llm, name) == getattr(prompt.llm, name)


@pytest.mark.parametrize("accounting", ["exact", "llm-viewer"])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_the_cache_holds_prompt_and_output_in_the_end(accounting: str, steps: int) -> None:
    estimate = toy(stage="generate", output_tokens=steps, batch=3, accounting=accounting)

    # K and V of 1 head of 4, 2 layers, 2 bytes
    assert estimate.llm.kv_cache_bytes == 2 * 4 * 2 * 2 * 3 * (2 + 3 + steps)


def test_the_cache_after_one_step() -> None:
    assert toy(stage="decode").llm.kv_cache_bytes == 2 * 4 * 2 * 2 * (5 + 1)
    # llm-viewer attends n keys, and counts as many
    viewer = toy(stage="decode", accounting="llm-viewer")
    assert viewer.llm.kv_cache_bytes == 2 * 4 * 2 * 2 * 5


def test_peak_activations_of_generate_are_those_of_its_largest_part() -> None:
    prompt, last, whole, short = (
        toy(attention="eager", **options).llm.peak_activation_bytes
        for options in (
            {"stage": "prefill"},
            {"stage": "decode", "text_tokens": 3 + 999},
            {"stage": "generate", "output_tokens": 1000},
            {"stage": "generate", "output_tokens": 1},
        )
    )

    assert last > prompt  # scores of 1005 keys
    assert whole == last
    assert short == prompt


def test_a_decode_step_runs_neither_vision_nor_connector() -> None:
    estimate = toy(lmm(), stage="decode")

    for part in ("vision", "connector"):
        cost = estimate.components[part]
        assert cost.flops == cost.memory_access_bytes == cost.roofline_time_s == 0
        assert cost.weight_bytes > 0  # still resident
    assert estimate.end_to_end.roofline_time_s == estimate.llm.roofline_time_s


@pytest.mark.parametrize("stage", ["decode", "generate"])
def test_a_vision_encoder_alone_has_only_a_prefill(stage: str) -> None:
    with pytest.raises(ScenarioError, match="only the stage prefill"):
        analyze("clip-vit-l-336", "v100", stage=stage, output_tokens=1)
