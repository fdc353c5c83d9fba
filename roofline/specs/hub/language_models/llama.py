"""Llama, and those that differ from it in a flag: Mistral, Qwen2."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields

SIZES: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
"""Fields that most configs have, with Llama's defaults."""


def sizes(fields: ConfigFields) -> dict[str, Any]:
    """`SIZES` of a decoder with RMS norms and a gated MLP."""
    fields.require("hidden_act", "silu", "swish")
    return {
        "vocab_size": fields.count("vocab_size"),
        "hidden_size": fields.count("hidden_size"),
        "intermediate_size": fields.count("intermediate_size"),
        "num_hidden_layers": fields.count("num_hidden_layers"),
        "num_attention_heads": fields.count("num_attention_heads"),
        "num_key_value_heads": fields.count_or_none("num_key_value_heads"),
        "max_position_embeddings": fields.count("max_position_embeddings"),
        "rms_norm_eps": fields.number("rms_norm_eps"),
        "rope_theta": fields.rope().theta,
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
    }


def llama(fields: ConfigFields) -> dict[str, Any]:
    """One flag for the biases of q, k, v and o, one for those of the MLP."""
    return sizes(fields) | {
        "head_dim": fields.count_or_none("head_dim"),
        "attention_bias": fields.flag("attention_bias"),
        "mlp_bias": fields.flag("mlp_bias"),
    }


def mistral(fields: ConfigFields) -> dict[str, Any]:
    """No bias anywhere."""
    fields.require("sliding_window", None)
    return sizes(fields) | {"head_dim": fields.count_or_none("head_dim")}


def qwen2(fields: ConfigFields) -> dict[str, Any]:
    """Biases of q, k and v, by the code: the config does not say so."""
    fields.require("use_sliding_window", False)
    for unused in ("sliding_window", "max_window_layers", "layer_types"):
        fields.value(unused)
    return sizes(fields) | {"attention_bias": True, "attention_output_bias": False}


HUB_CONFIGS.register(
    "llama",
    HubConfig(llama, SIZES | {"head_dim": None, "attention_bias": False, "mlp_bias": False}),
)
HUB_CONFIGS.register(
    "mistral",
    HubConfig(
        mistral,
        SIZES
        | {
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "head_dim": None,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
    ),
)
HUB_CONFIGS.register(
    "qwen2",
    HubConfig(
        qwen2,
        SIZES
        | {
            "vocab_size": 151936,
            "intermediate_size": 22016,
            "num_key_value_heads": 32,
            "max_position_embeddings": 32768,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "max_window_layers": 28,
            "layer_types": None,
        },
    ),
)
