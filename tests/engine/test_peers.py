"""Errors that other analyzers make, each with the arithmetic that shows it is not made here.

Vicuna-7B: d = 4096, f = 11008, V = 32000, 32 layers and heads; Llama-3-8B has 8 KV heads.
"""

from __future__ import annotations

from typing import Any

import pytest

import roofline
from roofline.specs.catalog import load_hardware

D, F, V, LAYERS, HEADS, HEAD = 4096, 11008, 32000, 32, 32, 128
FP16 = 2  # bytes


def op(name: str, model: str = "vicuna-7b", component: str = "llm", **scenario: Any) -> Any:
    frame = roofline.analyze(model, "a100", **scenario).ops_frame()
    rows = frame[(frame.component == component) & (frame.name == name)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_lm_head_counts_two_flops_per_mac() -> None:
    assert op("lm_head").flops == 2 * D * V


def test_lm_head_activations_grow_with_the_batch() -> None:
    row = op("lm_head", batch=3)
    assert row.activation_read_bytes == 3 * D * FP16
    assert row.activation_write_bytes == 3 * V * FP16
    assert row.weight_read_bytes == D * V * FP16


def test_mlp_activation_works_on_the_intermediate_size() -> None:
    n = 616
    row = op("act_fn", visual_tokens=576)
    assert row.activation_read_bytes == LAYERS * 2 * n * F * FP16
    assert row.activation_write_bytes == LAYERS * n * F * FP16


@pytest.mark.parametrize("name", ["attention_residual", "mlp_residual"])
def test_residual_add_reads_two_operands(name: str) -> None:
    n = 616
    row = op(name, visual_tokens=576)
    assert row.activation_read_bytes == LAYERS * 2 * n * D * FP16
    assert row.activation_write_bytes == LAYERS * n * D * FP16


def test_flash_attention_writes_its_output_not_its_scores() -> None:
    n = 616
    row = op("attention", visual_tokens=576)
    assert row.activation_write_bytes == LAYERS * n * D * FP16
    assert row.activation_write_bytes < LAYERS * n * n * HEADS * FP16


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_grouped_queries_read_kv_heads(stage: str) -> None:
    keys = 80 + (stage == "decode")
    row = op("attention", "llama-3-8b", visual_tokens=40, stage=stage)
    assert row.kv_read_bytes == LAYERS * 2 * keys * 8 * HEAD * FP16


def test_embedding_is_a_lookup_of_the_rows_it_needs() -> None:
    row = op("embed_tokens", visual_tokens=576, text_tokens=40)
    assert row.flops == 0
    assert row.weight_read_bytes == 40 * D * FP16  # visual tokens come from the connector


def test_logits_of_the_last_position_only() -> None:
    assert op("lm_head", visual_tokens=576).flops == op("lm_head", visual_tokens=1).flops


@pytest.mark.parametrize("name", ["softmax", "input_layernorm", "act_fn"])
def test_vector_ops_run_at_the_vector_peak(name: str) -> None:
    device = load_hardware("a100")
    row = op(name, visual_tokens=2000, attention="eager")
    assert row.flops == 0
    assert row.roofline_time_s >= row.vector_flops / device.vector_flops_per_s
    bandwidth = device.memory_bytes_per_s
    assert row.roofline_time_s == pytest.approx(
        max(row.vector_flops / 19.5e12, row.memory_access_bytes / bandwidth)
    )


def test_traffic_is_not_live_memory() -> None:
    llm = roofline.analyze("vicuna-7b", "a100", visual_tokens=576).llm
    assert llm.memory_access_bytes > llm.weight_bytes
    assert llm.peak_activation_bytes < llm.activation_store_bytes / LAYERS


def test_a_decode_step_writes_one_token_of_kv() -> None:
    frame = roofline.analyze("vicuna-7b", "a100", visual_tokens=576, stage="decode").ops_frame()
    assert frame.kv_write_bytes.sum() == LAYERS * 2 * D * FP16
    assert frame.kv_read_bytes.sum() == LAYERS * 2 * 617 * D * FP16


def test_decode_flops_grow_with_the_context() -> None:
    short, long = (
        roofline.analyze("vicuna-7b", "a100", visual_tokens=v, stage="decode").llm
        for v in (100, 101)
    )
    assert long.flops - short.flops == LAYERS * 4 * D  # one more key: QKᵀ and PV


def test_peak_memory_of_a_chat_fits_a_card() -> None:
    """A 7B chat needs its weights, its cache and a few live tensors, not terabytes."""
    n = 4096
    estimate = roofline.analyze("vicuna-7b", "a100", visual_tokens=n - 40)
    weights, cache = 6_738_415_616 * FP16, LAYERS * 2 * n * D * FP16
    live = n * (D + 3 * F) * FP16 + 2 * n * HEAD * FP16  # stream, gate, up, product; rotary table
    assert estimate.llm.peak_memory_bytes == weights + cache + live


def test_bandwidth_is_decimal_and_capacity_binary() -> None:
    device = load_hardware("v100")
    assert device.memory_bytes_per_s == 900e9  # not 900 · 2^30: 7 % more
    assert device.memory_bytes == 16 * 2**30


def test_a_teraflop_is_ten_to_the_twelve() -> None:
    row = op("q_proj", visual_tokens=8000)
    assert row.bound == "compute"
    assert row.roofline_time_s == pytest.approx(row.flops / 312e12)


@pytest.mark.parametrize(
    ("name", "data_type", "dense"),
    [("h100-sxm", "bf16", 989), ("l4", "bf16", 121), ("a100", "bf16", 312), ("h200", "fp8", 1979)],
)
def test_peaks_are_dense(name: str, data_type: str, dense: float) -> None:
    peak = load_hardware(name).matmul_peak(data_type)
    assert peak is not None
    assert peak.value == dense


def test_sdpa_is_counted_and_not_halved_for_causality() -> None:
    n = 616
    assert op("attention", visual_tokens=576).flops == LAYERS * 4 * n * n * D


def test_a_generation_sums_its_steps_and_nothing_more() -> None:
    whole = roofline.analyze(
        "vicuna-7b", "a100", visual_tokens=40, stage="generate", output_tokens=3
    )
    parts = [roofline.analyze("vicuna-7b", "a100", visual_tokens=40)]
    parts += [
        roofline.analyze("vicuna-7b", "a100", visual_tokens=40, text_tokens=40 + i, stage="decode")
        for i in range(3)
    ]
    assert whole.llm.flops == sum(part.llm.flops for part in parts)
    traffic = [part.llm.memory_access_bytes for part in parts]
    assert whole.llm.memory_access_bytes == sum(traffic)
