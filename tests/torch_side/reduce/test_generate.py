"""`generate` with a reducer: the same tokens as loops of forward passes, whatever the batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from attaching import (
    BY_HAND,
    REDUCES,
    Prompts,
    by_hand,
    one_by_one,
)
from transformers import (
    GenerationConfig,
)

import roofline


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
