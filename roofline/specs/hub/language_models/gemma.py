"""Gemma: scaled embeddings; from the second on norms on both sides, windows and soft caps."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.language_models.common import (
    RMS_SIZES,
    head_dim,
    layer_windows,
    one_bias,
    rms_sizes,
)


def gemma(fields: ConfigFields, activation: str = "hidden_act") -> dict[str, Any]:
    """The first: Llama with wide heads. Older configs name the activation twice."""
    if fields.given("hidden_activation"):
        activation = "hidden_activation"
    fields.skip("hidden_act")
    # PaliGemma's prompts see all of themselves: as many products as are counted anyway
    fields.skip("use_bidirectional_attention")
    scaled = {"scaled": ["embeddings"]}
    return rms_sizes(fields, activation) | head_dim(fields) | one_bias(fields) | scaled


def gemma2(fields: ConfigFields) -> dict[str, Any]:
    """Every second layer has a window."""
    return _sandwiched(fields, full_every=2)


def gemma3(fields: ConfigFields) -> dict[str, Any]:
    """Five of six layers have a window; queries and keys are normalised."""
    return _sandwiched(fields, full_every=6) | {"qk_norm": {"over": "head"}}


def _sandwiched(fields: ConfigFields, *, full_every: int) -> dict[str, Any]:
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    return (
        gemma(fields, "hidden_activation")
        | layer_windows(fields, full_every=full_every)
        | {cap: fields.number_or_none(cap) for cap in caps}
        | {"block_norms": "both"}
    )


_GEMMA = RMS_SIZES | {
    "vocab_size": 256000,
    "head_dim": 256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "use_bidirectional_attention": None,
}
_GEMMA2 = {name: value for name, value in _GEMMA.items() if name != "hidden_act"} | {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 4096,
    "layer_types": None,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}

HUB_CONFIGS.register(
    "gemma",
    HubConfig(
        gemma,
        _GEMMA
        | {
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "hidden_act": "gelu_pytorch_tanh",
        },
    ),
)
HUB_CONFIGS.register("gemma2", HubConfig(gemma2, _GEMMA2))
HUB_CONFIGS.register(
    "gemma3_text",
    HubConfig(
        gemma3,
        _GEMMA2
        | {
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "use_bidirectional_attention": False,
        },
    ),
)
