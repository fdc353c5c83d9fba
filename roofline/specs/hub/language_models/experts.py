"""Decoders with experts: Mixtral, Qwen, GLM-4.5, gpt-oss, Llama 4, DeepSeek."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.language_models.common import (
    RMS_SIZES,
    attention_pattern,
    head_dim,
    layer_windows,
    no_window,
    one_bias,
    rms_sizes,
    shortest_pattern,
    window,
)
from roofline.specs.hub.language_models.llama import FACTORS, QK_NORM_OF_HEADS, scaled


def mixtral(fields: ConfigFields) -> dict[str, Any]:
    """`intermediate_size` is that of an expert."""
    return rms_sizes(fields) | head_dim(fields) | window(fields) | mixtral_experts(fields)


def mixtral_experts(fields: ConfigFields) -> dict[str, Any]:
    """Of a spec whose MLPs are all experts."""
    return {"moe": experts(fields, "num_local_experts", "intermediate_size")}


def experts(fields: ConfigFields, number: str, width: str) -> dict[str, Any]:
    """How many, how many of them a token goes through, and how wide each is."""
    return {
        "num_experts": fields.count(number),
        "num_experts_per_tok": fields.count("num_experts_per_tok"),
        "intermediate_size": fields.count(width),
    }


def given_head_dim(fields: ConfigFields) -> dict[str, Any]:
    """A width of heads where the config itself has one."""
    return {"head_dim": fields.count("head_dim")} if fields.given("head_dim") else {}


def qwen2_moe(fields: ConfigFields) -> dict[str, Any]:
    """A shared expert, weighed by a gate."""
    shared = {
        "shared_intermediate_size": fields.count("shared_expert_intermediate_size"),
        "shared_gate": True,
    }
    no_window(fields)
    biases = {"attention_bias": fields.flag("qkv_bias"), "attention_output_bias": False}
    return rms_sizes(fields) | biases | {"moe": qwen_experts(fields) | shared}


def qwen3_moe(fields: ConfigFields) -> dict[str, Any]:
    """Norms of queries and keys, no shared expert."""
    moe = {"moe": qwen_experts(fields)}
    no_window(fields)
    return rms_sizes(fields) | given_head_dim(fields) | one_bias(fields) | QK_NORM_OF_HEADS | moe


def qwen_experts(fields: ConfigFields) -> dict[str, Any]:
    """`moe` of a spec: experts in each n-th layer."""
    fields.require("mlp_only_layers", None, [])
    # files that transformers writes anew have another name for it
    number = "num_local_experts" if fields.given("num_local_experts") else "num_experts"
    fields.skip("num_experts")
    return {
        **experts(fields, number, "moe_intermediate_size"),
        "every": fields.count("decoder_sparse_step"),
    }


def glm4_moe(fields: ConfigFields) -> dict[str, Any]:
    """GLM-4.5: DeepSeek's experts, plain attention."""
    own = {
        "attention_bias": fields.flag("attention_bias"),
        "attention_output_bias": False,
        "moe": _deepseek_experts(fields),
    }
    normed = "use_qk_norm" in fields.defaults and fields.flag("use_qk_norm")
    fields.require("use_qk_norm", normed)
    norms = QK_NORM_OF_HEADS if normed else {}
    return rms_sizes(fields) | given_head_dim(fields) | own | norms


def olmoe(fields: ConfigFields) -> dict[str, Any]:
    """Norms over all queries and all keys; `intermediate_size` is that of an expert."""
    fields.require("clip_qkv", None)
    moe = experts(fields, "num_experts", "intermediate_size")
    return rms_sizes(fields) | one_bias(fields) | {"qk_norm": {"over": "width"}, "moe": moe}


def granitemoe(fields: ConfigFields) -> dict[str, Any]:
    """Granite's factors, Mixtral's experts."""
    return rms_sizes(fields) | scaled(fields) | one_bias(fields) | mixtral_experts(fields)


def gpt_oss(fields: ConfigFields) -> dict[str, Any]:
    """A window in every second layer, sinks, biases everywhere but at the head."""
    moe = {
        **experts(fields, "num_local_experts", "intermediate_size"),
        "router_bias": True,
        "expert_bias": True,
    }
    own = {"attention_sinks": True, "moe": moe}
    windows = layer_windows(fields, full_every=2)
    return rms_sizes(fields) | head_dim(fields) | one_bias(fields) | windows | own


def llama4(fields: ConfigFields) -> dict[str, Any]:
    """Three of four layers rotate and see a chunk; a shared expert, and dense layers between.

    Each token goes through `num_experts_per_tok` experts: transformers sends it through all, with
    weights of zero, which no server does.
    """
    every, layers = fields.count("no_rope_layer_interval"), fields.count("num_hidden_layers")
    rotates = fields.items("no_rope_layers") or [
        int((layer + 1) % every != 0) for layer in range(layers)
    ]
    types = fields.items("layer_types") or [
        "chunked_attention" if one else "full_attention" for one in rotates
    ]
    step = fields.count("interleave_moe_layer_step")
    fields.require("moe_layers", None, list(range(step - 1, layers, step)))
    width = fields.count("intermediate_size")
    norms = {"qk_norm": {"weights": "none"}} if fields.flag("use_qk_norm") else {}
    own = {
        "sliding_window": fields.count("attention_chunk_size"),
        "attention_pattern": attention_pattern(fields, types),
        "rotary_pattern": shortest_pattern([bool(one) for one in rotates]),
        "moe": {
            "num_experts": fields.count("num_local_experts"),
            "num_experts_per_tok": fields.count("num_experts_per_tok"),
            "intermediate_size": width,
            "shared_intermediate_size": width,
            "every": step,
        },
    }
    dense = {"intermediate_size": fields.count("intermediate_size_mlp")}
    return rms_sizes(fields) | head_dim(fields) | one_bias(fields) | norms | own | dense


