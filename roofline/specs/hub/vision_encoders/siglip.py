"""SigLIP's tower, and those that keep its blocks: SigLIP 2, Idefics2, Idefics3, SmolVLM."""

from __future__ import annotations

from math import isqrt
from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.vision_encoders.sizes import sizes

SIZES: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
IDEFICS2 = SIZES | {"patch_size": 32}
IDEFICS3 = IDEFICS2 | {"hidden_size": 1152, "num_attention_heads": 16}
SIGLIP2 = {name: value for name, value in SIZES.items() if name != "image_size"} | {
    "vision_use_head": True,
    "num_patches": 256,
}
FORM: dict[str, Any] = {
    "class_token": False,
    "pre_norm": False,
    "patch_bias": True,
    "last_norm": "features",
}
"""No class token, no norm before the blocks; features are behind the last norm."""


def idefics(fields: ConfigFields) -> dict[str, Any]:
    """Without a pooling head."""
    fields.skip("size", "max_image_size", "tie_word_embeddings", "use_base_siglip")
    return sizes(fields) | FORM


def siglip(fields: ConfigFields) -> dict[str, Any]:
    """With a pooling head, unless the config says that it is left out."""
    fields.skip("projector_hidden_act")
    return sizes(fields) | FORM | {"pooling_head": fields.flag("vision_use_head")}


def siglip2(fields: ConfigFields) -> dict[str, Any]:
    """Pictures of any shape, of up to so many patches: a square one is assumed."""
    patch = fields.count("patch_size")
    return sizes(fields, image_size_px=isqrt(fields.count("num_patches")) * patch) | {
        "position_rows": fields.count("num_patches"),
        "pooling_head": fields.flag("vision_use_head"),
        **FORM,
    }


HUB_CONFIGS.register("siglip_vision_model", HubConfig(siglip, SIZES | {"vision_use_head": True}))
HUB_CONFIGS.register("siglip2_vision_model", HubConfig(siglip2, SIGLIP2))
HUB_CONFIGS.register("idefics2_vision", HubConfig(idefics, IDEFICS2))
HUB_CONFIGS.register("idefics3_vision", HubConfig(idefics, IDEFICS3))
HUB_CONFIGS.register("smolvlm_vision", HubConfig(idefics, IDEFICS3))
