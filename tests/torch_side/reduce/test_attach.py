"""A reducer on a real model: same model where nothing is dropped, right tokens where some are."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
)

import roofline
from roofline import reducers
from roofline.errors import InputError
from roofline.torch_side.reduce.methods.base import received_attention

Prompts = Callable[..., dict[str, Tensor]]

PATCHES, FRAMES, IMAGE, VIDEO = 36, 8, 500, 502

KEEPS_EVERYTHING: dict[str, dict[str, Any]] = {
    "sequential": {"count": PATCHES},
    "spatial": {"count": PATCHES},
    "fastervlm": {"count": PATCHES},
    "divprune": {"count": PATCHES},
    "tome": {"r": 0},
    "evit": {"rate": 1.0},
    "fastv": {"ratio": 0.0},
}
REDUCES: dict[str, dict[str, Any]] = {
    **{name: {"count": 12} for name in reducers.names()},
    "prumerge": {},  # as the images ask for
    "prumerge+": {},
    "spatial": {"grid": (3, 4)},
    "ats": {"count": 20},
    "fastv": {"ratio": 0.6},
}
RAGGED = ["prumerge", "prumerge+", "ats"]


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def one_by_one(given: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Each row of a batch of images by itself, without its padding."""
    image = 0
    alone = []
    for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True):
        real = ids[mask == 1]
        images = int((real == IMAGE).sum()) // PATCHES
        row = {"input_ids": real[None], "attention_mask": torch.ones_like(real)[None]}
        if images:
            row["pixel_values"] = given["pixel_values"][image : image + images]
        image += images
        alone.append(row)
    return alone


