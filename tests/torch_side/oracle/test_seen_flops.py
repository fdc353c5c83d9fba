"""Matmuls of a release of transformers that are vector work in the analysis are named.

Both ways in which releases make the rotary table are run, whichever release is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from roofline.torch_side.families.llama_decoder import OWNERS
from roofline.torch_side.oracle.checks import compare_costs
from roofline.torch_side.oracle.flops import ROTARY_TABLE, SeenFlops, seen

Forward = Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]


def by_matmul(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """[B, e/2, 1] @ [B, 1, T]: 2·B·T·e/2 FLOPs to the counter."""
    frequencies = self.inv_freq[None, :, None].expand(len(position_ids), -1, 1).to(torch.float)
    return table(x, (frequencies @ position_ids[:, None].float()).transpose(1, 2))


def by_product(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """[B, T, 1] * [e/2]: nothing to the counter."""
    return table(x, position_ids[..., None].float() * self.inv_freq.float())


def table(x: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([angles, angles], dim=-1)
    return both.cos().to(x.dtype), both.sin().to(x.dtype)


def asides(model: str, **scenario: Any) -> dict[str, dict[str, int]]:
    """By component, of a comparison that finds no difference."""
    checks = compare_costs(model, **scenario)
    assert {check.difference for check in checks} == {0}
    return {check.component: check.aside for check in checks if check.quantity == "flops"}


@pytest.fixture(params=[by_matmul, by_product])
def forward(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Forward:
    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", request.param)
    made: Forward = request.param
    return made


def expected(forward: Forward, flops: int) -> dict[str, int]:
    return {ROTARY_TABLE: flops} if forward is by_matmul else {}


def test_a_prompt_of_1024_tokens(forward: Forward) -> None:
    """2 · 1024 · 64 = 131,072."""
    found = asides("vicuna-7b", visual_tokens=0, text_tokens=1024)

    assert found == {"llm": expected(forward, 131_072)}


def test_each_step_makes_its_own(forward: Forward) -> None:
    """Heads of 16, one table for a batch: 2 · 8 for each of 36 + 5 tokens and of three steps."""
    found = asides("llava-tiny", text_tokens=5, batch=3, stage="generate", output_tokens=3)

    assert found == {"vision": {}, "connector": {}, "llm": expected(forward, 16 * (41 + 3))}


@pytest.mark.parametrize(("reducer", "llm"), [("prumerge", "llm"), ("fastv", "llm + reducer")])
def test_behind_a_reducer_it_is_the_llm_s(forward: Forward, reducer: str, llm: str) -> None:
    found = asides("llava-tiny", reducer=reducer, visual_tokens=12, text_tokens=5)

    tokens = {"prumerge": 12, "fastv": 36}[reducer] + 5  # fastv drops behind the table
    assert found.pop(llm) == expected(forward, 16 * tokens)
    assert not any(found.values())


class Model(torch.nn.Module):
    """A table by a matmul, and a matmul of another module."""

    def __init__(self) -> None:
        super().__init__()
        self.rotary_emb = torch.nn.Linear(4, 4, bias=False)
        self.rotary_embedding = torch.nn.Linear(4, 4, bias=False)

    def forward(self, one: Tensor) -> Tensor:
        rotated: Tensor = self.rotary_embedding(self.rotary_emb(one).expand(2, -1))
        return rotated


def test_a_module_of_another_name_is_no_table() -> None:
    with FlopCounterMode(display=False) as counter:
        Model()(torch.zeros(1, 4))

    found = seen(counter, OWNERS)
    assert found == SeenFlops(96, {ROTARY_TABLE: 32})
    assert found.matmuls == 64
