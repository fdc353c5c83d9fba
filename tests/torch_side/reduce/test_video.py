"""Reducers on Video-LLaVA: frames, images, and both in one batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attaching import (
    FRAMES,
    KEEPS_EVERYTHING,
    PATCHES,
    REDUCES,
    Prompts,
    close,
    named_for,
)

import roofline


class TestVideo:
    @pytest.mark.parametrize(("per_frame", "tokens"), [(3, 24), (9, 72)])
    @torch.no_grad()
    def test_each_of_eight_frames_is_reduced(
        self, video_llava: Any, prompts: Prompts, per_frame: int, tokens: int
    ) -> None:
        given = prompts(video_llava, ["ttvtt"])
        roofline.attach(video_llava, "prumerge", count=per_frame)

        assert given["input_ids"].shape[1] == 4 + FRAMES * (PATCHES + 1)
        assert video_llava(**given).logits.shape[1] == 4 + tokens

    @torch.no_grad()
    def test_frames_by_hand(self, video_llava: Any, prompts: Prompts) -> None:
        given = prompts(video_llava, ["tvt"])
        tower, inner = video_llava.model.video_tower, video_llava.model
        states = tower(given["pixel_values_videos"][0], output_hidden_states=True).hidden_states
        features, last = states[-2], tower.encoder.layers[-1]
        normed = last.layer_norm1(features)
        queries, keys = last.self_attn.q_proj(normed), last.self_attn.k_proj(normed)
        kept = roofline.reduce_tokens("prumerge+", features, queries, keys, count=8).tokens
        text = video_llava.get_input_embeddings()(given["input_ids"][:, [0, -1]])[0]
        pieces = [text[:1], *map(inner.multi_modal_projector, kept), text[1:]]
        expected = video_llava(inputs_embeds=torch.cat(pieces)[None]).logits

        roofline.attach(video_llava, "prumerge+", count=8)

        close(video_llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["fastv"])
    @torch.no_grad()
    def test_nothing_dropped_is_bit_equal(
        self, video_llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = named_for(video_llava, prompts(video_llava, ["ttvtit", "titvt"]))
        expected = video_llava(**given).logits

        roofline.attach(video_llava, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(video_llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["sequential", "tome"])
    @torch.no_grad()
    def test_images_alone_with_nothing_dropped(
        self, video_llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = named_for(video_llava, prompts(video_llava, ["ttit", "titit"]))
        expected = video_llava(**given).logits

        roofline.attach(video_llava, name, **KEEPS_EVERYTHING[name])

        assert torch.equal(video_llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["prumerge", "divprune", "tome", "ats"])
    @torch.no_grad()
    def test_images_and_videos_in_one_batch(
        self, video_llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = prompts(video_llava, ["ttvt", "tit", "titvt"])
        pixels, videos = given["pixel_values"], given["pixel_values_videos"]
        visual = [
            {"pixel_values_videos": videos[:1]},
            {"pixel_values": pixels[:1]},
            {"pixel_values": pixels[1:], "pixel_values_videos": videos[1:]},
        ]
        roofline.attach(video_llava, name, **REDUCES[name])

        together = video_llava(**given).logits
        generated = video_llava.generate(**given, max_new_tokens=4, eos_token_id=None)

        rows = zip(given["input_ids"], given["attention_mask"], visual, strict=True)
        for row, (ids, mask, seen) in enumerate(rows):
            alone = {"input_ids": ids[mask == 1][None], **seen}
            expected = video_llava(**alone).logits[0]
            close(together[row, -len(expected) :], expected)
            new = video_llava.generate(**alone, max_new_tokens=4, eos_token_id=None)[:, -4:]
            assert torch.equal(generated[row : row + 1, -4:], new)

    @torch.no_grad()
    def test_pixels_under_the_processor_s_old_name(
        self, video_llava: Any, prompts: Prompts
    ) -> None:
        given = prompts(video_llava, ["tit"])
        roofline.attach(video_llava, "sequential", count=5)
        expected = video_llava(**given).logits
        given["pixel_values_images"] = given.pop("pixel_values")

        assert expected.shape[1] == 2 + 5
        assert torch.equal(video_llava(**given).logits, expected)
        assert video_llava.generate(**given, max_new_tokens=1).shape[1] == 2 + PATCHES + 1

    def test_detached_it_is_as_before(self, video_llava: Any, prompts: Prompts) -> None:
        given = prompts(video_llava, ["tvt"])
        before, expected = dict(video_llava.__dict__), video_llava(**given).logits

        roofline.attach(video_llava, "prumerge")(**given)
        roofline.detach(video_llava)

        assert video_llava.__dict__ == before
        assert torch.equal(video_llava(**given).logits, expected)

    @pytest.mark.parametrize(("per_frame", "share"), [(32, 0.125), (64, 0.25)])
    def test_the_token_arithmetic_of_the_paper_s_model(self, per_frame: int, share: float) -> None:
        estimate = roofline.analyze(
            "video-llava-7b", "v100", visual_tokens=FRAMES * per_frame, reducer="prumerge"
        )

        assert estimate.comparison is not None
        assert estimate.comparison.full_visual_tokens == 2056 == FRAMES * (256 + 1)
        assert estimate.inputs["visual_tokens"] == share * FRAMES * 256