def named_for(model: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pixels under the name that Video-LLaVA's `forward` knows: it changed in transformers 5.23."""
    if "pixel_values" in inspect.signature(model.forward).parameters:
        return given
    return {_OLD_NAMES.get(name, name): value for name, value in given.items()}


_OLD_NAMES = {"pixel_values": "pixel_values_images"}


def by_hand(model: Any, given: dict[str, Tensor], name: str, **options: Any) -> Tensor:
    """One sequence's reduced embeddings, put together from what transformers returns."""
    project, tower = model.model.multi_modal_projector, model.model.vision_tower
    features = tower(given["pixel_values"], output_hidden_states=True).hidden_states[-2]
    last = tower.encoder.layers[-1]
    normed = last.layer_norm1(features)
    queries, keys = last.self_attn.q_proj(normed), last.self_attn.k_proj(normed)
    if reducers.find(name).connects_all:
        features = project(features)
        project = torch.nn.Identity()
    reduction = roofline.reduce_tokens(name, features, queries, keys, **options)
    images = iter(map(project, reduction.tokens))
    embed, pieces, ids = model.get_input_embeddings(), [], given["input_ids"][0].tolist()
    while ids:
        is_image = ids[0] == IMAGE
        pieces.append(next(images) if is_image else embed(torch.tensor(ids[:1])))
        ids = ids[PATCHES if is_image else 1 :]
    return torch.cat(pieces)[None]


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


def hooks_on(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class TestHooks:
    @pytest.mark.parametrize("name", REDUCES)
    @torch.no_grad()
    def test_prompts_leave_none_behind(self, llava: Any, prompts: Prompts, name: str) -> None:
        given, before = prompts(llava, ["ttitt"]), hooks_on(llava)
        roofline.attach(llava, name, **REDUCES[name])
        attached = hooks_on(llava)

        for _ in range(2):
            llava(**given)
            assert hooks_on(llava) == attached
        llava.generate(**given, max_new_tokens=3)
        assert hooks_on(llava) == attached
        roofline.detach(llava)
        assert hooks_on(llava) == before

    @pytest.mark.parametrize("name", [n for n in REDUCES if reducers.find(n).site == "llm"])
    @torch.no_grad()
    def test_prompts_that_fail_leave_none_behind(
        self, llava: Any, prompts: Prompts, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given, before = prompts(llava, ["ttitt"]), hooks_on(llava)
        roofline.attach(llava, name, **REDUCES[name])

        def fail(*given: Any, **more: Any) -> None:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(llava.model.language_model.layers[1].mlp, "forward", fail)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="out of memory"):
                llava(**given)
        roofline.detach(llava)
        assert hooks_on(llava) == before


BY_HAND: dict[str, dict[str, Any]] = {
    "prumerge": {},
    "prumerge+": {"ratio": 0.25},
    "spatial": {"grid": (2, 3)},
    "divprune": {"count": 9},
}


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
            for place, token in enumerate(row):
                if place and token != IMAGE:
                    logits.append(_last_logits(llava, alone, place))
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


class TestGenerate:
    @pytest.mark.parametrize("name", [name for name in REDUCES if name != "fastv"])
    @torch.no_grad()
    def test_greedy_is_a_loop_of_full_forward_passes(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = prompts(llava, ["titti"])
        roofline.attach(llava, name, **REDUCES[name])

        generated = llava.generate(**given, max_new_tokens=5, do_sample=False)

        ids = given["input_ids"]
        for _ in range(generated.shape[1] - ids.shape[1]):
            logits = llava(input_ids=ids, pixel_values=given["pixel_values"]).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        assert generated.shape[1] > given["input_ids"].shape[1]
        assert torch.equal(generated, ids)

    @pytest.mark.parametrize("name", BY_HAND)
    @torch.no_grad()
    def test_greedy_is_a_loop_over_embeddings_put_together_by_hand(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = prompts(llava, ["ttitt"])
        embeddings = by_hand(llava, given, name, **BY_HAND[name])
        expected = []
        for _ in range(5):
            expected.append(int(llava(inputs_embeds=embeddings).logits[0, -1].argmax()))
            new = llava.get_input_embeddings()(torch.tensor([expected[-1:]]))
            embeddings = torch.cat([embeddings, new], dim=1)

        roofline.attach(llava, name, **BY_HAND[name])
        generated = llava.generate(**given, max_new_tokens=5, do_sample=False, eos_token_id=None)

        assert generated[0, given["input_ids"].shape[1] :].tolist() == expected

    @pytest.mark.parametrize("name", REDUCES)
    @pytest.mark.parametrize(
        "options",
        [
            {"do_sample": False},
            {"do_sample": False, "num_beams": 3},
            {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
        ],
        ids=["greedy", "beams", "several beams"],
    )
    def test_a_row_of_a_batch_is_that_row_alone(
        self, llava: Any, prompts: Prompts, name: str, options: dict[str, Any]
    ) -> None:
        rows = ["ttitt", "titttt"] if name == "fastv" else ["ttitt", "titittt", "ttt"]
        given = prompts(llava, rows)
        roofline.attach(llava, name, **REDUCES[name])
        options = {**options, "max_new_tokens": 4, "eos_token_id": None}

        together = llava.generate(**given, **options)

        copies, length = options.get("num_return_sequences", 1), given["input_ids"].shape[1]
        assert len(together) == copies * len(rows)
        assert torch.equal(together[:, :length], given["input_ids"].repeat_interleave(copies, 0))
        for row, alone in enumerate(one_by_one(given)):
            expected = llava.generate(**alone, **options)[:, alone["input_ids"].shape[1] :]
            assert torch.equal(together[row * copies : (row + 1) * copies, length:], expected)

    def test_right_padding_is_put_right(self, llava: Any, prompts: Prompts) -> None:
        rows, options = ["ttitt", "titittt"], {"max_new_tokens": 4, "eos_token_id": None}
        roofline.attach(llava, "prumerge")

        left, right = (
            llava.generate(**prompts(llava, rows, side), **options)[:, -4:]
            for side in ("left", "right")
        )

        assert torch.equal(left, right)

    @pytest.mark.parametrize("name", ["prumerge", "tome", "fastv"])
    def test_sampling_several_sequences(self, llava: Any, prompts: Prompts, name: str) -> None:
        given = prompts(llava, ["ttitt", "titttt"])
        roofline.attach(llava, name, **REDUCES[name])
        torch.manual_seed(0)

        sampled = llava.generate(
            **given, do_sample=True, temperature=3.0, num_return_sequences=3, max_new_tokens=8
        )

        length = given["input_ids"].shape[1]
        assert torch.equal(sampled[:, :length], given["input_ids"].repeat_interleave(3, 0))
        assert len({tuple(row.tolist()) for row in sampled}) > 2

    def test_a_dictionary_holds_the_same_sequences(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt", "titt"])
        roofline.attach(llava, "prumerge")
        options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}

        output = llava.generate(
            **given, **options, return_dict_in_generate=True, output_logits=True
        )

        assert torch.equal(output.sequences, llava.generate(**given, **options))
        new = output.sequences[:, given["input_ids"].shape[1] :]
        assert torch.equal(torch.stack(output.logits, dim=1).argmax(-1), new)

    def test_ids_by_position_and_as_inputs(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt"])
        roofline.attach(llava, "prumerge")
        expected = llava.generate(**given, max_new_tokens=4)
        ids = given.pop("input_ids")

        assert torch.equal(llava.generate(ids, **given, max_new_tokens=4), expected)
        assert torch.equal(llava.generate(inputs=ids, **given, max_new_tokens=4), expected)

    @pytest.mark.parametrize("where", ["argument", "config", "model"])
    @pytest.mark.parametrize("limit", ["max_length", "min_length"])
    def test_limits_count_the_prompt_as_it_was_given(
        self, llava: Any, prompts: Prompts, where: str, limit: str
    ) -> None:
        given = prompts(llava, ["ttitt"])
        length = given["input_ids"].shape[1]
        limits = {"max_length": length + 9, "eos_token_id": None}
        if limit == "min_length":  # without it, the first token would end the sequence
            roofline.attach(llava, "prumerge")
            first = llava.generate(**given, max_new_tokens=1, do_sample=False)[0, -1]
            limits = {
                "max_length": length + 9,
                "min_length": length + 6,
                "eos_token_id": int(first),
            }
        limits |= {"do_sample": False, "pad_token_id": 501}
        if where == "argument":
            options = limits
        elif where == "config":
            options = {"generation_config": GenerationConfig(**limits)}
        else:
            llava.generation_config = GenerationConfig(**limits)
            options = {}
        unreduced = roofline.detach(copy.deepcopy(llava)).generate(**given, **options)
        roofline.attach(llava, "prumerge")

        generated = llava.generate(**given, **options)

        if limit == "max_length":
            assert generated.shape[1] == unreduced.shape[1] == length + 9
        else:
            assert length + 6 < generated.shape[1] <= length + 9
        if where == "config":
            assert options["generation_config"].max_length == length + 9

    def test_a_limit_within_the_prompt_is_refused_as_without_a_reducer(
        self, llava: Any, prompts: Prompts
    ) -> None:
        given = prompts(llava, ["ttitt"])
        roofline.attach(llava, "prumerge")

        with pytest.raises(ValueError, match="max_length"):
            llava.generate(**given, max_length=given["input_ids"].shape[1])

    def test_a_static_cache(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt", "titt"])
        roofline.attach(llava, "prumerge")
        expected = llava.generate(**given, max_new_tokens=5, do_sample=False)

        generated = llava.generate(
            **given, max_new_tokens=5, do_sample=False, cache_implementation="static"
        )

        assert torch.equal(generated, expected)

    def test_a_second_turn_on_the_first_one_s_cache(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt"])
        options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
        roofline.attach(llava, "prumerge")
        first = llava.generate(**given, **options, return_dict_in_generate=True)
        again = torch.cat([first.sequences, torch.tensor([[7, 8, 9]])], dim=1)
        second = {"input_ids": again, "pixel_values": given["pixel_values"]}

        cached = llava.generate(**second, **options, past_key_values=first.past_key_values)

        assert torch.equal(cached, llava.generate(**second, **options))

    def test_no_gradients_are_recorded(self, llava: Any, prompts: Prompts) -> None:
        roofline.attach(llava, "prumerge")

        output = llava.generate(
            **prompts(llava, ["ti"]),
            max_new_tokens=1,
            return_dict_in_generate=True,
            output_hidden_states=True,
        )

        assert not output.hidden_states[0][0].requires_grad


class TestLifeCycle:
    @pytest.mark.parametrize("name", REDUCES)
    def test_detached_it_is_as_before(self, llava: Any, prompts: Prompts, name: str) -> None:
        given = prompts(llava, ["ttitt", "titt"])
        expected = llava(**given).logits
        generated = llava.generate(**given, max_new_tokens=4)
        before, hooks = dict(llava.__dict__), _hooks(llava)

        roofline.attach(llava, name, **REDUCES[name])
        llava(**given)
        llava.generate(**given, max_new_tokens=2)
        roofline.detach(llava)

        assert llava.__dict__ == before
        assert _hooks(llava) == hooks
        assert torch.equal(llava(**given).logits, expected)
        assert torch.equal(llava.generate(**given, max_new_tokens=4), generated)

    def test_attach_and_detach_return_the_model(self, llava: Any) -> None:
        kind = type(llava)

        assert roofline.attach(llava) is llava
        assert type(llava) is kind
        assert roofline.detach(llava) is llava
        assert roofline.detach(llava) is llava

    @pytest.mark.parametrize("name", ["prumerge", "tome", "fastv"])
    def test_after_an_exception_it_still_works(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given, text = prompts(llava, ["ttitt"]), prompts(llava, ["ttttt"])
        expected = llava(**text).logits
        before, hooks = dict(llava.__dict__), _hooks(llava)
        roofline.attach(llava, name, **REDUCES[name])
        reduced = llava(**given).logits
        for broken in (
            llava.model.vision_tower.embeddings,
            llava.model.language_model.layers[0],
            llava.model.language_model.layers[3],
            llava.model.multi_modal_projector,
        ):
            handle = broken.register_forward_hook(_fail)
            with pytest.raises(ZeroDivisionError):
                llava(**given)
            with pytest.raises(ZeroDivisionError):
                llava.generate(**given, max_new_tokens=2)
            handle.remove()
            assert torch.equal(llava(**text).logits, expected)
            assert torch.equal(llava(**given).logits, reduced)

        roofline.detach(llava)

        assert llava.__dict__ == before
        assert _hooks(llava) == hooks

    def test_the_second_reducer_takes_the_place_of_the_first(
        self, llava: Any, prompts: Prompts
    ) -> None:
        given = prompts(llava, ["ttitt"])
        llava(**given)
        before, hooks = dict(llava.__dict__), _hooks(llava)
        expected = roofline.attach(llava, "sequential", count=4)(**given).logits

        roofline.attach(llava, "fastv")
        roofline.attach(llava, "fastv", ratio=0.9)
        roofline.attach(llava, "sequential", count=4)

        assert torch.equal(llava(**given).logits, expected)
        roofline.detach(llava)
        assert llava.__dict__ == before
        assert _hooks(llava) == hooks

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("prumrge", {}, "did you mean prumerge"),
            ("prumerge", {"ratoi": 0.2}, "did you mean ratio"),
            ("prumerge", {"heads": 4}, "heads"),
            ("prumerge", {"ratio": -0.5}, "ratio"),
            ("prumerge", {"count": PATCHES + 1}, "count"),
            ("prumerge", {"variant": "mine"}, "variant"),
            ("sequential", {}, "count"),
            ("sequential", {"count": 0}, "count"),
            ("spatial", {"grid": (7, 7)}, "grid"),
            ("visionzip", {"count": 99}, "count"),
            ("tome", {"count": PATCHES + 1}, "count"),
            ("tome", {"count": 3, "r": 3}, "count"),
            ("evit", {"rate": 2.0}, "rate"),
            ("evit", {"stages": [9]}, "stages"),
            ("ats", {"count": 0}, "count"),
            ("crossget", {"r": -1}, "r"),
            ("fastv", {"k": 4}, "`k`"),
            ("fastv", {"ratio": 1.5}, "ratio"),
            ("fastv", {"count": 0}, "count"),
        ],
    )
    @pytest.mark.parametrize("attached", [None, "fastv"])
    def test_what_cannot_work_is_refused_and_leaves_the_model_as_it_was(
        self,
        llava: Any,
        prompts: Prompts,
        name: str,
        options: dict[str, Any],
        message: str,
        attached: str | None,
    ) -> None:
        given = prompts(llava, ["ti"])
        if attached:
            roofline.attach(llava, attached)
        expected = llava(**given).logits
        before, hooks = dict(llava.__dict__), _hooks(llava)

        with pytest.raises(InputError, match=message) as raised:
            roofline.attach(llava, name, **options)

        assert "\n" not in str(raised.value)
        assert llava.__dict__ == before
        assert _hooks(llava) == hooks
        assert torch.equal(llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["prumerge", "fastv"])
    def test_a_deep_copy_has_a_reducer_of_its_own(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = prompts(llava, ["ttitt"])
        expected = roofline.detach(llava)(**given).logits
        roofline.attach(llava, name)
        reduced = llava(**given).logits

        twin = copy.deepcopy(llava)
        torch.nn.init.zeros_(llava.lm_head.weight)

        assert torch.equal(twin(**given).logits, reduced)
        roofline.detach(twin)
        assert torch.equal(twin(**given).logits, expected)
        assert llava(**given).logits.shape == reduced.shape

    def test_what_others_wrap_around_it_stays(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt"])
        expected, calls = llava(**given).logits, []
        roofline.attach(llava, "prumerge")
        inner = llava.forward

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return inner(*args, **kwargs)

        llava.forward = wrapped
        roofline.detach(llava)

        assert torch.equal(llava(**given).logits, expected)
        assert calls == [1]

    @pytest.mark.parametrize("name", REDUCES)
    def test_the_last_vit_block_never_runs(self, llava: Any, prompts: Prompts, name: str) -> None:
        runs = dict.fromkeys(range(4), 0)
        for index, layer in enumerate(llava.model.vision_tower.encoder.layers):
            layer.mlp.register_forward_hook(
                lambda module, args, output, index=index: runs.update({index: runs[index] + 1})
            )
        given = prompts(llava, ["ttitt"])
        roofline.attach(llava, name, **REDUCES[name])

        llava(**given)
        llava.generate(**given, max_new_tokens=3, eos_token_id=None)

        assert runs == {0: 2, 1: 2, 2: 2, 3: 0}

    def test_saved_weights_are_the_unreduced_model_s(self, llava: Any, tmp_path: Any) -> None:
        expected = llava.state_dict()
        roofline.attach(llava, "fastv").save_pretrained(tmp_path)

        loaded = roofline.load_model("llava-tiny", tmp_path).state_dict()

        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())


def _hooks(model: Any) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for _ in hooks
    ]


def _fail(module: Any, args: Any, output: Any) -> None:
    raise ZeroDivisionError


class TestBadCalls:
    @pytest.fixture
    def reduced(self, llava: Any) -> Any:
        return roofline.attach(llava, "prumerge")

    def test_images_without_their_placeholders(self, reduced: Any, prompts: Prompts) -> None:
        given = prompts(reduced, ["ttitt"])

        with pytest.raises(InputError, match=r"36 placeholders .* 2 images of 36"):
            reduced(given["input_ids"], pixel_values=given["pixel_values"].repeat(2, 1, 1, 1))
        with pytest.raises(InputError, match="0 placeholders"):
            reduced.generate(torch.tensor([[1, 2]]), pixel_values=given["pixel_values"])

    def test_embeddings_instead_of_ids(self, reduced: Any, prompts: Prompts) -> None:
        pixels = prompts(reduced, ["ti"])["pixel_values"]

        with pytest.raises(InputError, match="input_ids"):
            reduced(inputs_embeds=torch.zeros(1, 37, 64), pixel_values=pixels)

    def test_masks_and_labels_of_other_shapes(self, reduced: Any, prompts: Prompts) -> None:
        given = prompts(reduced, ["ti"])

        with pytest.raises(InputError, match="attention_mask"):
            reduced(**given | {"attention_mask": torch.ones(1, 50)})
        with pytest.raises(InputError, match="labels"):
            reduced(**given, labels=torch.ones(1, 50, dtype=torch.long))

    def test_another_feature_layer_in_a_call(self, reduced: Any, prompts: Prompts) -> None:
        given = prompts(reduced, ["ti"])
        assert reduced(**given, vision_feature_layer=-2).logits is not None

        with pytest.raises(InputError, match="vision_feature_layer"):
            reduced(**given, vision_feature_layer=-1)

    def test_typos_in_generate_are_still_found(self, reduced: Any, prompts: Prompts) -> None:
        with pytest.raises(ValueError, match="max_new_tokenz"):
            reduced.generate(**prompts(reduced, ["ti"]), max_new_tokenz=3)

    def test_models_of_other_kinds(self, llava: Any) -> None:
        llm = LlamaForCausalLM(llava.config.text_config)
        for model in (llm, llava.model, llava.model.vision_tower, torch.nn.Linear(1, 1)):
            before = dict(model.__dict__)
            with pytest.raises(InputError, match=type(model).__name__):
                roofline.attach(model, "prumerge")
            assert model.__dict__ == before

    def test_features_of_several_layers(self, llava: Any) -> None:
        llava.config.vision_feature_layer = [-2, -3]

        with pytest.raises(InputError, match="one layer"):
            roofline.attach(llava, "prumerge")


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

        assert estimate.unreduced.scenario.visual_tokens == 2056 == FRAMES * (256 + 1)
        assert estimate.scenario.visual_tokens == share * FRAMES * 256


class TestNoClassToken:
    """SigLIP's encoder in LLaVA: attention that patches receive takes the class token's place."""

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
