"""SigLIP's encoder in LLaVA: attention that patches receive takes the class token's place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attaching import (
    IMAGE,
    KEEPS_EVERYTHING,
    PATCHES,
    REDUCES,
    close,
)
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)

import roofline
from roofline.errors import InputError
from roofline.torch_side.families import family_of
from roofline.torch_side.reduce.kept_patches import look
from roofline.torch_side.reduce.methods import bind
from roofline.torch_side.reduce.methods.base import MERGED, received_attention
from roofline.torch_side.reduce.path import ReductionPath


class TestNoClassToken:
    @pytest.fixture
    def siglip(self, llava: Any) -> Any:
        torch.manual_seed(0)
        vision = SiglipVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=84,
            patch_size=14,
        )
        text = LlamaConfig(**llava.config.text_config.to_dict())
        config = LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=IMAGE,
            vision_feature_select_strategy="full",
        )
        model = LlavaForConditionalGeneration(config).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0.0, 0.12)
        return model

    @staticmethod
    def given(seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randn(2, 3, 84, 84, generator=generator)
        ids = [[5, *[IMAGE] * PATCHES, 6, *[IMAGE] * PATCHES, 7]]
        return {"input_ids": torch.tensor(ids), "pixel_values": pixels}

    @pytest.mark.parametrize("name", ["sequential", "spatial", "fastervlm", "divprune", "fastv"])
    @torch.no_grad()
    def test_logits_are_bit_equal_with_nothing_dropped(self, siglip: Any, name: str) -> None:
        expected = siglip(**self.given()).logits

        roofline.attach(siglip, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(siglip(**self.given()).logits, expected)

    @pytest.mark.parametrize("name", ["prumerge", "prumerge+", "fastervlm", "visionzip", "fastv"])
    def test_it_generates(self, siglip: Any, name: str) -> None:
        given = self.given()
        roofline.attach(siglip, name, **REDUCES[name])

        generated = siglip.generate(**given, max_new_tokens=3, eos_token_id=None)

        assert torch.equal(generated[:, :-3], given["input_ids"])

    @torch.no_grad()
    def test_patches_are_ranked_by_the_attention_they_receive(self, siglip: Any) -> None:
        given, tower = self.given(), siglip.model.vision_tower
        states = tower(given["pixel_values"], output_hidden_states=True).hidden_states
        block = tower.encoder.layers[2]
        normed = block.layer_norm1(states[2])
        queries, keys = block.self_attn.q_proj(normed), block.self_attn.k_proj(normed)
        received = received_attention(queries, keys, heads=4)
        strongest = received.topk(5).indices.sort().values
        kept = [features[order] for features, order in zip(states[3], strongest, strict=True)]
        first, second = map(siglip.model.multi_modal_projector, kept)
        text = siglip.get_input_embeddings()(torch.tensor([[5], [6], [7]]))
        embeddings = torch.cat([text[0], first, text[1], second, text[2]])[None]
        expected = siglip(inputs_embeds=embeddings).logits

        roofline.attach(siglip, "fastervlm", count=5)

        close(siglip(**given).logits, expected)

    @pytest.mark.parametrize("name", ["tome", "ats", "evit", "crossget"])
    def test_reducers_that_need_a_class_token_refuse(self, siglip: Any, name: str) -> None:
        before = dict(siglip.__dict__)

        with pytest.raises(InputError, match=f"{name} needs a class token"):
            roofline.attach(siglip, name)

        assert siglip.__dict__ == before

    def test_a_strategy_that_would_drop_the_first_patch(self, siglip: Any) -> None:
        siglip.config.vision_feature_select_strategy = "default"

        with pytest.raises(InputError, match="full"):
            roofline.attach(siglip, "prumerge")

    @pytest.mark.parametrize("name", ["fastervlm", "prumerge", "divprune", "spatial"])
    @torch.inference_mode()
    def test_what_is_drawn_is_what_runs(self, siglip: Any, name: str) -> None:
        pixels = self.given()["pixel_values"][:1]
        inputs = family_of(siglip).inputs(siglip)[0]
        path = ReductionPath(siglip, bind(name, count=9))

        drawn = look(siglip, pixels, name, 9)

        assert drawn.of == PATCHES
        pictures = inputs.pictures({"pixel_values": pixels})
        assert pictures is not None
        patches = path.tokens(inputs, pictures).indices[0]
        assert sorted(drawn.indices.tolist()) == sorted(patches[patches != MERGED].tolist())
