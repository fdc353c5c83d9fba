"""Vision encoders by themselves, from their configs, against Hugging Face's of the same config."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModel

from roofline import count
from roofline.engine.layout import lay_out
from roofline.model.block import parameters
from roofline.specs.hub import model_from_config
from roofline.specs.models import VisionEncoder

SIZES: dict[str, Any] = {
    "hidden_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 140,
    "patch_size": 7,
}
DINO: dict[str, Any] = {k: v for k, v in SIZES.items() if k != "intermediate_size"}
TOWERS: dict[str, dict[str, Any]] = {
    "clip": {**SIZES, "model_type": "clip_vision_model"},
    "siglip without its head": {
        **SIZES,
        "model_type": "siglip_vision_model",
        "vision_use_head": False,
    },
    "dinov2": {**DINO, "model_type": "dinov2", "mlp_ratio": 3},
    "dinov2, gated, no mask": {
        **DINO,
        "model_type": "dinov2",
        "use_swiglu_ffn": True,
        "use_mask_token": False,
        "qkv_bias": False,
    },
    "dinov2 with registers": {**DINO, "model_type": "dinov2_with_registers"},
    "internvit": {**SIZES, "model_type": "internvl_vision"},
    "internvit 6b": {
        **SIZES,
        "model_type": "internvl_vision",
        "norm_type": "rms_norm",
        "use_qk_norm": True,
    },
    "pixtral": {**SIZES, "model_type": "pixtral", "head_dim": 12},
}


def built(config: dict[str, Any]) -> Any:
    fields = {name: value for name, value in config.items() if name != "model_type"}
    made = CONFIG_MAPPING[config["model_type"]](**fields)
    with torch.device("meta"):
        return AutoModel.from_config(made, attn_implementation="eager").eval()


def imported(config: dict[str, Any]) -> VisionEncoder:
    model = model_from_config(config, name="odd")
    assert isinstance(model, VisionEncoder)
    return model


@pytest.mark.parametrize("side", [28, 45])
@pytest.mark.parametrize("name", TOWERS)
def test_flops_and_parameters(name: str, side: int) -> None:
    config = TOWERS[name] | {"image_size": side}
    model, ours = built(config), imported(config)

    images = 1 if name == "pixtral" else 2  # its images make one sequence there, under a mask
    pixels = torch.empty(images, 3, side, side, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(pixels)

    assert count(ours, batch=images).end_to_end.flops == counter.get_total_flops()
    (part,) = lay_out(ours).components
    assert parameters(part.loaded).total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("model_type", ["siglip_vision_model", "siglip2_vision_model"])
def test_a_pooling_head_is_loaded_and_does_not_run(model_type: str) -> None:
    sized = {"image_size": 28} if model_type == "siglip_vision_model" else {"num_patches": 16}
    config = {**SIZES, "model_type": model_type, **sized}
    with_head, without = imported(config), imported(config | {"vision_use_head": False})
    model = built(config)

    (part,) = lay_out(with_head).components
    assert parameters(part.loaded).total == sum(p.numel() for p in model.parameters())
    assert count(with_head).end_to_end.flops == count(without).end_to_end.flops


def test_siglip2_takes_grids() -> None:
    """Patches come as rows of pixels there, filled up to one length and masked."""
    config = {**SIZES, "model_type": "siglip2_vision_model", "num_patches": 16}
    config |= {"vision_use_head": False}
    model = built(config).to_empty(device="cpu")
    rows = torch.zeros(1, 16, 3 * 7 * 7)
    mask, shapes = torch.ones(1, 16, dtype=torch.long), torch.tensor([[4, 4]])

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(rows, pixel_attention_mask=mask, spatial_shapes=shapes)

    # from 5.24 on transformers scales its table of positions by a matmul: [16, 16] @ [16, width]
    scales = Version(version("transformers")) >= Version("5.24")
    scaling = 2 * 16 * 16 * SIZES["hidden_size"] * scales
    assert count(imported(config)).end_to_end.flops + scaling == counter.get_total_flops()
