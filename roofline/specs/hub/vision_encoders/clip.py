"""CLIP's tower, and others with a class token made like it: EVA-CLIP, InternViT, Llama 4."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.vision_encoders.sizes import sizes

CLIP: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
EVA_CLIP: dict[str, Any] = {
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
}
INTERN_VIT: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "attention_bias": False,
    "use_qk_norm": False,
    "intermediate_size": 4096,
    "hidden_act": "gelu",
    "norm_type": "layer_norm",
    "layer_norm_eps": 1e-6,
    "image_size": (448, 448),
    "patch_size": (14, 14),
    "num_channels": 3,
    "use_mask_token": False,
    "use_absolute_position_embeddings": True,
    "use_mean_pooling": True,
}
LLAMA4: dict[str, Any] = {
    "hidden_size": 768,
    "hidden_act": "gelu",
    "num_hidden_layers": 34,
    "num_attention_heads": 16,
    "num_channels": 3,
    "intermediate_size": 5632,
    "image_size": 448,
    "patch_size": 14,
    "norm_eps": 1e-5,
}
CHANNELS = 3
"""Of a tower whose config does not say."""
QKV = ("q_proj", "k_proj", "v_proj")


def clip(fields: ConfigFields) -> dict[str, Any]:
    """As the spec stands."""
    return sizes(fields)


def eva_clip(fields: ConfigFields) -> dict[str, Any]:
    """One flag for the biases of q, k and v, of which k's is zero, and held all the same."""
    fields.require("num_channels", CHANNELS)
    return sizes(fields, num_channels=CHANNELS) | {
        "pre_norm": False,
        "patch_bias": True,
        "last_norm": "features",
        "without_bias": () if fields.flag("qkv_bias") else QKV,
    }


def intern_vit(fields: ConfigFields) -> dict[str, Any]:
    """Factors of channels behind attention and MLP; queries and keys normalised in the large."""
    fields.require("use_absolute_position_embeddings", True)
    fields.skip("layer_scale_init_value", "projection_dropout")
    if not fields.flag("use_mean_pooling"):  # the norm behind all blocks is one of layers
        fields.require("norm_type", "layer_norm")
    return sizes(fields) | {
        "pre_norm": False,
        "patch_bias": True,
        "mask_token": fields.flag("use_mask_token"),
        "norm": fields.word("norm_type", ("layer_norm", "rms_norm")),
        "last_norm": None if fields.flag("use_mean_pooling") else "features",
        "without_bias": () if fields.flag("attention_bias") else QKV,
        "qk_norm": "width" if fields.flag("use_qk_norm") else None,
        "layer_scale": True,
    }


def remote_intern_vit(fields: ConfigFields) -> dict[str, Any]:
    """The same by the words of the code that came with InternVL2, which has no norm at the end."""
    fields.skip("drop_path_rate")
    return sizes(fields) | {
        "pre_norm": False,
        "patch_bias": True,
        "norm": fields.word("norm_type", ("layer_norm", "rms_norm")),
        "last_norm": None,
        "without_bias": () if fields.flag("qkv_bias") else QKV,
        "qk_norm": "width" if fields.flag("qk_normalization") else None,
        "layer_scale": True,
    }


def llama4(fields: ConfigFields) -> dict[str, Any]:
    """Learned and rotary positions; what is behind the last norm is the LMM's connector."""
    fields.skip("rope_parameters", "rope_theta", "vision_feature_layer")
    fields.skip("pixel_shuffle_ratio", "projector_input_dim", "projector_output_dim")
    fields.skip("vision_output_dim", "vision_feature_select_strategy", "projector_dropout")
    fields.skip("multi_modal_projector_bias")
    return sizes(fields, layer_norm_eps=fields.number("norm_eps")) | {
        "positions": ("learned", "rotary"),
        "last_norm": "features",
    }


HUB_CONFIGS.register("clip_vision_model", HubConfig(clip, CLIP))
HUB_CONFIGS.register("blip_2_vision_model", HubConfig(eva_clip, EVA_CLIP))
HUB_CONFIGS.register("instructblip_vision_model", HubConfig(eva_clip, EVA_CLIP))
HUB_CONFIGS.register("internvl_vision", HubConfig(intern_vit, INTERN_VIT))
HUB_CONFIGS.register("intern_vit_6b", HubConfig(remote_intern_vit, {}))
HUB_CONFIGS.register("llama4_vision_model", HubConfig(llama4, LLAMA4))
