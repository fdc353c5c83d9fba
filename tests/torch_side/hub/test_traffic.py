"""Bytes and peak activations of imported vision encoders against the traced module, to the byte."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from roofline import count
from roofline.model.architectures import AttentionKind
from roofline.specs.hub import model_from_config
from roofline.torch_side.families.base import OpOwners
from roofline.torch_side.oracle.fusion import group, rules_for
from roofline.torch_side.oracle.subjects import IMPLEMENTATIONS
from roofline.torch_side.oracle.trace import record
from roofline.torch_side.oracle.traffic import measure

OWNERS = OpOwners(layer=("Layer",), mlp=("MLP", "FFN"))
SIDE = 38
"""5 patches of 7 a side, and 3 pixels that are not looked at."""
SIZES: dict[str, Any] = {
    "hidden_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "patch_size": 7,
    "image_size": SIDE,
}
WIDE = SIZES | {"intermediate_size": 140}
TOWERS: dict[str, dict[str, Any]] = {
    "siglip": WIDE | {"model_type": "siglip_vision_model", "vision_use_head": False},
    "dinov2": SIZES | {"model_type": "dinov2", "mlp_ratio": 3},
    "dinov2, gated": SIZES | {"model_type": "dinov2", "use_swiglu_ffn": True},
    "dinov2, registers": SIZES | {"model_type": "dinov2_with_registers"},
    "internvit": WIDE | {"model_type": "internvl_vision", "attention_bias": True},
    "internvit 6b": WIDE
    | {"model_type": "internvl_vision", "norm_type": "rms_norm", "use_qk_norm": True},
}


class States(torch.nn.Module):
    """A tower whose last hidden states are all that is asked of it."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.tower(pixels).last_hidden_state
        return states


@pytest.mark.parametrize("attention", ["flash", "eager"])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", TOWERS)
def test_traffic_and_peak(name: str, images: int, attention: AttentionKind) -> None:
    config = TOWERS[name]
    fields = {field: value for field, value in config.items() if field != "model_type"}
    made = CONFIG_MAPPING[config["model_type"]](**fields)
    implementation = IMPLEMENTATIONS[attention]
    with torch.device("meta"):
        model = AutoModel.from_config(made, attn_implementation=implementation, dtype=torch.float16)
    pixels = torch.empty(images, 3, SIDE, SIDE, dtype=torch.float16, device="meta")
    trace = record(States(model.eval()), pixels, owners=OWNERS)
    traffic = measure(trace, group(trace, rules_for(attention)))

    ours = count(model_from_config(config, name="odd"), batch=images, attention=attention)

    assert traffic.causal
    assert ours.components["vision"].memory_access_bytes == traffic.total()
    assert ours.components["vision"].peak_activation_bytes == traffic.peak()