def deepseek(fields: ConfigFields) -> dict[str, Any]:
    """Latent attention."""
    fields.skip("head_dim")  # of the rotated part, by some configs
    ranks = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    mla: dict[str, int | None] = {name: fields.count(name) for name in ranks}
    mla["q_lora_rank"] = fields.count_or_none("q_lora_rank") or None
    own = {"mla": mla, "moe": _deepseek_experts(fields)}
    return rms_sizes(fields) | one_bias(fields) | own


def deepseek_v2(fields: ConfigFields) -> dict[str, Any]:
    """The same with a flag for the biases of MLPs."""
    return deepseek(fields) | {"mlp_bias": fields.flag("mlp_bias")}


def _deepseek_experts(fields: ConfigFields) -> dict[str, Any]:
    fields.require("moe_layer_freq", 1)
    width, shared = fields.count("moe_intermediate_size"), fields.count_or_none("n_shared_experts")
    return {
        **experts(fields, "n_routed_experts", "moe_intermediate_size"),
        "shared_intermediate_size": shared * width if shared else None,
        "first_dense_layers": fields.count("first_k_dense_replace"),
    }


_QWEN_MOE = RMS_SIZES | {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "decoder_sparse_step": 1,
    "mlp_only_layers": None,
}
_DEEPSEEK = RMS_SIZES | {
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "attention_bias": False,
}

for _model_type, _family in {
    "mixtral": HubConfig(
        mixtral,
        RMS_SIZES
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "head_dim": None,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "sliding_window": None,
            "num_experts_per_tok": 2,
            "num_local_experts": 8,
            "rope_theta": 1000000.0,
        },
    ),
    "qwen2_moe": HubConfig(
        qwen2_moe,
        _QWEN_MOE
        | {
            "intermediate_size": 5632,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "max_window_layers": 28,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts_per_tok": 4,
            "num_experts": 60,
            "qkv_bias": True,
            "layer_types": None,
        },
    ),
    "qwen3_moe": HubConfig(
        qwen3_moe,
        _QWEN_MOE
        | {
            "intermediate_size": 6144,
            "num_key_value_heads": 4,
            "attention_bias": False,
            "moe_intermediate_size": 768,
            "num_experts_per_tok": 8,
            "num_experts": 128,
        },
    ),
    "glm4_moe": HubConfig(
        glm4_moe,
        RMS_SIZES
        | {
            "vocab_size": 151552,
            "intermediate_size": 10944,
            "num_hidden_layers": 46,
            "num_attention_heads": 96,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "moe_intermediate_size": 1408,
            "num_experts_per_tok": 8,
            "n_shared_experts": 1,
            "n_routed_experts": 128,
            "first_k_dense_replace": 1,
            "use_qk_norm": False,
            "partial_rotary_factor": 0.5,
        },
    ),
    "olmoe": HubConfig(
        olmoe,
        RMS_SIZES
        | {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "intermediate_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "clip_qkv": None,
            "num_experts_per_tok": 8,
            "num_experts": 64,
        },
    ),
    "granitemoe": HubConfig(
        granitemoe,
        RMS_SIZES
        | FACTORS
        | {"attention_bias": False, "num_local_experts": 8, "num_experts_per_tok": 2},
    ),
    "gpt_oss": HubConfig(
        gpt_oss,
        RMS_SIZES
        | {
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 36,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
            "sliding_window": 128,
            "layer_types": None,
            "attention_bias": True,
            "rope_theta": 150000.0,
        },
    ),
    "llama4_text": HubConfig(
        llama4,
        RMS_SIZES
        | {
            "vocab_size": 202048,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "num_experts_per_tok": 1,
            "num_local_experts": 16,
            "moe_layers": None,
            "interleave_moe_layer_step": 1,
            "use_qk_norm": True,
            "no_rope_layers": None,
            "no_rope_layer_interval": 4,
            "attention_chunk_size": 8192,
            "layer_types": None,
            "attention_bias": False,
            "rope_theta": 500000.0,
        },
    ),
    "deepseek_v2": HubConfig(
        deepseek_v2,
        _DEEPSEEK
        | {
            "vocab_size": 102400,
            "mlp_bias": False,
            "first_k_dense_replace": 0,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": None,
            "moe_intermediate_size": 1407,
        },
    ),
    "deepseek_v3": HubConfig(
        deepseek,
        _DEEPSEEK
        | {
            "vocab_size": 129280,
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "max_position_embeddings": 4096,
            "first_k_dense_replace": 3,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 2048,
        },
    ),
}.items():
    HUB_CONFIGS.register(_model_type, _family)
