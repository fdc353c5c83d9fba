"""The LLM: a Llama-style decoder as blocks of ops, for a prompt or for one more token.

The list follows `transformers`' `LlamaForCausalLM` module by module; `FUSIONS` says where
kernels are assumed to do several of its steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from roofline.model.architectures import LANGUAGE_MODELS, AttentionKind, LanguageArchitecture
from roofline.model.block import Block, LayerGroup, labelled
from roofline.model.op import AttentionShape, Op
from roofline.model.ops import (
    eager_attention,
    embedding,
    flash_attention,
    gated_activation,
    linear,
    residual,
    rms_norm,
    rotary,
    rotary_table,
)
from roofline.model.polynomial import Number
from roofline.specs.models import LanguageModel

_MLP = ("gate_proj", "up_proj", "down_proj")
_TENSORS = {
    "q_proj": ("normed", "query"),
    "k_proj": ("normed", "key"),
    "v_proj": ("normed", None),
    "o_proj": ("attended", "branch"),
    "gate_proj": ("normed", "gate"),
    "up_proj": ("normed", "up"),
    "down_proj": ("activated", "branch"),
}
"""Which activation each weight matrix reads and writes; v goes to the KV cache."""


def prefill(
    llm: LanguageModel,
    groups: Sequence[LayerGroup],
    *,
    batch: Number,
    text_tokens: Number,
    attention: AttentionKind,
) -> tuple[Block, ...]:
    """Run the prompt: all of a group's tokens are queries, and keys of the same layer."""
    prompt = groups[0].tokens
    layers = [
        Block(s.layers, _layer(llm, s, batch, s.tokens, s.tokens, attention), label)
        for s, label in labelled(groups)
    ]
    head = _head(llm, batch=batch, queries=groups[-1].tokens_after)
    lookup = embedding(
        "embed_tokens",
        "hidden",
        rows=batch * text_tokens,
        width=llm.hidden_size,
        prompt_rows=batch * prompt,
        table_rows=llm.vocab_size,
    )
    table = rotary_table("rotary_emb", "angles", queries=prompt, head_dim=llm.head_size)
    return (Block(1, (lookup, table)), *layers, head)


def decode(
    llm: LanguageModel,
    groups: Sequence[LayerGroup],
    *,
    batch: Number,
    step: Number,
    attention: AttentionKind,
) -> tuple[Block, ...]:
    """Run one token per sequence against what the groups left in the KV cache plus `step` tokens.

    `step` counts the new token itself: it is 1 in the first step.
    """
    layers = [
        Block(
            s.layers,
            _layer(llm, LayerGroup(s.layers, 1.0), batch, 1.0, s.tokens + step, attention),
            label,
        )
        for s, label in labelled(groups)
    ]
    lookup = embedding(
        "embed_tokens",
        "hidden",
        rows=batch,
        width=llm.hidden_size,
        prompt_rows=batch,
        table_rows=llm.vocab_size,
    )
    table = rotary_table("rotary_emb", "angles", queries=1.0, head_dim=llm.head_size)
    return (Block(1, (lookup, table)), *layers, _head(llm, batch=batch, queries=1.0))


def _layer(
    llm: LanguageModel,
    group: LayerGroup,
    batch: Number,
    queries: Number,
    keys: Number,
    attention: AttentionKind,
) -> tuple[Op, ...]:
    d = llm.hidden_size
    rows, mlp_rows = batch * queries, batch * group.tokens_after
    shape = AttentionShape(
        batch,
        queries,
        keys,
        llm.num_attention_heads,
        llm.kv_heads,
        llm.head_size,
        causal=queries == keys,
    )
    linears = {
        w.name: linear(
            w.name,
            *_TENSORS[w.name],
            rows=mlp_rows if w.name in _MLP else rows,
            in_features=w.in_features,
            out_features=w.out_features,
            bias=llm.has_bias(w.name),
        )
        for w in llm.layer_linears
    }
    attend = (
        (flash_attention("attention", "rotated", "attended", shape, key_value=None),)
        if attention == "flash"
        else eager_attention("rotated", "attended", shape, key_value=None)
    )
    return (
        rms_norm("input_layernorm", "hidden", "normed", rows=rows, width=d),
        linears["q_proj"],
        linears["k_proj"],
        linears["v_proj"],
        rotary(
            "apply_rotary_pos_emb",
            "query",
            "key",
            "angles",
            "rotated",
            rows=rows,
            queries=queries,
            width=llm.attention_width,
            kv_width=llm.kv_width,
            head_dim=llm.head_size,
        ),
        *attend,
        linears["o_proj"],
        residual("attention_residual", "hidden", "branch", rows=rows, width=d),
        rms_norm("post_attention_layernorm", "hidden", "normed", rows=mlp_rows, width=d),
        linears["gate_proj"],
        linears["up_proj"],
        gated_activation(
            "act_fn", "gate", "up", "activated", rows=mlp_rows, width=llm.intermediate_size
        ),
        linears["down_proj"],
        residual("mlp_residual", "hidden", "branch", rows=mlp_rows, width=d),
    )


def _head(llm: LanguageModel, *, batch: Number, queries: Number) -> Block:
    """Final norm over all positions, logits of the last one only."""
    d = llm.hidden_size
    norm = rms_norm("norm", "hidden", "normed", rows=batch * queries, width=d)
    logits = linear(
        "lm_head",
        "normed",
        "logits",
        rows=batch,
        in_features=d,
        out_features=llm.vocab_size,
        role="lm_head",
        resident=not llm.tie_word_embeddings,
    )
    return Block(1, (norm, logits))


LANGUAGE_MODELS.register("language-model", LanguageArchitecture(prefill, decode))
