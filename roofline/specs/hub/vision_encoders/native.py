"""Towers that take pictures of any shape: Qwen2-VL to Qwen3-VL, GLM-4V, Pixtral."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.vision_encoders.sizes import UNSAID_SIDE_PX, sizes

QWEN2: dict[str, Any] = {
    "depth": 32,
    "embed_dim": 1280,
    "hidden_act": "quick_gelu",
    "mlp_ratio": 4,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 14,
    "temporal_patch_size": 2,
}
QWEN2_5: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 3584,
    "hidden_act": "silu",
    "intermediate_size": 3420,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": (7, 15, 23, 31),
    "spatial_merge_size": 2,
}
QWEN3: dict[str, Any] = {
    "depth": 27,
    "hidden_size": 1152,
    "hidden_act": "gelu_pytorch_tanh",
    "intermediate_size": 4304,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
}
GLM4V: dict[str, Any] = {
    "depth": 24,
    "hidden_size": 1536,
    "hidden_act": "silu",
    "attention_bias": False,
    "num_heads": 12,
    "in_channels": 3,
    "image_size": 336,
    "patch_size": 14,
    "rms_norm_eps": 1e-5,
    "temporal_patch_size": 2,
    "out_hidden_size": 4096,
}
PIXTRAL: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 1024,
    "patch_size": 16,
    "hidden_act": "gelu",
}
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
GATED = ("gate_proj", "up_proj", "down_proj")
QWEN_EPS = 1e-6
"""Of all norms of Qwen's towers: in the code, not in the config."""
PIXTRAL_EPS = 1e-5
"""Likewise."""
MOON_EPS = 1e-5
"""Likewise."""


def tower(fields: ConfigFields, **settled: Any) -> dict[str, Any]:
    """What Qwen's and GLM's towers share: no class token, patches of several frames."""
    fields.skip("spatial_merge_size", "out_hidden_size", "tokens_per_second", "rope_parameters")
    fields.skip("in_chans", "spatial_patch_size")
    own = {
        "num_hidden_layers": fields.count("depth"),
        "num_attention_heads": fields.count("num_heads"),
        "num_channels": fields.count("in_channels"),
        "image_size_px": UNSAID_SIDE_PX,
        "layer_norm_eps": QWEN_EPS,
    }
    return sizes(fields, **(own | settled)) | {
        "temporal_patch_size": fields.count("temporal_patch_size"),
        "class_token": False,
        "pre_norm": False,
        "last_norm": None,
    }


def qwen2_vl(fields: ConfigFields) -> dict[str, Any]:
    """`hidden_size` is what the merger makes; the tower's own width is `embed_dim`."""
    fields.skip("hidden_size")
    width = fields.count("embed_dim")
    inner = int(width * fields.number("mlp_ratio"))
    return tower(fields, hidden_size=width, intermediate_size=inner) | {"positions": ("rotary",)}


def qwen2_5_vl(fields: ConfigFields) -> dict[str, Any]:
    """RMSNorm, a gated MLP, and windows in all blocks but a few."""
    merged = fields.count("window_size") // fields.count("spatial_merge_size")
    side = merged // fields.count("patch_size") * fields.count("spatial_merge_size")
    full = fields.items("fullatt_block_indexes")
    return tower(fields) | {
        "positions": ("rotary",),
        "norm": "rms_norm",
        "gated_mlp": True,
        "windows": {"side": side, "full_attention_layers": tuple(full)},
    }


def qwen3_vl(fields: ConfigFields) -> dict[str, Any]:
    """A learned table, interpolated, beside rotary positions."""
    fields.skip("deepstack_visual_indexes")
    return tower(fields) | {
        "positions": ("learned", "rotary"),
        "position_rows": fields.count("num_position_embeddings"),
        "patch_bias": True,
    }


def glm4v(fields: ConfigFields) -> dict[str, Any]:
    """RMSNorm, a gated MLP as wide inside as the rows that come out, an interpolated table."""
    fields.skip("intermediate_size")
    bias = fields.flag("attention_bias")
    settled = {
        "intermediate_size": fields.count("out_hidden_size"),
        "image_size_px": fields.count("image_size"),
        "layer_norm_eps": fields.number("rms_norm_eps"),
    }
    return tower(fields, **settled) | {
        "positions": ("learned", "rotary"),
        "norm": "rms_norm",
        "pre_norm": True,
        "last_norm": "features",
        "patch_bias": True,
        "gated_mlp": True,
        "without_bias": ("out_proj", *GATED) if bias else (*ATTENTION, *GATED),
    }


def moonvit(fields: ConfigFields) -> dict[str, Any]:
    """A table of positions, interpolated, beside rotary ones; the code's function is GELU by tanh.

    https://huggingface.co/moonshotai/Kimi-VL-A3B-Instruct/blob/main/modeling_kimi_vl.py
    """
    fields.require("merge_kernel_size", [2, 2], (2, 2))
    rows = fields.count("init_pos_emb_height") * fields.count("init_pos_emb_width")
    settled = {
        "image_size_px": UNSAID_SIDE_PX,
        "num_channels": 3,
        "layer_norm_eps": MOON_EPS,
        "hidden_act": "gelu_tanh",
    }
    return sizes(fields, **settled) | {
        "class_token": False,
        "positions": ("learned", "rotary"),
        "position_rows": rows,
        "pre_norm": False,
        "last_norm": "features",
        "patch_bias": True,
    }


def pixtral(fields: ConfigFields) -> dict[str, Any]:
    """RMSNorm, a gated MLP, no bias; `image_size` is the largest side, and not much else."""
    fields.skip("rope_parameters", "rope_theta", "head_dim", "projection_dim")
    return sizes(fields, layer_norm_eps=PIXTRAL_EPS) | {
        "class_token": False,
        "positions": ("rotary",),
        "norm": "rms_norm",
        "pre_norm": True,
        "last_norm": None,
        "gated_mlp": True,
        "without_bias": (*ATTENTION, *GATED),
    }


HUB_CONFIGS.register("qwen2_vl_vision", HubConfig(qwen2_vl, QWEN2))
HUB_CONFIGS.register("qwen2_5_vl_vision", HubConfig(qwen2_5_vl, QWEN2_5))
HUB_CONFIGS.register("qwen3_vl_vision", HubConfig(qwen3_vl, QWEN3))
HUB_CONFIGS.register("qwen3_vl_moe_vision", HubConfig(qwen3_vl, QWEN3))
HUB_CONFIGS.register("glm4v_vision", HubConfig(glm4v, GLM4V))
HUB_CONFIGS.register("glm4v_moe_vision", HubConfig(glm4v, GLM4V))
HUB_CONFIGS.register("moonvit", HubConfig(moonvit, {}))
HUB_CONFIGS.register("pixtral", HubConfig(pixtral, PIXTRAL))
