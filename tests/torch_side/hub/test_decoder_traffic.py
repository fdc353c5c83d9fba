"""Traffic and peak activations of decoders unlike Llama: those of the traced model, to the byte."""

from __future__ import annotations

from typing import Any

import pytest

from roofline import count, model_from_config
from roofline.model.architectures import AttentionKind
from roofline.torch_side.oracle.checks import CostCheck, compare_costs

SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 212,
    "vocab_size": 4001,
    "pad_token_id": 0,
}
WINDOW = {"sliding_window": 16, "num_hidden_layers": 5}
LATENT = {
    "num_key_value_heads": 6,
    "kv_lora_rank": 36,
    "q_lora_rank": 44,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
    "rope_interleave": False,  # transformers makes a table of both halves and then reads one
    "first_k_dense_replace": 3,  # a router in fp32 is no router in fp16
}
EXPERTS = {
    "num_experts": 7,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 52,
    "shared_expert_intermediate_size": 76,
}
SHAPES: dict[str, tuple[dict[str, Any], AttentionKind]] = {
    "windows in all layers": ({"model_type": "mistral", "head_dim": 20} | WINDOW, "flash"),
    "norms of queries and keys": ({"model_type": "qwen3", "head_dim": 20}, "flash"),
    "layer norms, plain MLP": ({"model_type": "starcoder2"} | WINDOW, "flash"),
    "parallel branches": ({"model_type": "phi"}, "flash"),
    "part of a head rotated": ({"model_type": "stablelm", "use_qkv_bias": True}, "flash"),
    "scaled logits": ({"model_type": "cohere", "use_qk_norm": True}, "flash"),
    "layers that do not rotate": ({"model_type": "cohere2"} | WINDOW, "flash"),
    "sandwiched, soft caps": ({"model_type": "gemma2", "head_dim": 20} | WINDOW, "eager"),
    "latent attention": ({"model_type": "deepseek_v3"} | LATENT, "flash"),
}


def off(checks: list[CostCheck]) -> dict[str, float]:
    return {check.quantity: check.difference for check in checks if check.difference}


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_moves_and_holds_what_is_traced(shape: str, stage: str) -> None:
    config, attention = SHAPES[shape]

    checks = compare_costs(
        SIZES | config, text_tokens=61, batch=3, stage=stage, attention=attention
    )

    assert len(checks) == 4
    assert not off(checks)


def test_a_generation_fills_its_window() -> None:
    config, attention = SHAPES["windows in all layers"]
    generation = {"text_tokens": 13, "stage": "generate", "output_tokens": 5}

    assert not off(compare_costs(SIZES | config, attention=attention, **generation))


def test_experts_move_what_is_traced_where_all_are_touched() -> None:
    # of 7 experts 3 for each of 366 tokens: (4/7)^366 of them is left out
    config = SIZES | EXPERTS | {"model_type": "qwen2_moe"}
    found = off(compare_costs(config, text_tokens=122, batch=3))

    # rows between an expert's matmuls are alive, and no tensors of the one kernel that is traced
    assert found.keys() == {"peak_activation_bytes"}
    assert found["peak_activation_bytes"] > 0


def test_few_tokens_touch_few_experts() -> None:
    # one token: 3 of 7 experts, each (2 + 1) · 96 · 52 weights of 2 bytes, in each of 3 layers
    spec = model_from_config(SIZES | EXPERTS | {"model_type": "qwen2_moe"})
    ops = {op.name: op for op in count(spec, text_tokens=9, stage="decode").ops}

    assert ops["experts"].weight_read_bytes == pytest.approx(3 * 3 * (3 * 96 * 52) * 2)
