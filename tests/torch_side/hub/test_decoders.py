"""Every model type of a decoder: FLOPs and parameters of the imported config are PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from roofline import count, model_from_config
from roofline.specs.hub import HUB_CONFIGS
from roofline.torch_side.oracle.decoders import config_of, decoder_on_meta, filled_cache, run

ODD = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 212,
    "vocab_size": 4001,
    "pad_token_id": 0,
}
"""No width equals another."""
ALL_HEADS = {name: value for name, value in ODD.items() if name != "num_key_value_heads"}
HEADS = ODD | {"head_dim": 20}
MOE = ODD | {"num_experts_per_tok": 3, "num_hidden_layers": 4}
ROUTED = MOE | {"num_experts": 7, "moe_intermediate_size": 52}
DEEPSEEK = MOE | {
    "num_key_value_heads": 6,
    "n_routed_experts": 12,
    "n_shared_experts": 2,
    "moe_intermediate_size": 52,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 36,
    "q_lora_rank": 44,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
    "n_group": 3,
    "topk_group": 2,
}
LLAMA = ODD | {"model_type": "llama"}
QWEN_1 = ALL_HEADS | {"model_type": "qwen", "kv_channels": 16, "max_position_embeddings": 8192}
QWEN = ALL_HEADS | {"model_type": "qwen2", "num_key_value_heads": 6}
GLM = MOE | {"head_dim": 20, "n_routed_experts": 12, "moe_intermediate_size": 52}
FALCON = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "vocab_size": 4001,
}

CONFIGS: dict[str, tuple[dict[str, Any], ...]] = {
    "llama": (
        ODD,
        HEADS | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "mistral": (HEADS | {"sliding_window": 16}, ODD | {"sliding_window": None}),
    "ministral": (
        HEADS
        | {
            "sliding_window": 16,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        },
    ),
    "ministral3": (HEADS,),
    "qwen2": (
        ODD,
        ODD | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "qwen3": (HEADS, HEADS | {"attention_bias": True, "tie_word_embeddings": True}),
    "phi3": (ODD, ODD | {"sliding_window": 16}),
    "smollm3": (ODD | {"num_hidden_layers": 5}, ODD | {"no_rope_layers": [0, 1, 1]}),
    "granite": (ODD, ODD | {"attention_bias": True, "mlp_bias": True}),
    "olmo": (ODD, ODD | {"attention_bias": True}),
    "olmo2": (ODD, ODD | {"attention_bias": True}),
    "glm": (HEADS, HEADS | {"attention_bias": False}),
    "glm4": (HEADS,),
    "gemma": (HEADS, HEADS | {"attention_bias": True}),
    "gemma2": (HEADS | {"sliding_window": 16},),
    "gemma3_text": (
        HEADS | {"sliding_window": 16, "num_hidden_layers": 7},
        HEADS | {"sliding_window": 16, "sliding_window_pattern": 2},
    ),
    "gpt2": (
        {"n_embd": 96, "n_layer": 3, "n_head": 6, "n_positions": 128, "vocab_size": 4001},
        {"n_embd": 96, "n_layer": 3, "n_head": 6, "n_inner": 212, "tie_word_embeddings": False},
    ),
    "opt": (
        {
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "ffn_dim": 212,
            "vocab_size": 4001,
            "word_embed_proj_dim": 96,
            "max_position_embeddings": 130,
            "pad_token_id": 1,
        },
        {"hidden_size": 96, "word_embed_proj_dim": 96, "enable_bias": False},
    ),
    "gpt_neox": (
        ALL_HEADS,
        ALL_HEADS | {"use_parallel_residual": False, "attention_bias": False},
    ),
    "falcon": (
        FALCON,
        FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 212},
        FALCON | {"multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "phi": (ODD | {"num_key_value_heads": 6}, ODD | {"qk_layernorm": True}),
    "starcoder2": (ODD | {"sliding_window": 16}, ODD | {"use_bias": False}),
    "stablelm": (ODD | {"use_qkv_bias": True}, ODD | {"use_parallel_residual": True}),
    "cohere": (ODD, ODD | {"use_qk_norm": True}),
    "cohere2": (ODD | {"sliding_window": 16, "num_hidden_layers": 5},),
    "mixtral": (MOE | {"num_local_experts": 7}, MOE | {"sliding_window": 16}),
    "qwen2_moe": (
        ROUTED | {"shared_expert_intermediate_size": 76},
        ROUTED | {"decoder_sparse_step": 2, "qkv_bias": False},
    ),
    "qwen3_moe": (ROUTED | {"head_dim": 20}, ROUTED | {"decoder_sparse_step": 2}),
    "glm4_moe": (GLM | {"use_qk_norm": True, "n_shared_experts": 2},),
    "olmoe": (MOE | {"num_experts": 7}, MOE | {"num_experts": 7, "attention_bias": True}),
    "granitemoe": (MOE | {"num_local_experts": 7},),
    "seed_oss": (HEADS, HEADS | {"attention_out_bias": True, "mlp_bias": True}),
    "ernie4_5": (HEADS, HEADS | {"use_bias": True}),
    "arcee": (HEADS, HEADS | {"attention_bias": True, "mlp_bias": True}),
    "gpt_oss": (HEADS | {"sliding_window": 16, "num_local_experts": 7, "num_experts_per_tok": 3},),
    # all experts, which is what transformers computes whatever is asked for
    "llama4_text": (
        HEADS
        | {"num_local_experts": 5, "num_experts_per_tok": 5, "num_hidden_layers": 5}
        | {"intermediate_size_mlp": 148, "attention_chunk_size": 16}
        | {"interleave_moe_layer_step": 2},
    ),
    "deepseek_v2": (DEEPSEEK, DEEPSEEK | {"q_lora_rank": None, "attention_bias": True}),
    "deepseek_v3": (DEEPSEEK, DEEPSEEK | {"q_lora_rank": None}),
}
CASES = [
    pytest.param({"model_type": name} | config, id=f"{name}-{number}")
    for name, configs in CONFIGS.items()
    for number, config in enumerate(configs, 1)
]
INSIDE_OTHERS = {
    "qwen2_vl_text",
    "qwen2_5_vl_text",
    "qwen3_vl_text",
    "qwen3_vl_moe_text",
    "glm4v_moe_text",
}
"""Model types that transformers runs inside a multimodal model alone."""
OF_REMOTE_CODE = {"internlm2", "qwen", "kimi_k2"}
"""Model types whose class is on the hub, not in transformers."""


def test_every_model_type_has_a_config() -> None:
    decoders = {
        name
        for name in HUB_CONFIGS.names()
        if ".language_models." in HUB_CONFIGS.find(name).spec_fields.__module__
    }
    assert set(CONFIGS) == decoders - INSIDE_OTHERS - OF_REMOTE_CODE


def counted(model: Any, *, before: int, tokens: int, batch: int) -> int:
    """FLOPs of so many tokens behind others."""
    cache = filled_cache(model, batch=batch, tokens=before)
    with FlopCounterMode(display=False) as counter:
        run(model, cache, batch=batch, tokens=tokens)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("config", CASES)
def test_flops_and_parameters_are_those_of_pytorch(config: dict[str, Any]) -> None:
    spec = model_from_config(config)
    model = decoder_on_meta(config_of(config), "eager")

    for length in (7, 61):
        estimate = count(spec, text_tokens=length, visual_tokens=0, batch=3)
        assert estimate.llm.flops == counted(model, before=0, tokens=length, batch=3)
    assert estimate.llm.weight_bytes == 2 * sum(p.numel() for p in model.parameters())
    for length in (9, 61):
        step = count(spec, text_tokens=length, visual_tokens=0, batch=3, stage="decode")
        assert step.llm.flops == counted(model, before=length, tokens=1, batch=3)


@pytest.mark.parametrize(
    ("config", "twin"),
    [
        (ODD | {"model_type": "internlm2", "bias": True}, LLAMA | {"attention_bias": True}),
        (QWEN_1, QWEN | {"intermediate_size": 106}),
        (DEEPSEEK | {"model_type": "kimi_k2"}, DEEPSEEK | {"model_type": "deepseek_v3"}),
        (ODD | {"model_type": "qwen2_vl_text"}, ODD | {"model_type": "qwen2"}),
        (ODD | {"model_type": "qwen2_5_vl_text"}, ODD | {"model_type": "qwen2"}),
        (HEADS | {"model_type": "qwen3_vl_text"}, HEADS | {"model_type": "qwen3"}),
        (
            ROUTED | {"model_type": "qwen3_vl_moe_text", "head_dim": 20},
            ROUTED | {"model_type": "qwen3_moe", "head_dim": 20, "tie_word_embeddings": True},
        ),
        (
            GLM | {"model_type": "glm4v_moe_text"},
            GLM | {"model_type": "glm4_moe", "attention_bias": True},
        ),
    ],
    ids=lambda config: config["model_type"],
)
def test_what_runs_nowhere_alone_is_another_by_its_fields(
    config: dict[str, Any], twin: dict[str, Any]
) -> None:
    ours, theirs = model_from_config(config), model_from_config(twin)

    for stage in ("prefill", "decode"):
        flops = [count(one, text_tokens=61, stage=stage).llm.flops for one in (ours, theirs)]
        assert flops[0] == flops[1]
    assert (
        count(ours, text_tokens=1).llm.weight_bytes == count(theirs, text_tokens=1).llm.weight_bytes
    )


@pytest.mark.parametrize("config", [c for c in CASES if c.id in ("mistral-1", "gemma2-1")])
def test_a_generation_is_its_steps(config: dict[str, Any]) -> None:
    prompt, steps = 13, 6  # the window of 16 keys is full at the third
    spec = model_from_config(config)
    model = decoder_on_meta(config_of(config), "eager")
    traced = counted(model, before=0, tokens=prompt, batch=1) + sum(
        counted(model, before=prompt + step, tokens=1, batch=1) for step in range(steps)
    )

    whole = count(spec, text_tokens=prompt, stage="generate", output_tokens=steps)
    assert whole.llm.flops == traced
