"""Gemma's LMMs: SigLIP, and a matrix, in Gemma 3 of pooled patches."""

from __future__ import annotations

from math import isqrt
from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.multimodal.parts import SECTIONS, lmm, steps, tower
from roofline.specs.hub.multimodal.pictures import pan_and_scan

PALIGEMMA: dict[str, Any] = SECTIONS | {"tie_word_embeddings": True}
GEMMA3: dict[str, Any] = PALIGEMMA | {"mm_tokens_per_image": 256}
SIGLIP = "siglip_vision_model"
"""Without its pooling head."""


def paligemma(fields: ConfigFields) -> dict[str, Any]:
    """A matrix."""
    fields.skip("projection_dim", "num_hidden_layers")
    connector = {"kind": "connector", "num_linear_layers": 1}
    return lmm(fields, SIGLIP, "gemma", connector, vision_feature_layer="last")


def gemma3(fields: ConfigFields) -> dict[str, Any]:
    """Means of squares of patches, a norm, a matrix without a bias."""
    a_side = isqrt(fields.count("mm_tokens_per_image"))
    encoder = tower(fields, SIGLIP)
    size = encoder.view.rows // a_side
    connector = steps(
        {"step": "pool", "size": size},
        {"step": "norm", "norm": "rms_norm"},
        {"step": "linear", "bias": False},
    )
    rule = pan_and_scan(fields, encoder, fields.count("mm_tokens_per_image"))
    more: dict[str, Any] = {"vision_feature_layer": "last", "image_tokens": rule}
    return lmm(fields, SIGLIP, "gemma3_text", connector, **more)


HUB_CONFIGS.register("paligemma", HubConfig(paligemma, PALIGEMMA))
HUB_CONFIGS.register("gemma3", HubConfig(gemma3, GEMMA3))
