"""The cache that is written in place: what it holds is what `torch.cat` would make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from roofline.errors import InputError
from roofline.torch_side.measure.kv_cache import InPlaceCache

Prompts = Callable[..., dict[str, Tensor]]

BATCH, HEADS, WIDTH, ROOM = 2, 3, 4, 10


def states(tokens: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (BATCH, HEADS, tokens, WIDTH)
    key, value = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    return key, value


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_what_comes_back_is_all_that_went_in(dtype: torch.dtype) -> None:
    cache, written = InPlaceCache(1, ROOM), [states(n, n, dtype) for n in (5, 1, 1)]

    for key, value in written:
        keys, values = cache.update(key, value, 0)

    assert torch.equal(keys, torch.cat([key for key, _ in written], dim=2))
    assert torch.equal(values, torch.cat([value for _, value in written], dim=2))
    assert keys.dtype == values.dtype == dtype
    assert cache.get_seq_length() == 7


def test_a_step_writes_its_row_and_moves_nothing() -> None:
    cache = InPlaceCache(1, ROOM)
    prompt, _ = cache.update(*states(5), 0)
    before = prompt.clone()

    keys, _ = cache.update(*states(1, seed=1), 0)

    assert keys.data_ptr() == prompt.data_ptr()
    assert keys.untyped_storage().nbytes() == BATCH * HEADS * ROOM * WIDTH * 4
    assert torch.equal(keys[:, :, :5], before)


def test_rewinding_and_resetting_keep_the_buffers() -> None:
    cache = InPlaceCache(2, ROOM)
    for layer, tokens in enumerate((5, 3)):  # layers may see prompts of different lengths
        cache.update(*states(tokens), layer)
        cache.update(*states(1), layer)
        cache.update(*states(1), layer)
    where = cache.layers[0].keys.data_ptr()

    cache.rewind(1)
    lengths = [cache.get_seq_length(layer) for layer in range(2)]
    cache.rewind(0)
    of_the_prompt = [cache.get_seq_length(layer) for layer in range(2)]
    cache.reset()
    empty = cache.get_seq_length()
    keys, _ = cache.update(*states(2), 0)
    cache.rewind(0)

    assert (lengths, of_the_prompt, empty) == ([6, 4], [5, 3], 0)
    assert keys.data_ptr() == where
    assert cache.get_seq_length() == 2


def test_a_full_cache_says_so() -> None:
    cache = InPlaceCache(1, ROOM)
    cache.update(*states(ROOM), 0)

    with pytest.raises(InputError, match="room for 10 tokens, not for 11"):
        cache.update(*states(1), 0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_a_model_runs_on_it_as_on_its_own(llava: Any, prompts: Prompts, attention: str) -> None:
    llava.set_attn_implementation(attention)
    given = prompts(llava, ["titt", "tttitt"])
    mask, layers = given["attention_mask"], llava.config.text_config.num_hidden_layers
    own, ours = DynamicCache(), InPlaceCache(layers, mask.shape[1] + 2)
    logits = [llava(**given, past_key_values=cache).logits for cache in (own, ours)]
    for _ in range(2):
        assert torch.equal(*logits)
        token = logits[0][:, -1:].argmax(dim=-1)
        mask = torch.cat([mask, torch.ones_like(token)], dim=1)
        logits = [
            llava(input_ids=token, attention_mask=mask, past_key_values=cache).logits
            for cache in (own, ours)
        ]

    torch.testing.assert_close(*logits)


@torch.no_grad()
def test_cropping_as_transformers_does_it(llava: Any, prompts: Prompts) -> None:
    given = prompts(llava, ["titt"])
    length, layers = given["input_ids"].shape[1], llava.config.text_config.num_hidden_layers
    cache = InPlaceCache(layers, length + 1)
    llava(**given, past_key_values=cache)
    first = llava(input_ids=torch.tensor([[7]]), past_key_values=cache).logits
    llava_again = []
    for token in (9, 7):
        cache.crop(-1)
        llava_again.append(llava(input_ids=torch.tensor([[token]]), past_key_values=cache).logits)

    assert not torch.equal(llava_again[0], first)
    assert torch.equal(llava_again[1], first)
