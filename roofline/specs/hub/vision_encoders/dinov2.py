"""DINOv2, without and with registers."""

from __future__ import annotations

from typing import Any

from roofline.specs.hub import HUB_CONFIGS, HubConfig
from roofline.specs.hub.fields import ConfigFields
from roofline.specs.hub.vision_encoders.sizes import sizes

SIZES: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 224,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}


def dinov2(fields: ConfigFields, *, registers: int, mask_token: bool) -> dict[str, Any]:
    """The MLP is `mlp_ratio` times as wide; a gated one two thirds of it, in eights."""
    fields.skip("layerscale_value", "drop_path_rate", "apply_layernorm", "reshape_hidden_states")
    fields.skip("out_features", "out_indices", "stage_names")
    gated = fields.flag("use_swiglu_ffn")
    inner = int(fields.count("hidden_size") * fields.number("mlp_ratio"))
    if gated:
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
    spec = sizes(fields, intermediate_size=inner) | {
        "pre_norm": False,
        "patch_bias": True,
        "last_norm": "features",
        "without_bias": () if fields.flag("qkv_bias") else ("q_proj", "k_proj", "v_proj"),
        "layer_scale": True,
        "mask_token": mask_token,
        "register_tokens": registers,
        "gated_mlp": gated,
    }
    return spec | {"hidden_act": "silu"} if gated else spec


def plain(fields: ConfigFields) -> dict[str, Any]:
    """Without registers."""
    return dinov2(fields, registers=0, mask_token=fields.flag("use_mask_token"))


def with_registers(fields: ConfigFields) -> dict[str, Any]:
    """Their checkpoints all hold the mask token."""
    return dinov2(fields, registers=fields.count("num_register_tokens"), mask_token=True)


HUB_CONFIGS.register("dinov2", HubConfig(plain, SIZES | {"use_mask_token": True}))
HUB_CONFIGS.register(
    "dinov2_with_registers",
    HubConfig(with_registers, SIZES | {"patch_size": 16, "num_register_tokens": 4}),
)
