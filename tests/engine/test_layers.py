"""Layers that see different token counts: by hand, and against models of as few layers."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import device
from toy import ADDITIVE, STAGES, figures, llm, lmm, ops, toy

from roofline import analyze
from roofline.engine.result import OpTotals
from roofline.errors import ScenarioError

GROUPED = (*ADDITIVE, "kv_cache_bytes", "peak_activation_bytes", "weight_bytes")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "groups",
    [[(32, 40)], [(1, 40), (31, 40)], [(2, 40), (14, 40), (16, 40)], [(32, 40, 40)]],
    ids=str,
)
def test_groups_of_the_same_length_make_no_difference(
    groups: list[tuple[int, int]], stage: str
) -> None:
    plain, grouped = (
        analyze("vicuna-7b", "v100", visual_tokens=40, stage=stage, output_tokens=3, **options)
        for options in ({}, {"llm_layers": groups})
    )

    for name in GROUPED:
        assert getattr(grouped.llm, name) == pytest.approx(getattr(plain.llm, name), rel=1e-13)
    assert grouped.inputs["visual_tokens"] == 40


def same_cost(op: OpTotals, other: OpTotals) -> bool:
    """Whether two ops say the same, the last digit of a time and the label of layers aside."""
    one, two = op.to_dict(), other.to_dict()
    words = ("name", "component", "phase", "kind", "bound", "attainable_origin")
    return all(one[word] == two[word] for word in words) and all(
        one[name] == pytest.approx(two[name], rel=1e-13)
        for name in one
        if name not in (*words, "layers")
    )


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_layers_with_different_tokens_cost_what_such_models_cost(stage: str) -> None:
    # layer 0 sees 20 + 3 tokens, layers 1 and 2 see 6 + 3
    mixed = toy(
        llm(num_hidden_layers=3), llm_layers=[(1, 20), (2, 6)], visual_tokens=20, stage=stage
    )
    many = toy(llm(num_hidden_layers=1), visual_tokens=20, stage=stage)
    few = toy(llm(num_hidden_layers=2), visual_tokens=6, stage=stage)
    outside = {"embed_tokens", "rotary_emb", "norm", "lm_head"}

    for group, model in (("0-0", many), ("1-2", few)):
        layer = {k: op for k, op in ops(model).items() if op.name not in outside}
        found = ops(mixed, "llm", group)
        assert set(found) == set(layer)
        for name, op in layer.items():
            assert same_cost(found[name], op)
    rest = ops(mixed)
    assert {op.name for op in rest.values()} == outside
    for name, op in rest.items():  # the prompt enters in full; what is left of it leaves
        assert same_cost(op, ops(few if op.name in ("norm", "lm_head") else many)[name])
    assert mixed.llm.kv_cache_bytes == many.llm.kv_cache_bytes + few.llm.kv_cache_bytes


def test_flops_of_layers_with_different_tokens_by_hand() -> None:
    def layer(n: int) -> int:
        # weights 2·64 + 2·32 + 3·128; scores [2, n, n], e = 4, twice
        return 2 * n * 576 + 2 * (2 * 2 * n * n * 4)

    whole = toy(llm_layers=[(1, 20), (1, 6)], visual_tokens=20).llm

    assert whole.flops == layer(23) + layer(9) + 2 * 8 * 10
    assert whole.kv_cache_bytes == 2 * (2 * 4 * (23 + 9))


def test_tokens_merged_before_the_mlp_of_a_layer() -> None:
    # layer 0: attention over 20 + 3, MLP over 6 + 3; layer 1 over 6 + 3
    whole = toy(llm_layers=[(1, 20, 6), (1, 6)], visual_tokens=20).llm
    attention, mlp = 2 * 64 + 2 * 32, 3 * 128

    first = 2 * 23 * attention + 2 * 9 * mlp + 2 * (2 * 2 * 23 * 23 * 4)
    second = 2 * 9 * (attention + mlp) + 2 * (2 * 2 * 9 * 9 * 4)
    assert whole.flops == first + second + 2 * 8 * 10
    assert whole.kv_cache_bytes == 2 * (2 * 4 * (23 + 9))  # keys are written before merging


def test_groups_give_the_visual_tokens_if_nothing_else_does() -> None:
    estimate = analyze(llm(), device(), llm_layers=[(2, 20)])

    assert estimate.inputs["visual_tokens"] == 20


def test_generate_with_groups_is_the_prompt_and_its_steps() -> None:
    options: dict[str, Any] = {"llm_layers": [(1, 20), (1, 6)], "visual_tokens": 20}
    whole = toy(stage="generate", output_tokens=4, **options)
    parts = [toy(**options), *(toy(stage="decode", text_tokens=3 + i, **options) for i in range(4))]

    for name in ADDITIVE:
        assert getattr(whole.llm, name) == pytest.approx(
            sum(getattr(part.llm, name) for part in parts), rel=1e-13
        )


@pytest.mark.parametrize(
    "groups", [[(3, 10)], [(1, 10), (2, 10)], [(2, 10, 10), (1, 10)], [(1, 10, 10)] * 3], ids=str
)
def test_vision_groups_of_the_same_length_make_no_difference(groups: list[tuple[int, ...]]) -> None:
    plain, grouped = toy(lmm()), toy(lmm(), vision_layers=groups)

    for name in GROUPED:
        assert getattr(grouped.components["vision"], name) == pytest.approx(
            getattr(plain.components["vision"], name), rel=1e-13
        )
    for part in ("connector", "llm"):
        assert figures(grouped.components[part]) == figures(plain.components[part])


def test_flops_of_vision_blocks_with_different_tokens_by_hand() -> None:
    # block 0: attention over 10, MLP over 7; block 1 over 7; block 2: attention over 7, MLP over 4
    estimate = toy(lmm(), vision_layers=[(1, 10, 7), (1, 7), (1, 7, 4)])

    def block(attention: int, mlp: int) -> int:
        # weights 4·64 and 2·128; scores [2, n, n], e = 4, twice
        return 2 * attention * 256 + 2 * mlp * 256 + 2 * (2 * 2 * attention**2 * 4)

    stem = 2 * 9 * 48 * 8  # 9 patches of 3·4·4 pixels
    assert estimate.components["vision"].flops == stem + block(10, 7) + block(7, 7) + block(7, 4)
    assert set(ops(estimate, "vision", "0-0")) == set(ops(estimate, "vision", "2-2"))


@pytest.mark.parametrize(
    "options",
    [
        {"llm_layers": [(1, 2)]},
        {"llm_layers": [(2, 2), (1, 2)]},
        {"llm_layers": []},
        {"llm_layers": [(3, 2), (-1, 2)]},
        {"llm_layers": [(2, 2), (0, 2)]},
        {"llm_layers": [(1, 2), (1, -1)]},
        {"llm_layers": [(1, 2), (1, 1.5)]},
        {"llm_layers": [(2,)]},
        {"llm_layers": [(2, 2, 2, 2)]},
        {"llm_layers": [(1, 2), (1, 0)], "text_tokens": 0},
        {"llm_layers": [(1, 2), (1, 0)], "text_tokens": [3, 0]},
        {"vision_layers": [(2, 10)]},
        {"vision_layers": [(3, 10), (1, 10)]},
        {"vision_layers": []},
        {"vision_layers": [(4, 10), (-1, 10)]},
        {"vision_layers": [(3, -1)]},
        {"vision_layers": [(3, 0)]},
        {"vision_layers": [(0, 10), (3, 10)]},
        {"vision_layers": [(3,)]},
        {"vision_layers": [(3, 10, 10, 10)]},
    ],
    ids=str,
)
def test_layers_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=next(iter(options))):
        toy(lmm(), **options)


def test_the_last_layers_may_see_no_visual_token_at_all() -> None:
    # layer 0 sees 2 + 3 tokens, layer 1 the 3 of text: [3, 8] @ [8, 8]
    estimate = toy(llm_layers=[(1, 2), (1, 0)])

    assert ops(estimate, "llm", "1-1")["prefill q_proj"].flops == 2 * 3 * 8 * 8


def test_blocks_may_see_a_single_token() -> None:
    # the class token, say: [1, 8] through 4·64 and 2·128 weights, a score a head, e = 4, twice
    estimate = toy(lmm(), vision_layers=[(3, 1)])

    stem = 2 * 9 * 48 * 8
    assert estimate.components["vision"].flops == stem + 3 * (2 * 512 + 2 * (2 * 2 * 4))


def test_layers_that_contradict_the_prompt() -> None:
    with pytest.raises(ScenarioError, match="`visual_tokens` and the first entry of `llm_layers`"):
        toy(visual_tokens=2, llm_layers=[(2, 3)])
    with pytest.raises(ScenarioError, match="the first entry of `llm_layers` differ"):
        toy(visual_tokens=[3, 2], llm_layers=[(2, 3)])


def test_layers_of_a_part_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match="no vision encoder"):
        toy(vision_layers=[(3, 10)])
    with pytest.raises(ScenarioError, match="no LLM"):
        analyze(lmm().vision, device(), llm_layers=[(2, 2)])


def test_a_reducer_lays_out_the_layers_itself() -> None:
    with pytest.raises(ScenarioError, match="leave `\\*_layers` to it"):
        analyze("llava-1.5-7b", "v100", reducer="prumerge", llm_layers=[(32, 40)])
