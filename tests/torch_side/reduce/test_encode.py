"""The tower runs as transformers runs it, and no further than asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from roofline.errors import InputError
from roofline.torch_side.families.clip_tower import ClipTower
from roofline.torch_side.reduce.encode import encode

LAYERS = 24
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
}


@pytest.fixture(params=["sdpa", "eager"])
def clip(request: pytest.FixtureRequest) -> CLIPVisionModel:
    torch.manual_seed(0)
    config = CLIPVisionConfig(**SHAPE, attn_implementation=request.param)
    return CLIPVisionModel(config).eval()


@pytest.fixture
def siglip() -> SiglipVisionModel:
    torch.manual_seed(0)
    return SiglipVisionModel(SiglipVisionConfig(**SHAPE)).eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("blocks", [0, 1, 23, 24])
@torch.no_grad()
def test_features_are_bit_equal_to_hidden_states(
    clip: CLIPVisionModel, pixels: torch.Tensor, blocks: int
) -> None:
    expected = clip(pixels, output_hidden_states=True).hidden_states[blocks]

    encoded = encode(ClipTower(clip), pixels, blocks)

    assert torch.equal(encoded.features, expected)
    assert encoded.queries is encoded.keys is encoded.reduction is None


@torch.no_grad()
def test_half_precision_features_are_bit_equal_too(
    clip: CLIPVisionModel, pixels: torch.Tensor
) -> None:
    clip = clip.to(torch.bfloat16)
    expected = clip(pixels.bfloat16(), output_hidden_states=True).hidden_states[-2]

    assert torch.equal(encode(ClipTower(clip), pixels.bfloat16(), LAYERS - 1).features, expected)


def test_blocks_behind_the_features_never_run(clip: CLIPVisionModel, pixels: torch.Tensor) -> None:
    clip.encoder.layers[23] = None

    assert encode(ClipTower(clip), pixels, 23).features.shape == (2, 17, 32)


def test_an_inner_vision_model_is_found(clip: CLIPVisionModel, pixels: torch.Tensor) -> None:
    outer = nn.Module()
    outer.vision_model = clip

    assert torch.equal(
        encode(ClipTower(outer), pixels, 23).features, encode(ClipTower(clip), pixels, 23).features
    )


def projected(layer: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    normed = layer.layer_norm1(hidden)
    return layer.self_attn.q_proj(normed), layer.self_attn.k_proj(normed)


@torch.no_grad()
def test_queries_and_keys_of_a_block_that_runs(clip: CLIPVisionModel, pixels: torch.Tensor) -> None:
    states = clip(pixels, output_hidden_states=True).hidden_states
    queries, keys = projected(clip.encoder.layers[22], states[22])

    encoded = encode(ClipTower(clip), pixels, 23, attention_of=22)

    assert torch.equal(encoded.features, states[23])
    assert torch.equal(encoded.queries, queries)
    assert torch.equal(encoded.keys, keys)
    assert not clip.encoder.layers[22].self_attn.q_proj._forward_hooks


@torch.no_grad()
def test_queries_and_keys_of_the_first_block_not_run(
    clip: CLIPVisionModel, pixels: torch.Tensor
) -> None:
    states = clip(pixels, output_hidden_states=True).hidden_states
    queries, keys = projected(clip.encoder.layers[23], states[23])

    encoded = encode(ClipTower(clip), pixels, 23, attention_of=23)

    torch.testing.assert_close(encoded.queries, queries[:, :1])
    assert torch.equal(encoded.keys, keys)


def test_of_the_block_not_run_only_keys_and_one_query_are_paid_for(
    clip: CLIPVisionModel, pixels: torch.Tensor
) -> None:
    def flops(attention_of: int | None) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encode(ClipTower(clip), pixels, 23, attention_of=attention_of)
        return counter.get_total_flops()

    assert flops(22) == flops(None)
    assert flops(23) == flops(None) + 2 * 2 * (17 + 1) * 32**2  # 2 images, 17 keys, 1 query


@torch.no_grad()
def test_a_tower_without_class_token(siglip: SiglipVisionModel, pixels: torch.Tensor) -> None:
    states = siglip(pixels, output_hidden_states=True).hidden_states
    queries, keys = projected(siglip.encoder.layers[23], states[23])

    encoded = encode(ClipTower(siglip), pixels, 23, attention_of=23)

    assert torch.equal(encoded.features, states[23])
    assert torch.equal(encoded.queries, queries)
    assert torch.equal(encoded.keys, keys)


def test_gradients_reach_the_pixels(clip: CLIPVisionModel, pixels: torch.Tensor) -> None:
    pixels.requires_grad_()
    encoded = encode(ClipTower(clip), pixels, 2, attention_of=2)

    (encoded.features.sum() + encoded.keys.sum() + encoded.queries.sum()).backward()

    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 25}, "blocks"),
        ({"blocks": -1}, "blocks"),
        ({"blocks": 3, "attention_of": 4}, "attention_of"),
        ({"blocks": 24, "attention_of": 24}, "attention_of"),
    ],
)
def test_what_cannot_be(
    clip: CLIPVisionModel, pixels: torch.Tensor, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        encode(ClipTower(clip), pixels, **arguments)


def test_reducers_need_a_class_token(siglip: SiglipVisionModel, pixels: torch.Tensor) -> None:
    from roofline.torch_side.reduce.methods import bind

    with pytest.raises(InputError, match="class token"):
        encode(ClipTower(siglip), pixels, 23, reducer=bind("tome").blocks())
