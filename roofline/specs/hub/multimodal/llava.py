"""LLaVA and its heirs: a tower, an MLP of two layers, an LLM."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.multimodal.parts import SECTIONS, feature_layer, lmm, mlp, steps, tower
from roofline.specs.hub.multimodal.pictures import (
    LLAVA_NEXT_GRIDS_PX,
    ONE_VISION_GRIDS_PX,
    ONE_VISION_TILES,
    PIXTRAL_EDGE_PX,
    any_resolution,
    longest_edge,
)

CLIP, SIGLIP = "clip_vision_model", "siglip_vision_model"
LLAVA: dict[str, Any] = SECTIONS | {
    "projector_hidden_act": "gelu",
    "vision_feature_select_strategy": "default",
    "vision_feature_layer": -2,
    "multimodal_projector_bias": True,
}
ONE_VISION = LLAVA | {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
STRATEGIES = ("default", "full")
VIP_LLAVA: dict[str, Any] = SECTIONS | {
    "projector_hidden_act": "gelu",
    "vision_feature_layer": (-2, -5, -8, -11, 6),
}
VIDEO_FRAMES = 8
"""That Video-LLaVA's processor takes of a video."""


def connected(fields: ConfigFields) -> dict[str, Any]:
    """LLaVA's connector: that of the spec of two layers, where its function is GELU."""
    bias = fields.flag("multimodal_projector_bias")
    if fields.value("projector_hidden_act") == "gelu":
        return {"kind": "connector", "bias": bias}
    return steps(*mlp(fields, bias))


def features(fields: ConfigFields) -> dict[str, Any]:
    """Which hidden states are features, and whether a class token is one."""
    return {
        "vision_feature_layer": feature_layer(fields),
        "vision_feature_select_strategy": fields.word("vision_feature_select_strategy", STRATEGIES),
    }


def llava(fields: ConfigFields) -> dict[str, Any]:
    """One picture, or one picture a placeholder."""
    more: dict[str, Any] = features(fields)
    vision = fields.section("vision_config").get("model_type")
    if vision == "pixtral":
        more |= {"image_tokens": longest_edge(fields, tower(fields, CLIP), 1, PIXTRAL_EDGE_PX)}
    return lmm(fields, CLIP, "llama", connected(fields), text_ties=True, **more)


def llava_next(fields: ConfigFields, *, text_ties: bool = False) -> dict[str, Any]:
    """A learned row ends each row of tiles. Which tiles, the picture decides."""
    fields.skip("use_image_newline_parameter")
    fields.skip("spatial_pool_mode", "spatial_pool_stride", "spatial_pool_out_channels")
    rule = any_resolution(fields, tower(fields, CLIP), LLAVA_NEXT_GRIDS_PX)
    more: dict[str, Any] = features(fields) | {"learned_rows": 1, "image_tokens": rule}
    return lmm(fields, CLIP, "llama", connected(fields), text_ties=text_ties, **more)


def llava_next_video(fields: ConfigFields) -> dict[str, Any]:
    """The same; its class ties a head where the text's section says so."""
    return llava_next(fields, text_ties=True)


def one_vision(fields: ConfigFields) -> dict[str, Any]:
    """The same with SigLIP."""
    fields.skip("use_image_newline_parameter")
    rule = any_resolution(fields, tower(fields, SIGLIP), ONE_VISION_GRIDS_PX, most=ONE_VISION_TILES)
    more: dict[str, Any] = features(fields) | {"learned_rows": 1, "image_tokens": rule}
    return lmm(fields, SIGLIP, "qwen2", connected(fields), text_ties=True, **more)


def video_llava(fields: ConfigFields) -> dict[str, Any]:
    """A tower for images and one for videos; a frame keeps its class token."""
    read = features(fields) | {"vision_feature_select_strategy": "full"}
    return lmm(
        fields, CLIP, "llama", connected(fields), **read, vision_towers=2, images=VIDEO_FRAMES
    ) | {"architecture": "video-llava"}


def vip_llava(fields: ConfigFields) -> dict[str, Any]:
    """Several hidden states side by side, behind a norm."""
    fields.skip("projector_layernorm_eps")
    if fields.given("vision_feature_layers"):
        fields.skip("vision_feature_layers")
        layers: Any = tuple(fields.config["vision_feature_layers"])
    else:
        layers = feature_layer(fields)
    connector = steps({"step": "norm"}, *mlp(fields))
    return lmm(fields, CLIP, "llama", connector, vision_feature_layer=layers)


HUB_CONFIGS.register("llava", HubConfig(llava, LLAVA))
HUB_CONFIGS.register("llava_next", HubConfig(llava_next, LLAVA))
HUB_CONFIGS.register("llava_next_video", HubConfig(llava_next_video, LLAVA))
HUB_CONFIGS.register("llava_onevision", HubConfig(one_vision, ONE_VISION))
HUB_CONFIGS.register("video_llava", HubConfig(video_llava, LLAVA))
HUB_CONFIGS.register("vipllava", HubConfig(vip_llava, VIP_LLAVA))
