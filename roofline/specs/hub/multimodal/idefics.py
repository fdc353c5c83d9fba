"""Idefics2, with a perceiver; Idefics3 and SmolVLM, with pixel shuffle and a matrix."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.multimodal.parts import SECTIONS, lmm, steps, tower
from roofline.specs.hub.multimodal.pictures import quarters, split

IDEFICS2: dict[str, Any] = SECTIONS | {"perceiver_config": None}
IDEFICS3: dict[str, Any] = SECTIONS | {"scale_factor": 2}
PERCEIVER: dict[str, Any] = {
    "hidden_act": "silu",
    "resampler_n_latents": 64,
    "resampler_depth": 3,
    "resampler_n_heads": 16,
    "resampler_head_dim": 96,
    "num_key_value_heads": 4,
}
TEXT_WIDTH = {"intermediate_size": 14336, "hidden_size": 4096}
"""Of Mistral's config, where the section does not say."""


def idefics2(fields: ConfigFields) -> dict[str, Any]:
    """A gated MLP as wide inside as the LLM's, then queries that read its rows."""
    section = ConfigFields(fields.section("perceiver_config"), PERCEIVER, fields.file)
    section.skip("hidden_size", "rms_norm_eps", "attention_dropout", "qk_layer_norms_perceiver")
    text = TEXT_WIDTH | dict(fields.section("text_config"))
    connector = {
        "kind": "perceiver",
        "num_query_tokens": section.count("resampler_n_latents"),
        "num_hidden_layers": section.count("resampler_depth"),
        "num_attention_heads": section.count("resampler_n_heads"),
        "num_key_value_heads": section.count("num_key_value_heads"),
        "head_dim": section.count("resampler_head_dim"),
        "intermediate_size": text["intermediate_size"],
        "hidden_act": section.word("hidden_act", ("silu", "gelu")),
    }
    section.check_all_read()
    rule = quarters(fields, tower(fields, "idefics2_vision"), connector["num_query_tokens"])
    more: dict[str, Any] = {"vision_feature_layer": "last", "image_tokens": rule}
    return lmm(fields, "idefics2_vision", "mistral", connector, **more)


def idefics3(fields: ConfigFields) -> dict[str, Any]:
    """Squares of patches side by side, and a matrix without a bias."""
    return _shuffled(fields, "idefics3_vision")


def smolvlm(fields: ConfigFields) -> dict[str, Any]:
    """The same."""
    return _shuffled(fields, "smolvlm_vision")


def _shuffled(fields: ConfigFields, vision: str) -> dict[str, Any]:
    size, encoder = fields.count("scale_factor"), tower(fields, vision)
    connector = steps({"step": "merge", "size": size}, {"step": "linear", "bias": False})
    rule = split(fields, encoder, encoder.patches // size**2)
    return lmm(fields, vision, "llama", connector, vision_feature_layer="last", image_tokens=rule)


HUB_CONFIGS.register("idefics2", HubConfig(idefics2, IDEFICS2))
HUB_CONFIGS.register("idefics3", HubConfig(idefics3, IDEFICS3))
HUB_CONFIGS.register("smolvlm", HubConfig(smolvlm, IDEFICS3))
