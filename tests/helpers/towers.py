"""Small CLIP towers with random weights, and what the matmuls of their blocks cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from naive.vision import Token
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel

from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.reduce.encode import Encoded, encode
from roofline.torch_side.reduce.methods import bind
from roofline.torch_side.reduce.methods.base import VisionBlocks

PATCH = 2


def small_tower(
    *,
    side: int = 4,
    layers: int = 4,
    hidden: int = 16,
    heads: int = 2,
    dtype: torch.dtype = torch.float64,
    implementation: str = "eager",
    seed: int = 0,
) -> CLIPVisionModel:
    """A tower over side × side patches. Weights are large: attention is far from uniform."""
    config = CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side * PATCH,
        patch_size=PATCH,
        attn_implementation=implementation,
    )
    tower = CLIPVisionModel(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in tower.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = (noise * (1.5 if "q_proj" in name else 0.5)).to(dtype)
    return tower


def pixels_for(tower: CLIPVisionModel, images: int = 2, seed: int = 1) -> Tensor:
    side = tower.config.image_size
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, side, side, generator=generator, dtype=torch.float64)
    return pixels.to(tower.dtype)


def driver_of(name: str, **options: Any) -> Any:
    """A reducer's driver for one forward pass."""
    return bind(name, **options).blocks()


def run(tower: CLIPVisionModel, driver: VisionBlocks, blocks: int, pixels: Tensor) -> Encoded:
    with torch.no_grad():
        return encode(ClipTower(tower), pixels, blocks, reducer=driver)


def assert_same_tokens(tokens: Tensor, expected: list[Token]) -> None:
    """Equal but for rounding: transformers' eager attention has its softmax in fp32."""
    vectors = torch.stack([token.vector for token in expected])
    torch.testing.assert_close(tokens, vectors, rtol=1e-4, atol=1e-4)


def measured_flops(call: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def stem_flops(tower: CLIPVisionModel) -> int:
    """The patch embedding of one image."""
    config = tower.config
    patches = (config.image_size // config.patch_size) ** 2
    return 2 * patches * 3 * config.patch_size**2 * config.hidden_size


def block_flops(tower: CLIPVisionModel, tokens: int, mlp_tokens: int | None = None) -> int:
    """A plain block of one image: q, k, v, out; logits and mixing; fc1 and fc2."""
    c, f = tower.config.hidden_size, tower.config.intermediate_size
    mlp_tokens = tokens if mlp_tokens is None else mlp_tokens
    return 8 * tokens * c**2 + 4 * tokens**2 * c + 4 * mlp_tokens * c * f
