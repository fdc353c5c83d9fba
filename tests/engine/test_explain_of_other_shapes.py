"""Formulas of ops that LLaVA does not have: experts, latent attention, no positions."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

import roofline
from roofline.specs.catalog import load_component
from roofline.specs.models import LanguageModel


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize(
    ("model", "op", "words"),
    [
        ("qwen3-30b-a3b", "experts", "experts of each"),
        ("deepseek-v2-lite", "attention", "FLOP"),
        ("deepseek-v2-lite", "routing", "FLOP"),
        ("gemma-2-2b", "lm_head", "FLOP"),
    ],
)
def test_an_op_is_explained_by_its_own_sizes(stage: str, model: str, op: str, words: str) -> None:
    estimate = roofline.analyze(model, "h100", stage=stage)  # type: ignore[arg-type]

    assert words in str(estimate.explain(op))


@pytest.mark.parametrize("figure", ["time", "memory", "energy", "flops", "kv", "llm"])
@pytest.mark.parametrize("model", ["mixtral-8x7b", "deepseek-v2-lite", "gemma-3-1b"])
def test_every_figure_is_explained(model: str, figure: str) -> None:
    estimate = roofline.analyze(model, "h100", stage="generate", output_tokens=3)

    assert str(estimate.explain(figure))


def test_without_positions_nothing_is_looked_up() -> None:
    llm = load_component("llama-3-8b", LanguageModel)
    none = replace(llm, positions="none")

    assert roofline.count(none).llm.flops == roofline.count(llm).llm.flops
    assert roofline.count(none).llm.vector_flops < roofline.count(llm).llm.vector_flops
