"""Logits of reduced prompts are those of embeddings put together by hand, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attaching import (
    BY_HAND,
    IMAGE,
    PATCHES,
    RAGGED,
    REDUCES,
    Prompts,
    by_hand,
    close,
    one_by_one,
)
from torch import Tensor

import roofline


class TestReducedPrompts:
    @pytest.mark.parametrize("name", BY_HAND)
    @torch.no_grad()
    def test_logits_are_those_of_embeddings_put_together_by_hand(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = prompts(llava, ["titti"])
        expected = llava(inputs_embeds=by_hand(llava, given, name, **BY_HAND[name])).logits

        roofline.attach(llava, name, **BY_HAND[name])

        close(llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["prumerge", "fastervlm"])
    @torch.no_grad()
    def test_features_of_the_last_block_are_ranked_by_that_block(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        llava.config.vision_feature_layer = -1
        given, tower = prompts(llava, ["ti"]), llava.model.vision_tower
        states = tower(given["pixel_values"], output_hidden_states=True).hidden_states
        block = tower.encoder.layers[-1]
        normed = block.layer_norm1(states[-2])
        queries, keys = block.self_attn.q_proj(normed), block.self_attn.k_proj(normed)
        heads = {"heads": 4} if name == "fastervlm" else {}
        kept = roofline.reduce_tokens(name, states[-1], queries, keys, count=9, **heads).tokens[0]
        text = llava.get_input_embeddings()(given["input_ids"][0, :1])
        embeddings = torch.cat([text, llava.model.multi_modal_projector(kept)])
        expected = llava(inputs_embeds=embeddings[None]).logits

        roofline.attach(llava, name, count=9)

        close(llava(**given).logits, expected)

    @pytest.mark.parametrize("name", REDUCES)
    @pytest.mark.parametrize("side", ["left", "right"])
    @torch.no_grad()
    def test_a_row_of_a_batch_is_that_row_alone(
        self, llava: Any, prompts: Prompts, name: str, side: str
    ) -> None:
        rows = ["ttitt", "titttt"] if name == "fastv" else ["ttitt", "titittt", "ttt", "iit"]
        given = prompts(llava, rows, side)
        roofline.attach(llava, name, **REDUCES[name])

        together = llava(**given).logits

        lengths = set()
        for row, alone in zip(together, one_by_one(given), strict=True):
            expected = llava(**alone).logits[0]
            lengths.add(len(expected))
            close(row[-len(expected) :] if side == "left" else row[: len(expected)], expected)
        assert together.shape[1] == max(lengths)
        assert len(lengths) == len(rows) or name == "fastv"

    @pytest.mark.parametrize("name", RAGGED)
    def test_adaptive_counts_differ_by_image(self, llava: Any, prompts: Prompts, name: str) -> None:
        given = prompts(llava, ["ti"] * 4)
        roofline.attach(llava, name, **REDUCES[name])

        lengths = {llava(**alone).logits.shape[1] for alone in one_by_one(given)}

        assert len(lengths) > 1

    @pytest.mark.parametrize(
        ("rows", "side"),
        [
            (["ttittt", "titittt"], "left"),
            (["ttittt", "titittt"], "right"),
            (["tittt"] * 3, "left"),
        ],
        ids=["padded left", "padded right", "padded by ragged counts"],
    )
    def test_labels_shrink_with_the_tokens(
        self, llava: Any, prompts: Prompts, rows: list[str], side: str
    ) -> None:
        given = prompts(llava, rows, side)
        mask, ids = given["attention_mask"], given["input_ids"]
        first = mask.cumsum(1) == 1  # nothing comes before it that could predict it
        labels = torch.where((mask == 1) & ~first & (ids != IMAGE), ids, -100)
        labels[:, 0] = ids[:, 0]
        roofline.attach(llava, "prumerge")

        loss = llava(**given, labels=labels).loss

        logits, tokens = [], []
        for alone in one_by_one(given):
            row = alone["input_ids"][0].tolist()
            for position, token in enumerate(row):
                if position and token != IMAGE:
                    logits.append(_last_logits(llava, alone, position))
                    tokens.append(token)
        expected = torch.nn.functional.cross_entropy(torch.stack(logits), torch.tensor(tokens))
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("name", [name for name in REDUCES if name not in RAGGED])
    def test_fixed_counts_are_never_read_back_from_the_device(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        """On the meta device there is nothing to read: whatever waits for a value would raise."""
        given = prompts(llava, ["ttitt", "tittt"])
        del given["attention_mask"]
        given["pixel_values"] = given["pixel_values"].to("meta")
        roofline.attach(llava.to("meta"), name, **REDUCES[name])

        logits = llava(**given).logits

        dropped = 0 if name == "fastv" else PATCHES - 12
        assert logits.shape[:2] == (2, given["input_ids"].shape[1] - dropped)


def _last_logits(model: Any, given: dict[str, Tensor], length: int) -> Tensor:
    """Of the first `length` tokens of a single prompt."""
    ids = given["input_ids"][:, :length]
    images = int((ids == IMAGE).sum()) // PATCHES
    pixels = {"pixel_values": given["pixel_values"][:images]} if images else {}
    return model(input_ids=ids, **pixels).logits[0, -1]
