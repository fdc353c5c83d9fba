"""FastV inside a real LLM against a loop over its layers, without cache or hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from naive.llm import IMAGE, fastv
from torch import Tensor, nn

import roofline
from roofline.errors import InputError

Prompts = Callable[..., dict[str, Tensor]]

PATCHES = 36


@pytest.mark.parametrize(
    ("options", "layer", "left"),
    [
        ({}, 2, PATCHES),
        ({"ratio": 0.75}, 2, 18),
        ({"count": 7}, 2, 7),
        ({"k": 1, "count": 20}, 1, 20),
        ({"k": 3, "ratio": 0.99}, 3, 1),
    ],
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_forward_and_generate_are_the_naive_loop(
    llava: Any,
    prompts: Prompts,
    options: dict[str, Any],
    layer: int,
    left: int,
    attention: str,
) -> None:
    llava.set_attn_implementation(attention)
    given = prompts(llava, ["titit"])
    expected, kept = fastv(llava, given, layer=layer, left=left, steps=5)
    roofline.attach(llava, "fastv", **options)

    logits = llava(**given).logits[0]
    generated = llava.generate(
        **given, max_new_tokens=5, do_sample=False, eos_token_id=None,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip

    torch.testing.assert_close(logits[kept], expected[0], rtol=1e-4, atol=1e-4)
    gone = torch.ones(len(logits), dtype=torch.bool).index_fill(0, kept, False)
    assert gone.sum() == 2 * PATCHES - left
    assert not logits[gone].any()
    steps = zip(generated.logits, expected, strict=True)
    for actual, wanted in steps:
        torch.testing.assert_close(actual[0], wanted[-1], rtol=1e-4, atol=1e-4)
    assert generated.sequences[0, -5:].tolist() == [int(step[-1].argmax()) for step in expected]


@pytest.mark.parametrize("ratio", [0.5, 0.99])
@torch.no_grad()
def test_a_visual_token_at_the_end_stays_since_it_writes_the_next(
    llava: Any, prompts: Prompts, ratio: float
) -> None:
    given = prompts(llava, ["tti"])
    roofline.attach(llava, "fastv", ratio=ratio)

    logits = llava(**given).logits[0]

    assert logits[-1].any()
    assert logits.any(dim=-1).sum() == 2 + PATCHES - int(PATCHES * ratio)


@torch.no_grad()
def test_layers_behind_hold_a_shorter_cache(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["ttitt"])
    roofline.attach(llava, "fastv", ratio=0.5)

    cache = llava(**given, use_cache=True).past_key_values

    assert [layer.keys.shape[2] for layer in cache.layers] == [40, 40, 22, 22]


@torch.no_grad()
def test_a_text_prompt_in_between_is_not_pruned(llava: Any, prompts: Prompts) -> None:
    given, text = prompts(llava, ["ttitt"]), prompts(llava, ["t" * 40, "t" * 30])
    expected, written = llava(**text).logits, llava.generate(**text, max_new_tokens=3)
    roofline.attach(llava, "fastv")
    reduced = llava.generate(**given, max_new_tokens=3)

    assert torch.equal(llava(**text).logits, expected)
    assert torch.equal(llava.generate(**text, max_new_tokens=3), written)
    assert torch.equal(llava.generate(**given, max_new_tokens=3), reduced)


def test_gradients_are_the_same_with_checkpointing(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["ttitt"])
    labels = torch.where(given["input_ids"] == IMAGE, -100, given["input_ids"])
    roofline.attach(llava, "fastv").train()

    def gradient() -> Tensor:
        llava.zero_grad()
        llava(**given, labels=labels, use_cache=False).loss.backward()
        return llava.model.multi_modal_projector.linear_1.weight.grad.clone()

    expected = gradient()
    llava.gradient_checkpointing_enable({"use_reentrant": False})

    assert expected.abs().sum() > 0
    torch.testing.assert_close(gradient(), expected)


@torch.no_grad()
def test_projections_replaced_after_attaching_are_ranked_by(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["ttitt"])
    attention = llava.model.language_model.layers[1].self_attn
    roofline.attach(llava, "fastv")

    attention.q_proj = nn.Sequential(attention.q_proj, _Negated())
    late = llava(**given).logits

    assert torch.equal(roofline.attach(llava, "fastv")(**given).logits, late)


class _Negated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


class TestRefusals:
    @pytest.fixture
    def reduced(self, llava: Any) -> Any:
        return roofline.attach(llava, "fastv", count=40)

    def test_sequences_with_different_numbers_of_images(
        self, reduced: Any, prompts: Prompts
    ) -> None:
        with pytest.raises(InputError, match=r"same number of visual tokens .*\[72, 108\]"):
            reduced(**prompts(reduced, ["titi", "iii"]))

    def test_fewer_visual_tokens_than_are_to_stay(self, reduced: Any, prompts: Prompts) -> None:
        with pytest.raises(InputError, match="`count` is 40, but a sequence has 36"):
            reduced(**prompts(reduced, ["ti"]))

    @pytest.mark.parametrize("cache", ["static", "used"])
    def test_caches_that_cannot_be_pruned(self, reduced: Any, prompts: Prompts, cache: str) -> None:
        given = prompts(reduced, ["tiit"])
        options = {"cache_implementation": "static"}
        if cache == "used":
            first = reduced.generate(**given, max_new_tokens=2, return_dict_in_generate=True)
            given = {**given, "input_ids": torch.cat([first.sequences, torch.tensor([[7]])], 1)}
            del given["attention_mask"]
            options = {"past_key_values": first.past_key_values}

        with pytest.raises(InputError, match="cache"):
            reduced.generate(**given, **options, max_new_tokens=2)

        assert reduced.generate(**prompts(reduced, ["tiit"]), max_new_tokens=1).shape == (1, 75)

    def test_llms_that_cap_their_logits(self, llava: Any) -> None:
        llava.model.language_model.layers[1].self_attn.attn_logit_softcapping = 50.0

        with pytest.raises(InputError, match="caps its logits"):
            roofline.attach(llava, "fastv")
