"""Decoders that come inside multimodal models: their configs have a `model_type` of their own."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.language_models.common import RMS_SIZES, head_dim, one_bias, rms_sizes
from roofline.specs.hub.language_models.experts import deepseek, glm4_moe, qwen_experts
from roofline.specs.hub.language_models.llama import QK_NORM_OF_HEADS, QWEN_WINDOW, qwen2


def qwen(fields: ConfigFields) -> dict[str, Any]:
    """The first Qwen (remote code): `intermediate_size` is that of gate and up together."""
    fields.require("no_bias", True)
    fields.skip("seq_length", "use_dynamic_ntk", "use_logn_attn")
    return {
        "vocab_size": fields.count("vocab_size"),
        "hidden_size": fields.count("hidden_size"),
        "intermediate_size": fields.count("intermediate_size") // 2,
        "num_hidden_layers": fields.count("num_hidden_layers"),
        "num_attention_heads": fields.count("num_attention_heads"),
        "head_dim": fields.count("kv_channels"),
        "max_position_embeddings": fields.count("max_position_embeddings"),
        "rope_theta": fields.rope().theta,
        "attention_bias": True,
        "attention_output_bias": False,
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
    }


def qwen3_vl(fields: ConfigFields) -> dict[str, Any]:
    """Qwen3 without windows."""
    return rms_sizes(fields) | head_dim(fields) | one_bias(fields) | QK_NORM_OF_HEADS


def qwen3_vl_moe(fields: ConfigFields) -> dict[str, Any]:
    """The same with experts."""
    return qwen3_vl(fields) | {"moe": qwen_experts(fields)}


_UNTIED = {name: value for name, value in RMS_SIZES.items() if name != "tie_word_embeddings"}
"""What says whether the embeddings are tied is the config around."""
_QWEN2_VL = (
    _UNTIED
    | QWEN_WINDOW
    | {
        "vocab_size": 152064,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "max_window_layers": 80,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
    }
)
_QWEN3_VL = {
    "vocab_size": 151936,
    "max_position_embeddings": 128000,
    "attention_bias": False,
    "rope_theta": 500000.0,
}

for _model_type, _family in {
    "qwen2_vl_text": HubConfig(qwen2, _QWEN2_VL),
    "qwen2_5_vl_text": HubConfig(qwen2, _QWEN2_VL),
    "qwen3_vl_text": HubConfig(
        qwen3_vl,
        _UNTIED
        | _QWEN3_VL
        | {"intermediate_size": 22016, "num_key_value_heads": 32, "head_dim": 128},
    ),
    "qwen3_vl_moe_text": HubConfig(
        qwen3_vl_moe,
        RMS_SIZES
        | _QWEN3_VL
        | {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "tie_word_embeddings": True,
            "decoder_sparse_step": 1,
            "moe_intermediate_size": 1408,
            "num_experts_per_tok": 4,
            "num_experts": 60,
            "mlp_only_layers": None,
            "head_dim": None,
        },
    ),
    "glm4v_moe_text": HubConfig(
        glm4_moe,
        RMS_SIZES
        | {
            "vocab_size": 151424,
            "intermediate_size": 10944,
            "num_hidden_layers": 46,
            "num_attention_heads": 96,
            "num_key_value_heads": 8,
            "max_position_embeddings": 65536,
            "rms_norm_eps": 1e-5,
            "attention_bias": True,
            "moe_intermediate_size": 1408,
            "num_experts_per_tok": 8,
            "n_shared_experts": 1,
            "n_routed_experts": 128,
            "first_k_dense_replace": 1,
            "partial_rotary_factor": 0.5,
        },
    ),
    "kimi_k2": HubConfig(deepseek, RMS_SIZES | {"attention_bias": False}),
    "qwen": HubConfig(qwen, {"kv_channels": 128, "no_bias": True, "tie_word_embeddings": False}),
}.items():
    HUB_CONFIGS.register(_model_type, _family)
