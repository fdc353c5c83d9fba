"""What reducers cost, by hand; LLaVA-1.5-7B has 577 tokens, 16 heads, C = 1024 and d = 4096."""

from __future__ import annotations

from typing import Any

import pytest

import roofline
from roofline import analyze, reducers
from roofline.report.text.estimates import render
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import Lmm, VisionEncoder

FP16 = 2
N, T, C, HEADS = 576, 577, 1024, 16
TEXT, D, F, LAYERS, VOCABULARY = 40, 4096, 11008, 32, 32064


def llm_layer(tokens: int) -> int:
    """q, k, v, o; gate, up, down; QKᵀ and PV."""
    return 8 * tokens * D**2 + 6 * tokens * D * F + 4 * tokens**2 * D


LM_HEAD = 2 * D * VOCABULARY


def estimate_of(reducer: str, tokens: int | None = None, model: str = "llava-1.5-7b") -> Any:
    return analyze(model, "h200", visual_tokens=tokens, reducer=reducer)


def own_flops(reducer: str, tokens: int | None = None) -> float:
    return float(estimate_of(reducer, tokens).components["reducer"].flops)


@pytest.mark.parametrize("name", reducers.names())
def test_one_that_keeps_everything_leaves_the_llm_all_its_work(name: str) -> None:
    estimate = estimate_of(name, N)

    assert estimate.components["llm"].flops == LAYERS * llm_layer(N + TEXT) + LM_HEAD
    assert estimate.components["connector"].flops == 2 * N * (C * D + D * D)
    assert estimate.comparison.speedup <= 1  # its own work comes on top
    assert "nan" not in render([estimate], "table")
    assert "inf" not in render([estimate], "json").lower()


@pytest.mark.parametrize("model", ["llava-1.5-7b", "video-llava-7b", "llava-tiny"])
@pytest.mark.parametrize("name", reducers.names())
def test_default_counts_suit_every_encoder(name: str, model: str) -> None:
    estimate = estimate_of(name, model=model)
    lmm = load_model(model)
    assert isinstance(lmm, Lmm)
    vision = load_component(lmm.vision, VisionEncoder)
    candidates, images = vision.patches, lmm.images
    if reducers.find(name).site == "llm":  # it chooses among all that a sequence has
        candidates, images = int(roofline.count(lmm).inputs["visual_tokens"]), 1
    kept = estimate.inputs["visual_tokens"]

    assert kept == estimate.reducer.default_visual_tokens
    assert kept == images * reducers.find(name).default_kept(
        candidates, vision.num_hidden_layers - 1
    )
    assert 1 <= kept <= images * candidates


def test_fastv_reads_keys_from_the_cache_at_its_width() -> None:
    estimate = analyze("llava-1.5-7b", "h200", "int4", visual_tokens=288, reducer="fastv")
    row = next(op for op in estimate.ops if op.component == "reducer")

    assert row.kv_read_bytes == (N + TEXT) * D / 2  # 4 bits an element
    assert row.activation_read_bytes == D / 2  # the last token's query


@pytest.mark.parametrize("k", [1, 2, 3, 31])
def test_fastv_s_first_k_layers_see_everything(k: int) -> None:
    llm = estimate_of(f"fastv:k={k}:ratio=0.75").components["llm"].flops

    assert llm == k * llm_layer(N + TEXT) + (LAYERS - k) * llm_layer(144 + TEXT) + LM_HEAD


def test_prumerge_s_own_work_by_variant_and_neighbours() -> None:
    keys, query, attention = 2 * T * C**2, 2 * C**2, 2 * T * C
    ranked, extra = keys + query + attention, 2 * N * C

    assert own_flops("prumerge", 41) == ranked + 2 * (2 * 40 * N * C) + extra
    assert own_flops("prumerge:k=7", 41) == own_flops("prumerge", 41)
    assert own_flops("prumerge:k=1", 41) == own_flops("prumerge", 41)
    assert own_flops("prumerge:k=0", 41) == ranked + extra
    assert own_flops("prumerge:variant=paper", 41) == ranked + 2 * (2 * 41 * N * C)


@pytest.mark.parametrize(("contextual", "merged"), [("", 10), (":contextual=24", 24)])
def test_visionzip_s_own_work_by_contextual_tokens(contextual: str, merged: int) -> None:
    others = N - (64 - merged) + 1 - merged
    row, cosines, means = 2 * T * C, 2 * others * merged * C // HEADS, 2 * merged * others * C

    assert own_flops(f"visionzip{contextual}", 64) == row + cosines + means


def test_visionzip_without_contextual_tokens_is_a_row_of_attention() -> None:
    assert own_flops("visionzip:contextual=0", 64) == 2 * T * C


def test_crossget_writes_the_probabilities_that_it_ranks_by() -> None:
    ops = estimate_of("crossget", 278).ops
    first = next(op for op in ops if (op.component, op.name) == ("vision", "softmax"))

    assert first.activation_write_bytes == 16 * 578 * 578 * FP16  # flash asked for or not


def test_pruned_attention_is_softmaxed_head_by_head() -> None:
    ops = estimate_of("fastervlm", 58).ops
    row = next(op for op in ops if op.name == "class_attention")

    assert row.activation_write_bytes == HEADS * T * FP16
    assert row.vector_flops == 5 * HEADS * T


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("prumerge:ratio=0.125", 73),  # 72 and the extra one
        ("prumerge:variant=paper:ratio=0.125", 72),
        ("prumerge+:ratio=0.125", 145),  # as the release: 72 + 72 + 1
        ("prumerge+:ratio=0.25", 289),  # and 144 + 144 + 1
        ("prumerge+:variant=paper:ratio=0.125", 144),
        ("spatial:grid=5,8", 40),
        ("spatial:grid=24,1", 24),  # of 24 rows
        ("spatial:grid=1,24", 24),
        ("tome:r=19", 576 - 23 * 19),
        ("crossget:r=13", 278),  # 578 − 23·13 − 1
        ("evit:rate=0.63", 144),
        ("evit:rule=paper", 147),
        ("evit:stages=6,12:rate=0.5", 144),
        ("ats:rate=0.5", 72),
        ("fastv:ratio=0.75", 144),
    ],
)
def test_options_that_tell_how_many_tokens_are_left(text: str, tokens: int) -> None:
    """Counts of the papers and releases for 576 patches and 23 blocks."""
    assert estimate_of(text).inputs["visual_tokens"] == tokens


def test_stages_move_the_work_of_the_tower() -> None:
    """Reducing one block later costs what one block on all tokens costs more than on those left."""
    early, late = (
        float(estimate_of(f"evit:stages={stage}", 144).components["vision"].flops)
        for stage in (6, 7)
    )

    def block(tokens: int, mlp_tokens: int) -> int:
        return 8 * tokens * C**2 + 4 * tokens**2 * C + 16 * mlp_tokens * C**2

    assert late - early == block(T, T) - block(145, 145)


@pytest.mark.parametrize("side", range(2, 40))
def test_the_usual_share_of_a_spatial_grid_forms_one(side: int) -> None:
    kept = reducers.find("spatial").default_kept(side**2, 24)

    grids = {rows * columns for rows in range(1, side + 1) for columns in range(1, side + 1)}
    share = max(2, round(40 / 576 * side**2))
    assert kept in grids
    assert abs(kept - share) == min(abs(count - share) for count in grids)
    assert reducers.find("spatial").default_kept(576, 24) == 40  # as in the paper's table 4
