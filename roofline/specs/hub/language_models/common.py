"""What configs of decoders have in common: sizes, activation, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from roofline.specs.hub.fields import ACTIVATIONS, ConfigFields

_T = TypeVar("_T")

SIZES: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
"""Fields that `sizes` reads, with Llama's defaults."""
RMS_SIZES = SIZES | {"rms_norm_eps": 1e-6}
"""The same of `rms_sizes`."""

LAYER_NORM = {"norm": "layer_norm", "norm_bias": True}
"""Fields of a spec: norms with weight and bias."""


def sizes(fields: ConfigFields, activation: str = "hidden_act") -> dict[str, Any]:
    """Sizes under the names that most configs have, positions and the activation.

    A model type whose defaults have no key heads has as many as query heads; one inside a
    multimodal model need not know whether that ties its embeddings.
    """
    rope, kv_heads, tied = fields.rope(), "num_key_value_heads", "tie_word_embeddings"
    return {
        "vocab_size": fields.count("vocab_size"),
        "hidden_size": fields.count("hidden_size"),
        "intermediate_size": fields.count("intermediate_size"),
        "num_hidden_layers": fields.count("num_hidden_layers"),
        "num_attention_heads": fields.count("num_attention_heads"),
        kv_heads: fields.count_or_none(kv_heads) if kv_heads in fields.defaults else None,
        "max_position_embeddings": fields.count("max_position_embeddings"),
        "hidden_act": fields.mapped(activation, ACTIVATIONS),
        tied: fields.flag(tied) if tied in {**fields.defaults, **fields.config} else False,
        "rope_theta": rope.theta,
        "partial_rotary_factor": rope.share,
    }


def rms_sizes(fields: ConfigFields, activation: str = "hidden_act") -> dict[str, Any]:
    """The same of a decoder with RMS norms."""
    return sizes(fields, activation) | {"rms_norm_eps": fields.number("rms_norm_eps")}


def head_dim(fields: ConfigFields) -> dict[str, Any]:
    """A width of heads of its own."""
    return {"head_dim": fields.count_or_none("head_dim")}


def one_bias(fields: ConfigFields) -> dict[str, Any]:
    """One flag for the biases of q, k, v and o."""
    return {"attention_bias": fields.flag("attention_bias")}


def no_window(fields: ConfigFields) -> None:
    """Fields of a window that must not be asked for."""
    fields.require("use_sliding_window", False)
    fields.skip("sliding_window", "max_window_layers", "layer_types")


def window(fields: ConfigFields) -> dict[str, Any]:
    """A window of all layers, or none."""
    return {"sliding_window": fields.count_or_none("sliding_window") or None}


def layer_windows(fields: ConfigFields, *, full_every: int) -> dict[str, Any]:
    """A window of some layers: by `layer_types`, else of all but each n-th."""
    fields.skip("sliding_window_pattern")
    every = fields.config.get("sliding_window_pattern") or full_every
    types = fields.items("layer_types") or ["sliding_attention"] * (every - 1) + ["full_attention"]
    return window(fields) | {"attention_pattern": attention_pattern(fields, types)}


def attention_pattern(fields: ConfigFields, types: Sequence[str]) -> list[str]:
    """Words of `layer_types` as those of a spec."""
    words = {
        "full_attention": "full",
        "sliding_attention": "sliding",
        "chunked_attention": "sliding",
    }
    if unknown := [one for one in types if one not in words]:
        raise fields.fault("layer_types", f"{unknown[0]} is no layer of a decoder of attention")
    return shortest_pattern([words[one] for one in types])


def shortest_pattern(items: Sequence[_T]) -> list[_T]:
    """The fewest first items that, over and over, give all of them."""
    every = next(
        n
        for n in range(1, len(items) + 1)
        if all(item == items[i % n] for i, item in enumerate(items))
    )
    return list(items[:every])
