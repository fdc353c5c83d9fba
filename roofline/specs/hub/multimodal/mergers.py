"""LMMs whose connector lays neighbouring patches side by side: InternVL, Mistral 3, Cohere's,
Llama 4.
"""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.multimodal.parts import SECTIONS, feature_layer, lmm, mlp, steps, tower
from roofline.specs.hub.multimodal.pictures import (
    COHERE_TILES,
    INTERN_TILES,
    MISTRAL_EDGE_PX,
    canvas,
    covering,
    longest_edge,
    tiles,
)

INTERN_VL: dict[str, Any] = SECTIONS | {
    "downsample_ratio": 0.5,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "tie_word_embeddings": True,
}
MISTRAL3: dict[str, Any] = SECTIONS | {
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -1,
    "multimodal_projector_bias": False,
    "spatial_merge_size": 2,
    "tie_word_embeddings": True,
}
COHERE2: dict[str, Any] = SECTIONS | {
    "downsample_factor": 2,
    "alignment_intermediate_size": 36864,
    "tie_word_embeddings": True,
}
AYA: dict[str, Any] = SECTIONS | {
    "downsample_factor": 2,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
    "tie_word_embeddings": True,
}
LLAMA4_VISION: dict[str, Any] = {
    "pixel_shuffle_ratio": 0.5,
    "projector_input_dim": 4096,
    "projector_output_dim": 4096,
}
SIGLIP = "siglip_vision_model"


def intern_vl(fields: ConfigFields) -> dict[str, Any]:
    """Pixel shuffle, a norm of the merged rows, an MLP; a class token is dropped."""
    fields.require("vision_feature_select_strategy", "default")
    size = round(1 / fields.number("downsample_ratio"))
    connector = steps({"step": "merge", "size": size}, {"step": "norm"}, *mlp(fields))
    layer = feature_layer(fields)
    return lmm(
        fields, "internvl_vision", "qwen2", connector,
        vision_feature_layer="last" if layer == -1 else layer,
        image_tokens=tiles(fields, tower(fields, "internvl_vision"), size, most=INTERN_TILES),
    )  # fmt: skip


def intern_vl_chat(fields: ConfigFields) -> dict[str, Any]:
    """The same by the words of the code that came with InternVL2."""
    fields.require("select_layer", -1)
    fields.require("ps_version", "v2")
    fields.skip("force_image_size", "min_dynamic_patch", "max_dynamic_patch", "use_thumbnail")
    fields.skip("template", "pad2square", "use_backbone_lora", "use_llm_lora")
    if not fields.config.get("dynamic_image_size", True):
        raise fields.fault("dynamic_image_size", "only true can be expressed")
    fields.skip("dynamic_image_size")
    most = fields.config.get("max_dynamic_patch", INTERN_TILES)
    thumbnail = fields.config.get("use_thumbnail", True)
    size = round(1 / fields.number("downsample_ratio"))
    gelu = {"step": "activation"}
    merged = {"step": "merge", "size": size}
    linear = {"step": "linear"}
    connector = steps(merged, {"step": "norm"}, linear, gelu, linear)
    return lmm(
        fields,
        "intern_vit_6b",
        "internlm2",
        connector,
        text_section="llm_config",
        vision_feature_layer="last",
        image_tokens=tiles(
            fields, tower(fields, "intern_vit_6b"), size, most=most, thumbnail=thumbnail
        ),
    )


def mistral3(fields: ConfigFields) -> dict[str, Any]:
    """A norm of each patch; merged rows are brought back to the tower's width, and to the LLM's."""
    width = tower(fields, "pixtral").hidden_size
    connector = steps(
        {"step": "norm", "norm": "rms_norm"},
        {"step": "merge", "size": fields.count("spatial_merge_size")},
        {"step": "linear", "width": width, "bias": False},
        *mlp(fields, fields.flag("multimodal_projector_bias")),
    )
    layer = feature_layer(fields)
    if layer != -1:
        raise fields.fault("vision_feature_layer", "only -1 can be expressed")
    merge = fields.count("spatial_merge_size")
    rule = longest_edge(fields, tower(fields, "pixtral"), merge, MISTRAL_EDGE_PX)
    more: dict[str, Any] = {"vision_feature_layer": -1, "image_tokens": rule}
    return lmm(fields, "pixtral", "mistral", connector, **more)


def cohere2_vision(fields: ConfigFields) -> dict[str, Any]:
    """Pixel shuffle and a gated MLP, whose one matrix makes gate and rows."""
    inner = fields.count("alignment_intermediate_size")
    connector = steps({"step": "merge", "size": fields.count("downsample_factor")}, *gated(inner))
    rule = covering(fields, tower(fields, SIGLIP), fields.count("downsample_factor"))
    more: dict[str, Any] = {"vision_feature_layer": "last", "image_tokens": rule}
    return lmm(fields, SIGLIP, "cohere2", connector, **more)


def aya_vision(fields: ConfigFields) -> dict[str, Any]:
    """The same behind a norm of the merged rows."""
    fields.require("vision_feature_select_strategy", "full")
    fields.skip("adapter_layer_norm_eps")
    inner = fields.config.get("alignment_intermediate_size")
    fields.skip("alignment_intermediate_size")
    inner = inner or dict(fields.section("text_config")).get("hidden_size")
    if not isinstance(inner, int):
        raise fields.fault("alignment_intermediate_size", "is missing")
    size = fields.count("downsample_factor")
    merge = {"step": "merge", "size": size}
    connector = steps(merge, {"step": "norm"}, *gated(inner))
    layer = feature_layer(fields)
    rule = tiles(fields, tower(fields, SIGLIP), size, most=COHERE_TILES) | {"tile_markers": True}
    more: dict[str, Any] = {"vision_feature_layer": layer, "image_tokens": rule}
    return lmm(fields, SIGLIP, "cohere2", connector, **more)


def gated(inner: int) -> list[dict[str, Any]]:
    """A matrix to gate and rows side by side, their product, a matrix."""
    return [{"step": "linear", "width": inner}, {"step": "gate"}, {"step": "linear"}]


def llama4(fields: ConfigFields) -> dict[str, Any]:
    """Pixel shuffle, an MLP that ends in its function, a matrix."""
    vision = {**LLAMA4_VISION, **fields.section("vision_config")}
    linear = {"step": "linear", "width": vision["projector_output_dim"], "bias": False}
    size = round(1 / vision["pixel_shuffle_ratio"])
    connector = steps(
        {"step": "merge", "size": size},
        linear | {"width": vision["projector_input_dim"]},
        {"step": "activation"},
        linear,
        {"step": "activation"},
        {"step": "linear", "bias": False},
    )
    encoder = tower(fields, "llama4_vision_model")
    rule = canvas(fields, encoder, encoder.patches // size**2)
    more: dict[str, Any] = {"vision_feature_layer": "last", "image_tokens": rule}
    return lmm(fields, "llama4_vision_model", "llama4_text", connector, **more)


HUB_CONFIGS.register("internvl", HubConfig(intern_vl, INTERN_VL))
HUB_CONFIGS.register("internvl_chat", HubConfig(intern_vl_chat, {"downsample_ratio": 0.5}))
HUB_CONFIGS.register("mistral3", HubConfig(mistral3, MISTRAL3))
HUB_CONFIGS.register("cohere2_vision", HubConfig(cohere2_vision, COHERE2))
HUB_CONFIGS.register("aya_vision", HubConfig(aya_vision, AYA))
HUB_CONFIGS.register("llama4", HubConfig(llama4, SECTIONS))
