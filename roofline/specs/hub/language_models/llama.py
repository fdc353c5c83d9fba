"""Llama, and decoders like it: RMS norms, rotary positions, a gated MLP."""

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

QK_NORM_OF_HEADS = {"qk_norm": {"over": "head"}}
"""Of a spec: an RMS norm over each head, of one weight."""
QWEN_WINDOW = {
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
}
"""Fields that `qwen_window` reads, with Qwen2's defaults."""
FACTORS = {"embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0}
"""Fields that `scaled` reads, with Granite's defaults."""


def llama(fields: ConfigFields) -> dict[str, Any]:
    """One flag for the biases of attention, one for those of the MLP."""
    mlp = {"mlp_bias": fields.flag("mlp_bias")}
    return rms_sizes(fields) | head_dim(fields) | one_bias(fields) | mlp


def mistral(fields: ConfigFields) -> dict[str, Any]:
    """No bias anywhere; a window, in the first of them."""
    return rms_sizes(fields) | head_dim(fields) | window(fields)


def ministral(fields: ConfigFields) -> dict[str, Any]:
    """A window in some layers."""
    return rms_sizes(fields) | head_dim(fields) | layer_windows(fields, full_every=10**4)


def qwen_window(fields: ConfigFields) -> dict[str, Any]:
    """A window from the layer `max_window_layers` on, if it is asked for."""
    used, first = fields.flag("use_sliding_window"), fields.count("max_window_layers")
    types = fields.items("layer_types")
    if not used or fields.value("sliding_window") is None:
        fields.value("sliding_window")
        return {}
    rest = max(fields.count("num_hidden_layers") - first, 0)
    types = types or ["full_attention"] * first + ["sliding_attention"] * rest
    return window(fields) | {"attention_pattern": attention_pattern(fields, types)}


def qwen2(fields: ConfigFields) -> dict[str, Any]:
    """Biases of q, k and v, by the code: the config does not say so."""
    biases = {"attention_bias": True, "attention_output_bias": False}
    return rms_sizes(fields) | biases | qwen_window(fields)


def qwen3(fields: ConfigFields) -> dict[str, Any]:
    """Norms of queries and keys."""
    windows = qwen_window(fields)
    return rms_sizes(fields) | head_dim(fields) | one_bias(fields) | QK_NORM_OF_HEADS | windows


def phi3(fields: ConfigFields) -> dict[str, Any]:
    """One matmul for q, k and v, one for gate and up: FLOPs and weights are the same."""
    fields.require("attention_bias", False)
    return rms_sizes(fields) | window(fields)


def seed_oss(fields: ConfigFields) -> dict[str, Any]:
    """A flag of its own for the bias of o."""
    output = {"attention_output_bias": fields.flag("attention_out_bias")}
    return llama(fields) | output


def ernie(fields: ConfigFields) -> dict[str, Any]:
    """One flag for all biases."""
    biases = dict.fromkeys(("attention_bias", "mlp_bias"), fields.flag("use_bias"))
    return rms_sizes(fields) | head_dim(fields) | biases


def arcee(fields: ConfigFields) -> dict[str, Any]:
    """Two matrices in the MLP."""
    return llama(fields) | {"mlp": "plain"}


def internlm2(fields: ConfigFields) -> dict[str, Any]:
    """`bias` is that of attention."""
    return rms_sizes(fields) | {"attention_bias": fields.flag("bias")}


def smollm3(fields: ConfigFields) -> dict[str, Any]:
    """Each fourth layer does not rotate; if there is a window, those have it."""
    every = fields.count("no_rope_layer_interval")
    rotates = fields.items("no_rope_layers") or [1] * (every - 1) + [0]
    pattern = {"rotary_pattern": shortest_pattern([bool(one) for one in rotates])}
    no_window(fields)
    flags = {"mlp_bias": fields.flag("mlp_bias")}
    return rms_sizes(fields) | one_bias(fields) | flags | pattern


def granite(fields: ConfigFields) -> dict[str, Any]:
    """Constants that embeddings, branches and logits are multiplied by."""
    mlp = {"mlp_bias": fields.flag("mlp_bias")}
    return rms_sizes(fields) | one_bias(fields) | mlp | scaled(fields)


def scaled(fields: ConfigFields) -> dict[str, Any]:
    """Factors are multiplied by even where they are 1."""
    for factor in FACTORS:
        fields.number(factor)
    return {"scaled": ["embeddings", "residuals", "logits"]}


def olmo2(fields: ConfigFields) -> dict[str, Any]:
    """Norms behind the branches, and over all queries and all keys."""
    norms = {"block_norms": "after", "qk_norm": {"over": "width"}}
    return rms_sizes(fields) | one_bias(fields) | norms


def glm(fields: ConfigFields) -> dict[str, Any]:
    """Biases of q, k and v; half of a head is rotated."""
    biases = {
        "attention_bias": fields.flag("attention_bias"),
        "attention_output_bias": False,
    }
    return rms_sizes(fields) | head_dim(fields) | biases


def glm4(fields: ConfigFields) -> dict[str, Any]:
    """The same with norms on both sides of a branch."""
    return glm(fields) | {"block_norms": "both"}


_HEADS = RMS_SIZES | {"head_dim": None}
_MISTRAL = _HEADS | {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}
_QWEN = RMS_SIZES | {
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
}
_GLM = RMS_SIZES | {
    "vocab_size": 151552,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1.5625e-07,
    "attention_bias": True,
    "partial_rotary_factor": 0.5,
}
_BIASES = {"attention_bias": False, "mlp_bias": False}

for _model_type, _family in {
    "llama": HubConfig(llama, _HEADS | _BIASES),
    "mistral": HubConfig(mistral, _MISTRAL | {"sliding_window": 4096}),
    "ministral": HubConfig(ministral, _MISTRAL | {"sliding_window": 4096, "layer_types": None}),
    "ministral3": HubConfig(
        mistral,
        _MISTRAL
        | {
            "vocab_size": 131072,
            "num_hidden_layers": 34,
            "head_dim": 128,
            "max_position_embeddings": 262144,
            "rms_norm_eps": 1e-5,
            "sliding_window": None,
        },
    ),
    "qwen2": HubConfig(qwen2, _QWEN | QWEN_WINDOW),
    "qwen3": HubConfig(qwen3, _QWEN | QWEN_WINDOW | {"head_dim": 128, "attention_bias": False}),
    "phi3": HubConfig(
        phi3,
        RMS_SIZES
        | {
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "sliding_window": None,
        },
    ),
    "seed_oss": HubConfig(
        seed_oss,
        RMS_SIZES
        | {
            "vocab_size": 155136,
            "intermediate_size": 27648,
            "num_hidden_layers": 64,
            "num_attention_heads": 80,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 524288,
            "attention_bias": True,
            "attention_out_bias": False,
            "mlp_bias": False,
        },
    ),
    "ernie4_5": HubConfig(
        ernie,
        RMS_SIZES
        | {
            "vocab_size": 103424,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 18,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "use_bias": False,
            "rope_theta": 500000.0,
        },
    ),
    "arcee": HubConfig(
        arcee,
        _HEADS
        | _BIASES
        | {
            "hidden_size": 2560,
            "intermediate_size": 18432,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "hidden_act": "relu2",
        },
    ),
    "internlm2": HubConfig(internlm2, RMS_SIZES | {"vocab_size": 103168, "bias": True}),
    "smollm3": HubConfig(
        smollm3,
        RMS_SIZES
        | _BIASES
        | {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "use_sliding_window": False,
            "sliding_window": None,
            "no_rope_layers": None,
            "no_rope_layer_interval": 4,
            "layer_types": None,
            "tie_word_embeddings": True,
            "rope_theta": 2000000.0,
        },
    ),
    "granite": HubConfig(granite, RMS_SIZES | _BIASES | FACTORS),
    "olmo2": HubConfig(
        olmo2, RMS_SIZES | {"vocab_size": 50304, "rms_norm_eps": 1e-5, "attention_bias": False}
    ),
    "glm": HubConfig(glm, _GLM),
    "glm4": HubConfig(glm4, _GLM),
}.items():
    HUB_CONFIGS.register(_model_type, _family)
