"""A reducer that drops nothing leaves a model's answers as they are, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attaching import (
    IMAGE,
    KEEPS_EVERYTHING,
    PATCHES,
    Prompts,
)

import roofline


class TestNothingDropped:
    @pytest.mark.parametrize("name", KEEPS_EVERYTHING)
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @torch.no_grad()
    def test_logits_are_bit_equal(
        self, llava: Any, prompts: Prompts, name: str, attention: str
    ) -> None:
        llava.set_attn_implementation(attention)
        rows = ["ttitt", "tttitt"] if name == "fastv" else ["ttitt", "titti", "ttt"]
        given = prompts(llava, rows)
        expected = llava(**given).logits

        roofline.attach(llava, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(llava(**given).logits, expected)

    @pytest.mark.parametrize("layer", [-1, -3, 2])
    @pytest.mark.parametrize("name", ["sequential", "tome", "fastv"])
    @torch.no_grad()
    def test_other_feature_layers(
        self, llava: Any, prompts: Prompts, name: str, layer: int
    ) -> None:
        llava.config.vision_feature_layer = layer
        given = prompts(llava, ["ttitt"])
        expected = llava(**given).logits

        roofline.attach(llava, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["sequential", "tome", "fastv"])
    @torch.no_grad()
    def test_logits_are_bit_equal_in_half_precision(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        llava.bfloat16()
        given = prompts(llava, ["ttitt", "tittt"])
        expected = llava(**given).logits

        roofline.attach(llava, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(llava(**given).logits, expected)

    @pytest.mark.parametrize("name", KEEPS_EVERYTHING)
    def test_generations_are_the_same(self, llava: Any, prompts: Prompts, name: str) -> None:
        given = prompts(llava, ["ttitt", "tti"])
        expected = llava.generate(**given, max_new_tokens=6, do_sample=False)

        roofline.attach(llava, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(llava.generate(**given, max_new_tokens=6, do_sample=False), expected)

    @torch.no_grad()
    def test_given_position_ids_are_kept(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt", "titti"])
        mask = given["attention_mask"]
        given["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0) + 7
        expected = llava(**given).logits

        roofline.attach(llava, "sequential", count=PATCHES)

        assert torch.equal(llava(**given).logits, expected)

    @torch.no_grad()
    def test_a_model_that_feeds_the_class_token(self, llava: Any, prompts: Prompts) -> None:
        llava.config.vision_feature_select_strategy = "full"
        given = prompts(llava, ["ttitt"])
        expected = llava(**given).logits

        roofline.attach(llava, "fastv", ratio=0.0)

        assert (given["input_ids"] == IMAGE).sum() == PATCHES + 1
        assert torch.equal(llava(**given).logits, expected)

    @torch.no_grad()
    def test_text_alone_passes_through(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttttt", "tt"])
        expected = llava(**given).logits
        generated = llava.generate(**given, max_new_tokens=4)

        roofline.attach(llava, "prumerge")

        assert torch.equal(llava(**given).logits, expected)
        assert torch.equal(llava.generate(**given, max_new_tokens=4), generated)
