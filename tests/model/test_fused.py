"""Kernels of servers against those of modules: the same arithmetic, fewer launches and bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import lmm

from roofline import count
from roofline.engine.layout import lay_out
from roofline.model.block import Block, parameters
from roofline.model.fused import fused
from roofline.model.ops import linear, residual, rms_norm

MODELS = ("llama-2-7b", "llama-3-8b", "llava-1.5-7b", "video-llava-7b")
SAME = ("flops", "vector_flops", "weight_bytes", "kv_cache_bytes")


def names(blocks: tuple[Block, ...]) -> list[str]:
    return [op.name for block in blocks for op in block.ops]


def test_a_layer_of_a_server_has_three_matmuls_less_and_no_add_of_its_own() -> None:
    (llm,) = (one for one in lay_out("llama-3-8b", kernels="fused").components if one.in_llm)

    assert names(tuple(llm.phases["prefill"])) == [
        *("embed_tokens", "rotary_emb"),
        *("mlp_residual_norm", "qkv_proj", "apply_rotary_pos_emb", "attention", "o_proj"),
        *("attention_residual_norm", "gate_up_proj", "act_fn", "down_proj"),
        *("norm", "lm_head"),
    ]


def test_the_input_is_read_once_and_a_sum_that_is_normed_not_again() -> None:
    """By hand: 3 rows of 4; q and k of 5 and 2 out features; an add and a norm."""
    matmuls = [
        linear(name, "normed", name, rows=3, in_features=4, out_features=out, bias=True)
        for name, out in (("a", 5), ("b", 2))
    ]
    add = residual("add", "hidden", "branch", rows=3, width=4)
    norm = rms_norm("norm", "hidden", "normed", rows=3, width=4)
    (block,) = fused([Block(1, (*matmuls, add, norm, matmuls[0]))])
    wide, summed, last = block.ops

    assert (wide.name, summed.name, last) == ("a+b", "add_norm", matmuls[0])
    assert wide.reads == {"normed": 12}
    assert wide.writes == {"a": 15, "b": 6}
    assert (wide.flops, wide.weights, wide.vectors) == (2 * 3 * 4 * 7, 28, 7)
    assert summed.reads == {"hidden": 12, "branch": 12}
    assert summed.writes == {"hidden": 12, "normed": 12}
    assert summed.vector_flops == add.vector_flops + norm.vector_flops
    assert summed.vectors == 4


def test_matmuls_of_other_rows_or_tensors_stay_apart() -> None:
    given_ops = (
        linear("a", "normed", "a", rows=3, in_features=4, out_features=5),
        linear("b", "normed", "b", rows=2, in_features=4, out_features=5),
        linear("c", "other", "c", rows=2, in_features=4, out_features=5),
        linear("lm_head", "other", "d", rows=2, in_features=4, out_features=5, role="lm_head"),
    )
    assert fused([Block(2, given_ops)]) == (Block(2, given_ops),)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
def test_flops_and_weights_are_the_same_and_traffic_is_less(model: str, stage: Any) -> None:
    given: dict[str, Any] = {"stage": stage, "output_tokens": 3, "text_tokens": 40}
    apart, together = (count(model, **given, kernels=k) for k in ("unfused", "fused"))

    for name, part in together.components.items():
        before = apart.components[name]
        for figure in SAME:
            assert getattr(part, figure) == getattr(before, figure), (name, figure)
        assert part.memory_access_bytes <= before.memory_access_bytes
    assert together.llm.memory_access_bytes < apart.llm.memory_access_bytes


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.sampled_from(["fp16", "w4a16"])
)
def test_whatever_the_counts(visual: int, text: int, batch: int, quant: str) -> None:
    shape = {"visual_tokens": visual, "text_tokens": text, "batch": batch}
    apart, together = (count(lmm(), quant, **shape, kernels=k) for k in ("unfused", "fused"))

    for figure in SAME:
        assert getattr(together.llm, figure) == pytest.approx(getattr(apart.llm, figure))
    assert together.llm.memory_access_bytes < apart.llm.memory_access_bytes
    launches = [sum(int(op.count * op.launches) for op in c.ops) for c in (apart, together)]
    assert launches[1] < launches[0]


def test_layers_that_see_other_tokens_lose_nothing() -> None:
    layers = {"llm_layers": [(2, 576, 300), (30, 100)]}
    apart, together = (
        count("llava-1.5-7b", **layers, kernels=k)  # type: ignore[arg-type]
        for k in ("unfused", "fused")
    )
    for figure in SAME:
        assert getattr(together.llm, figure) == getattr(apart.llm, figure)


def test_what_is_loaded_stays() -> None:
    for model in MODELS:
        loaded = [
            [parameters(part.loaded).total for part in lay_out(model, kernels=k).components]
            for k in ("unfused", "fused")
        ]
        assert loaded[0] == loaded[1]
