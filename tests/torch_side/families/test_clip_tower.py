"""Towers of specs: CLIP's and SigLIP's, with the weights and activations that the specs say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from toy import tower
from transformers import AutoModel

import roofline
from roofline.specs.models import VisionEncoder
from roofline.torch_side.families import FamilyError
from roofline.torch_side.families.clip_tower import ClipTower, tower_config


def encoder(**changes: Any) -> VisionEncoder:
    """No width divides another, and the patches leave an edge of the image."""
    fields = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    odd = {"intermediate_size": 40, "image_size_px": 31, "patch_size_px": 7}
    return tower(**(fields | odd | changes))


SIGLIP = {"class_token": False, "pre_norm": False, "patch_bias": True, "hidden_act": "gelu_tanh"}


@pytest.mark.parametrize("changes", [{}, SIGLIP], ids=["clip", "siglip"])
def test_patches_and_weights_are_those_of_the_model(changes: dict[str, object]) -> None:
    """31 pixels hold 4 patches of 7 a side: what transformers makes of an uneven image, too."""
    spec = encoder(**changes)
    module = AutoModel.from_config(tower_config(spec)).eval()
    tower = ClipTower(module)

    tokens = tower.embed(torch.randn(1, 3, 31, 31)).shape[1]

    assert tokens == tower.tokens == spec.tokens == 16 + spec.class_token
    held = sum(weight.numel() for weight in module.parameters())
    assert roofline.count(spec, "fp32").end_to_end.weight_bytes == 4 * held


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x)),
        ("gelu", functional.gelu),
        ("gelu_tanh", lambda x: functional.gelu(x, approximate="tanh")),
    ],
)
@torch.no_grad()
def test_the_activation_is_the_spec_s(name: str, function: object) -> None:
    module = AutoModel.from_config(tower_config(encoder(hidden_act=name))).eval()
    mlp = module.encoder.layers[0].mlp
    x = 3 * torch.randn(5, 24)

    torch.testing.assert_close(mlp(x), mlp.fc2(function(mlp.fc1(x))))  # type: ignore[operator]


def test_a_module_of_another_layout() -> None:
    with pytest.raises(FamilyError, match="Linear is not laid out like CLIP's or SigLIP's tower"):
        ClipTower(nn.Linear(1, 1))
