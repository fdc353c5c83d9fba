"""LMMs that take pictures of any shape: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, GLM-4V."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.multimodal.parts import SECTIONS, lmm, steps, tower
from roofline.specs.hub.multimodal.pictures import (
    RELEASED_QWEN2,
    RELEASED_QWEN3,
    UNSTATED,
    native,
    native_volume,
)
from roofline.specs.hub.vision_encoders.native import GLM4V

MERGE = 2
"""Side of the squares of patches, where the section does not say."""
TAPS = (8, 16, 24)
"""Blocks of Qwen3-VL's tower that are connected, too, likewise."""
GLM_INNER = 13696
"""Of the merger's gated MLP, likewise."""


def merger(fields: ConfigFields, width: int, norm: str) -> list[dict[str, Any]]:
    """A norm of each patch, squares of them side by side, a matrix as wide, GELU, a matrix."""
    size = _merge_size(fields)
    square = {"step": "linear", "width": width * size**2}
    merge = {"step": "merge", "size": size}
    return [{"step": "norm", "norm": norm}, merge, square, {"step": "activation"}, LINEAR]


LINEAR: dict[str, Any] = {"step": "linear"}


def qwen2_vl(fields: ConfigFields) -> dict[str, Any]:
    """With LayerNorm."""
    return _qwen(fields, "qwen2_vl_vision", "qwen2_vl_text", "layer_norm")


def qwen2_5_vl(fields: ConfigFields) -> dict[str, Any]:
    """With RMSNorm."""
    return _qwen(fields, "qwen2_5_vl_vision", "qwen2_5_vl_text", "rms_norm")


def _qwen(fields: ConfigFields, vision: str, text: str, norm: str) -> dict[str, Any]:
    fields = _in_sections(fields, text)
    steps_of_it = merger(fields, tower(fields, vision).hidden_size, norm)
    connector = steps(*steps_of_it)
    rule = native(fields, tower(fields, vision), _merge_size(fields), RELEASED_QWEN2)
    return lmm(
        fields, vision, text, connector,
        text_ties=True, vision_feature_layer="last", image_tokens=rule,
    )  # fmt: skip


def _merge_size(fields: ConfigFields) -> int:
    return int(fields.section("vision_config").get("spatial_merge_size", MERGE))


def _in_sections(fields: ConfigFields, text: str) -> ConfigFields:
    """Older configs have the text's fields beside `vision_config`: the same in a section."""
    if fields.given("text_config"):
        return fields
    own = {"vision_config", "model_type", "architectures", "tie_word_embeddings"}
    ids = {name for name in fields.config if name.startswith(("vision_", "image_", "video_"))}
    beside = {k: v for k, v in fields.config.items() if k not in own | ids}
    fields.skip(*beside, *own)
    whole = {**fields.config, "text_config": {**beside, "model_type": text}}
    return ConfigFields(whole, fields.defaults, fields.file, fields.preprocessor)


def qwen3_vl(fields: ConfigFields) -> dict[str, Any]:
    """And mergers of blocks on the way, whose norm is of the merged rows."""
    return _deep(fields, "qwen3_vl_vision", "qwen3_vl_text")


def qwen3_vl_moe(fields: ConfigFields) -> dict[str, Any]:
    """The same in front of a mixture of experts."""
    return _deep(fields, "qwen3_vl_moe_vision", "qwen3_vl_moe_text")


def _deep(fields: ConfigFields, vision: str, text: str) -> dict[str, Any]:
    norm, merge, *rest = merger(fields, tower(fields, vision).hidden_size, "layer_norm")
    taps = tuple(fields.section("vision_config").get("deepstack_visual_indexes", TAPS))
    tapped: dict[str, Any] = {"taps": taps, "tap_steps": [merge, norm, *rest]} if taps else {}
    connector = steps(norm, merge, *rest, **tapped)
    rule = native(fields, tower(fields, vision), _merge_size(fields), RELEASED_QWEN3)
    return lmm(fields, vision, text, connector, vision_feature_layer="last", image_tokens=rule)


def glm4v(fields: ConfigFields) -> dict[str, Any]:
    """In front of a dense LLM."""
    return _glm(fields, "glm4v_vision", "glm4v_text")


def glm4v_moe(fields: ConfigFields) -> dict[str, Any]:
    """In front of a mixture of experts."""
    return _glm(fields, "glm4v_moe_vision", "glm4v_moe_text")


def _glm(fields: ConfigFields, vision: str, text: str) -> dict[str, Any]:
    """A convolution of squares of patches, a matrix, a norm, GELU, a gated MLP."""
    section = fields.section("vision_config")
    width = section.get("out_hidden_size", GLM4V["out_hidden_size"])
    connector = steps(
        {"step": "merge", "size": _merge_size(fields)},
        {"step": "linear", "width": width},
        {"step": "linear", "width": width, "bias": False},
        {"step": "norm"},
        {"step": "activation"},
        {"step": "gated-mlp", "intermediate_size": section.get("intermediate_size", GLM_INNER)},
    )
    rule = native_volume(fields, tower(fields, vision), _merge_size(fields))
    return lmm(
        fields, vision, text, connector,
        text_ties=True, vision_feature_layer="last", image_tokens=rule,
    )  # fmt: skip


def kimi_vl(fields: ConfigFields) -> dict[str, Any]:
    """Qwen2-VL's merger behind MoonViT."""
    connector = steps(*merger(fields, tower(fields, "moonvit").hidden_size, "layer_norm"))
    more: dict[str, Any] = {"vision_feature_layer": "last", "image_tokens": UNSTATED}
    return lmm(fields, "moonvit", "deepseek_v3", connector, **more)


HUB_CONFIGS.register("qwen2_vl", HubConfig(qwen2_vl, SECTIONS))
HUB_CONFIGS.register("qwen2_5_vl", HubConfig(qwen2_5_vl, SECTIONS))
HUB_CONFIGS.register("qwen3_vl", HubConfig(qwen3_vl, SECTIONS))
HUB_CONFIGS.register("qwen3_vl_moe", HubConfig(qwen3_vl_moe, SECTIONS))
HUB_CONFIGS.register("glm4v", HubConfig(glm4v, SECTIONS))
HUB_CONFIGS.register("glm46v", HubConfig(glm4v, SECTIONS))
HUB_CONFIGS.register("glm4v_moe", HubConfig(glm4v_moe, SECTIONS))
HUB_CONFIGS.register("kimi_vl", HubConfig(kimi_vl, SECTIONS))
