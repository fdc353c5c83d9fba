"""Decoders with layer norms: GPT, OPT, Falcon, Phi, StarCoder2, StableLM, OLMo, Cohere."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ACTIVATIONS, ConfigFields
from roofline.specs.hub.language_models.common import (
    LAYER_NORM,
    SIZES,
    layer_windows,
    one_bias,
    sizes,
    window,
)


def gpt2(fields: ConfigFields) -> dict[str, Any]:
    """Learned positions, biases everywhere but at the head."""
    fields.require("add_cross_attention", False)
    d, rows = fields.count("n_embd"), fields.count("n_positions")
    return _all_biases(True) | {
        "vocab_size": fields.count("vocab_size"),
        "hidden_size": d,
        "intermediate_size": fields.count_or_none("n_inner") or 4 * d,
        "num_hidden_layers": fields.count("n_layer"),
        "num_attention_heads": fields.count("n_head"),
        "max_position_embeddings": rows,
        "positions": "learned",
        "position_rows": rows,
        "mlp": "plain",
        "hidden_act": fields.mapped("activation_function", ACTIVATIONS),
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
        **LAYER_NORM,
    }


def opt(fields: ConfigFields) -> dict[str, Any]:
    """Learned positions, two rows of which stand for padding."""
    d, rows = fields.count("hidden_size"), fields.count("max_position_embeddings")
    fields.require("do_layer_norm_before", True)
    fields.require("_remove_final_layer_norm", False)
    fields.require("word_embed_proj_dim", None, d)
    affine = fields.flag("layer_norm_elementwise_affine")
    return _all_biases(fields.flag("enable_bias")) | {
        "vocab_size": fields.count("vocab_size"),
        "hidden_size": d,
        "intermediate_size": fields.count("ffn_dim"),
        "num_hidden_layers": fields.count("num_hidden_layers"),
        "num_attention_heads": fields.count("num_attention_heads"),
        "max_position_embeddings": rows,
        "positions": "learned",
        "position_rows": rows + 2,
        "mlp": "plain",
        "hidden_act": fields.mapped("activation_function", ACTIVATIONS),
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
        "norm": "layer_norm",
        "norm_weight": affine,
        "norm_bias": affine,
    }


def gpt_neox(fields: ConfigFields) -> dict[str, Any]:
    """Attention and MLP read the same stream, through norms of their own; its MLP has biases."""
    parallel = 2 if fields.flag("use_parallel_residual") else None
    own = {"parallel_norms": parallel, "mlp": "plain", "mlp_bias": True}
    return sizes(fields) | one_bias(fields) | own | LAYER_NORM


def falcon(fields: ConfigFields) -> dict[str, Any]:
    """One norm or two for both branches; one key head, some, or all."""
    fields.require("alibi", False)
    fields.require("apply_residual_connection_post_layernorm", False)
    d, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    new, multi_query = fields.flag("new_decoder_architecture"), fields.flag("multi_query")
    some, norms = (
        fields.count_or_none("num_kv_heads"),
        fields.count_or_none("num_ln_in_parallel_attn"),
    )
    parallel = fields.flag("parallel_attn") or new
    rope = fields.rope()
    return _all_biases(fields.flag("bias")) | {
        "vocab_size": fields.count("vocab_size"),
        "hidden_size": d,
        "intermediate_size": fields.count_or_none("ffn_hidden_size") or 4 * d,
        "num_hidden_layers": fields.count("num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": (some or heads) if new or not multi_query else 1,
        "max_position_embeddings": fields.count("max_position_embeddings"),
        "rope_theta": rope.theta,
        "parallel_norms": (norms or (2 if new else 1)) if parallel else None,
        "mlp": "plain",
        "hidden_act": fields.mapped("activation", ACTIVATIONS),
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
        **LAYER_NORM,
    }


def phi(fields: ConfigFields) -> dict[str, Any]:
    """One norm for both branches, biases everywhere."""
    normed = {"qk_norm": {"function": "layer_norm", "bias": True}}
    own = {"parallel_norms": 1, "mlp": "plain", "lm_head_bias": True}
    norms = normed if fields.flag("qk_layernorm") else {}
    return sizes(fields) | _all_biases(True) | own | LAYER_NORM | norms


def starcoder2(fields: ConfigFields) -> dict[str, Any]:
    """Two matrices in the MLP; a window."""
    biases = _all_biases(fields.flag("use_bias"))
    return sizes(fields) | biases | window(fields) | {"mlp": "plain"} | LAYER_NORM


def stablelm(fields: ConfigFields) -> dict[str, Any]:
    """A gated MLP; it may share one norm with attention."""
    normed = {"qk_norm": {"function": "layer_norm", "weights": "per_head"}}
    own = {
        "attention_bias": fields.flag("use_qkv_bias"),
        "attention_output_bias": False,
        "parallel_norms": 1 if fields.flag("use_parallel_residual") else None,
    }
    norms = normed if fields.flag("qk_layernorm") else {}
    return sizes(fields) | own | LAYER_NORM | norms


def olmo(fields: ConfigFields) -> dict[str, Any]:
    """Norms without weights."""
    fields.require("clip_qkv", None)
    return sizes(fields) | one_bias(fields) | {"norm": "layer_norm", "norm_weight": False}


def cohere(fields: ConfigFields) -> dict[str, Any]:
    """One norm, without bias, for both branches; scaled logits."""
    fields.number("logit_scale")
    normed = {"qk_norm": {"function": "layer_norm", "weights": "per_head"}}
    own = {"norm": "layer_norm", "parallel_norms": 1, "scaled": ["logits"]}
    norms = normed if fields.flag("use_qk_norm") else {}
    return sizes(fields) | one_bias(fields) | own | norms


def cohere2(fields: ConfigFields) -> dict[str, Any]:
    """Three of four layers have a window and rotate."""
    fields.number("logit_scale")
    for given in ("use_parallel_block", "use_gated_activation", "use_embedding_sharing"):
        fields.require(given, True)
    windows = layer_windows(fields, full_every=4)
    rotates = [one == "sliding" for one in windows["attention_pattern"]]
    own = {"norm": "layer_norm", "parallel_norms": 1, "scaled": ["logits"]}
    return sizes(fields) | one_bias(fields) | own | windows | {"rotary_pattern": rotates}


def _all_biases(there: bool) -> dict[str, Any]:
    return {"attention_bias": there, "mlp_bias": there}


_GPT2 = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_OPT = {
    "vocab_size": 50272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "do_layer_norm_before": True,
    "_remove_final_layer_norm": False,
    "word_embed_proj_dim": None,
    "activation_function": "relu",
    "enable_bias": True,
    "layer_norm_elementwise_affine": True,
    "tie_word_embeddings": True,
}
_GPT_NEOX = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"} | {
    "vocab_size": 50432,
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "hidden_act": "gelu",
    "use_parallel_residual": True,
    "attention_bias": True,
    "partial_rotary_factor": 0.25,
}
_FALCON = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "num_ln_in_parallel_attn": None,
    "num_kv_heads": None,
    "alibi": False,
    "new_decoder_architecture": False,
    "multi_query": True,
    "parallel_attn": True,
    "bias": False,
    "max_position_embeddings": 2048,
    "ffn_hidden_size": None,
    "activation": "gelu",
    "tie_word_embeddings": True,
}
_COHERE = SIZES | {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "max_position_embeddings": 8192,
    "logit_scale": 0.0625,
    "attention_bias": False,
    "tie_word_embeddings": True,
}

for _model_type, _family in {
    "gpt2": HubConfig(gpt2, _GPT2),
    "opt": HubConfig(opt, _OPT),
    "gpt_neox": HubConfig(gpt_neox, _GPT_NEOX),
    "falcon": HubConfig(falcon, _FALCON),
    "phi": HubConfig(
        phi,
        SIZES
        | {
            "vocab_size": 51200,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "hidden_act": "gelu_new",
            "qk_layernorm": False,
            "partial_rotary_factor": 0.5,
        },
    ),
    "starcoder2": HubConfig(
        starcoder2,
        SIZES
        | {
            "vocab_size": 49152,
            "hidden_size": 3072,
            "intermediate_size": 12288,
            "num_hidden_layers": 30,
            "num_attention_heads": 24,
            "num_key_value_heads": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 4096,
            "sliding_window": None,
            "use_bias": True,
            "tie_word_embeddings": True,
        },
    ),
    "stablelm": HubConfig(
        stablelm,
        SIZES
        | {
            "vocab_size": 50304,
            "intermediate_size": 6912,
            "hidden_size": 2560,
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
            "partial_rotary_factor": 0.25,
        },
    ),
    "olmo": HubConfig(
        olmo, SIZES | {"vocab_size": 50304, "attention_bias": False, "clip_qkv": None}
    ),
    "cohere": HubConfig(cohere, _COHERE | {"use_qk_norm": False, "rope_theta": 500000.0}),
    "cohere2": HubConfig(cohere2, _COHERE | {"sliding_window": 4096, "layer_types": None}),
}.items():
    HUB_CONFIGS.register(_model_type, _family)
