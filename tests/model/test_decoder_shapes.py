"""Decoders unlike Llama as lists of ops: windows, experts and latent attention by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import toy

from roofline import count
from roofline.model.architectures import decoder
from roofline.model.block import LayerGroup
from roofline.model.op import Op
from roofline.model.polynomial import Point
from roofline.model.variables import BATCH, touched_experts
from roofline.specs.models import ExpertMixture, LanguageModel, LatentAttention, LayerKind

EXPERTS = ExpertMixture(num_experts=4, num_experts_per_tok=2, intermediate_size=6)
LATENT = LatentAttention(kv_lora_rank=5, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=7)


def ops(llm: LanguageModel, *, keys: float | None = None) -> dict[str, Op]:
    """Of a prompt of 5 tokens, or of a step behind as many as make `keys` keys; batch 2."""
    if keys is None:
        blocks = decoder.prefill(
            llm, [LayerGroup(2, 5.0)], batch=2.0, text_tokens=5.0, attention="flash"
        )
    else:
        groups = [LayerGroup(2, keys - 1)]
        blocks = decoder.decode(llm, groups, batch=2.0, step=1.0, attention="flash")
    return {op.name: op for block in blocks for op in block.ops}


def test_experts_compute_two_of_four_and_read_what_is_touched() -> None:
    # 10 rows of 2 experts each, 3 matrices of 8 · 6; 4·(1 − (1 − 2/4)^10) experts are touched
    experts = ops(toy.llm(moe=EXPERTS))["experts"]

    assert experts.flops == 2 * 10 * 2 * (3 * 8 * 6)
    assert experts.weights == pytest.approx(4 * (1 - 0.5**10) * 3 * 8 * 6)
    assert experts.resident_weights == 4 * 3 * 8 * 6


def test_touched_experts_of_one_token_and_of_many() -> None:
    touched, derived = touched_experts("touched", BATCH, 8, 2)
    assert derived is not None
    point = Point({"batch": np.array([1.0, 2.0, 1e6])}, [derived])

    # of the second token's two choices each is new with 6/8
    assert point(touched) == pytest.approx([2.0, 2 + 2 * 6 / 8, 8.0])  # type: ignore[arg-type]


@pytest.mark.parametrize(("keys", "seen"), [(4.0, 4.0), (9.0, 6.0)])
def test_a_window_holds_keys_back_in_a_step(keys: float, seen: float) -> None:
    attention = ops(toy.llm(sliding_window=6), keys=keys)["attention"]

    assert attention.kv_reads == 2 * 2 * seen * 4  # K and V of one head of 4, batch 2


def test_a_window_bounds_the_cache_of_its_layers_alone() -> None:
    # [sliding, full]: 6 and 13 tokens of K and V of width 4, 2 bytes an element
    llm = toy.llm(sliding_window=6, attention_pattern=("sliding", "full"))
    tokens = np.array([5.0, 13.0])
    found = count(llm, text_tokens=tokens, visual_tokens=0).llm.kv_cache_bytes

    assert found.tolist() == [(5 + 5) * 8 * 2, (6 + 13) * 8 * 2]


def test_latent_attention_caches_the_latent_and_expands_all_of_it() -> None:
    # 2 heads; a step with 9 keys: latents [2 · 9, 5] → [2 · 9, 2 · (3 + 7)]
    llm = toy.llm(mla=LATENT, num_key_value_heads=2)
    step = ops(llm, keys=9.0)

    assert llm.cached_width == 5 + 2
    assert step["kv_b_proj"].flops == 2 * 18 * 5 * 20
    assert step["attention"].flops == 2 * (2 * 2 * 9) * (5 + 7)  # scores · (e + v) MACs
    assert step["o_proj"].flops == 2 * 2 * (2 * 7) * 8
    written = step["kv_a_layernorm"].kv_writes + step["apply_rotary_pos_emb"].kv_writes
    assert written == 2 * llm.cached_width


def test_layers_of_a_kind_are_one_block_with_words_of_their_own() -> None:
    dense_first = msgspec.structs.replace(EXPERTS, first_dense_layers=1)
    llm = toy.llm(
        num_hidden_layers=5,
        sliding_window=6,
        attention_pattern=("sliding", "full"),
        moe=dense_first,
    )
    blocks = decoder.prefill(
        llm, [LayerGroup(5, 5.0)], batch=1.0, text_tokens=5.0, attention="flash"
    )

    assert [(b.count, b.label) for b in blocks[1:-1]] == [
        (1, "sliding dense"),
        (2, "full experts"),
        (2, "sliding experts"),
    ]
    assert llm.layer_kind(0) == LayerKind(window=6, rotary=True, experts=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positions": "learned"}, "position_rows"),
        ({"position_rows": 7}, "position_rows"),
        ({"attention_pattern": ()}, "attention_pattern"),
        ({"parallel_norms": 1, "block_norms": "both"}, "parallel_norms"),
    ],
)
def test_fields_that_contradict_one_another(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy.llm(**fields)


def test_no_token_goes_to_more_experts_than_there_are() -> None:
    with pytest.raises(ValueError, match="num_experts_per_tok"):
        ExpertMixture(num_experts=2, num_experts_per_tok=3, intermediate_size=6)


def test_what_is_unlike_llama_is_named() -> None:
    assert toy.llm().unlike_llama == ()
    assert toy.llm(moe=EXPERTS, sliding_window=6).unlike_llama == ("sliding_window", "moe")
