"""A reducer's own traffic, by hand; LLaVA-1.5-7B has 577 tokens, 16 heads and d = 4096."""

from __future__ import annotations

import pytest

from roofline import analyze
from roofline.reducers.costs import REDUCERS
from roofline.report.text.estimates import render

FP16 = 2
ALL = 576


def test_fastv_reads_keys_from_the_cache_at_its_width() -> None:
    ops = analyze("llava-1.5-7b", "h200", "int4", visual_tokens=288, reducer="fastv").ops_frame()
    row = ops[ops.component == "reducer"].iloc[0]

    assert row.kv_read_bytes == (ALL + 40) * 4096 / 2  # 4 bits an element
    assert row.activation_read_bytes == 4096 / 2  # the last token's query


def test_crossget_writes_the_probabilities_that_it_ranks_by() -> None:
    ops = analyze("llava-1.5-7b", "h200", visual_tokens=278, reducer="crossget").ops_frame()
    first = ops[(ops.component == "vision") & (ops.name == "softmax")].iloc[0]

    assert first.activation_write_bytes == 16 * 578 * 578 * FP16  # flash asked for or not


def test_pruned_attention_is_softmaxed_head_by_head() -> None:
    ops = analyze("llava-1.5-7b", "h200", visual_tokens=58, reducer="fastervlm").ops_frame()
    row = ops[ops.name == "class_attention"].iloc[0]

    assert row.activation_write_bytes == 16 * 577 * FP16
    assert row.vector_flops == 5 * 16 * 577


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_that_keeps_everything_saves_no_time(name: str) -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=ALL, reducer=name)

    assert "nan" not in render([estimate], "table")
    assert "inf" not in render([estimate], "json").lower()


@pytest.mark.parametrize("model", ["llava-1.5-7b", "video-llava-7b", "llava-tiny"])
@pytest.mark.parametrize("name", REDUCERS)
def test_typical_counts_suit_every_encoder(name: str, model: str) -> None:
    estimate = analyze(model, "h200", reducer=name)
    images = {"video-llava-7b": 8}.get(model, 1)
    assert estimate.reducer is not None

    assert estimate.inputs["visual_tokens"] == images * estimate.reducer.default_tokens_per_image
