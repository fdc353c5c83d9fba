"""The LLM: a decoder as blocks of ops, for a prompt or for one more token.

The list follows the decoders of `transformers` module by module, with Llama's names; `FUSIONS` says
where kernels are assumed to do several of its steps at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from roofline.model.architectures import LANGUAGE_MODELS, AttentionKind, LanguageArchitecture
from roofline.model.architectures.decoder_attention import attend
from roofline.model.architectures.decoder_mlp import dense_mlp, expert_mixture
from roofline.model.block import Block, LayerGroup, labelled
from roofline.model.op import Op
from roofline.model.ops import (
    SOFT_CAP_FLOPS,
    added_positions,
    embedding,
    linear,
    norm,
    residual,
    rotary_table,
)
from roofline.model.polynomial import Derived, Number, total
from roofline.model.variables import at_most, touched_experts
from roofline.specs.models import LanguageModel, LayerKind


class Sizes(NamedTuple):
    """How much a layer is given; tokens are those of a sequence."""

    batch: Number
    queries: Number
    keys: Number
    """In the cache, those of the queries included."""
    window_keys: Number
    """The same of a layer with a window."""
    mlp_tokens: Number
    touched: Number
    """Experts that any token goes to."""


def prefill(
    llm: LanguageModel,
    groups: Sequence[LayerGroup],
    *,
    batch: Number,
    text_tokens: Number,
    attention: AttentionKind,
) -> tuple[Block, ...]:
    """Run the prompt: all of a group's tokens are queries, and keys of the same layer.

    Those beyond a window are masked and computed all the same, as PyTorch's counter has it.
    """
    sizes = [
        Sizes(batch, g.tokens, g.tokens, g.tokens, g.tokens_after, touched)
        for g, (touched, _) in zip(groups, _touched_by_prompt(llm, groups, batch), strict=True)
    ]
    prompt = groups[0].tokens
    return (
        _stem(llm, batch, text_tokens=text_tokens, queries=prompt),
        *_layers(llm, groups, sizes, attention),
        _head(llm, batch=batch, queries=groups[-1].tokens_after),
    )


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
    touched, _ = _touched_by_step(llm, batch)
    sizes = [
        Sizes(batch, 1.0, g.tokens + step, in_window, 1.0, touched)
        for g, (in_window, _) in zip(groups, _in_window(llm, groups, step), strict=True)
    ]
    return (
        _stem(llm, batch, text_tokens=1.0, queries=1.0),
        *_layers(llm, groups, sizes, attention),
        _head(llm, batch=batch, queries=1.0),
    )


def cached(
    llm: LanguageModel, groups: Sequence[LayerGroup], *, batch: Number, steps: Number
) -> Number:
    """Elements in the KV cache after so many steps: a layer with a window holds at most that."""
    in_window = _in_window(llm, groups, steps, _HELD)
    tokens = [
        count * (held if kind.window else group.tokens + steps)
        for (group, kinds), (held, _) in zip(_kinds(llm, groups), in_window, strict=True)
        for kind, count in kinds.items()
    ]
    return batch * llm.cached_width * total(tokens)


def derived(
    llm: LanguageModel,
    groups: Sequence[LayerGroup],
    *,
    batch: Number,
    step: Number,
    steps: Number,
) -> tuple[Derived, ...]:
    """Keys in a window, and experts touched: what the formulas have that is no polynomial."""
    found = [
        *_in_window(llm, groups, step),
        *_in_window(llm, groups, steps, _HELD),
        *_touched_by_prompt(llm, groups, batch),
        _touched_by_step(llm, batch),
    ]
    return tuple(one for _, one in found if one is not None)


_HELD = "window_tokens_held"
_Variable = tuple[Number, Derived | None]


def _in_window(
    llm: LanguageModel,
    groups: Sequence[LayerGroup],
    step: Number,
    name: str = "window_keys",
) -> list[_Variable]:
    """For each group the keys of its layers with a window; all keys where no layer has one."""
    if llm.sliding_window is None:
        return [(group.tokens + step, None) for group in groups]
    return [
        at_most(_numbered(name, i), group.tokens + step, llm.sliding_window)
        for i, group in enumerate(groups)
    ]


def _touched_by_prompt(
    llm: LanguageModel, groups: Sequence[LayerGroup], batch: Number
) -> list[_Variable]:
    return [
        _touched(llm, _numbered("experts_of_prompt", i), batch * group.tokens_after)
        for i, group in enumerate(groups)
    ]


def _touched_by_step(llm: LanguageModel, batch: Number) -> _Variable:
    return _touched(llm, "experts_of_step", batch)


def _touched(llm: LanguageModel, name: str, tokens: Number) -> _Variable:
    if llm.moe is None:
        return 0.0, None
    return touched_experts(name, tokens, llm.moe.num_experts, llm.moe.num_experts_per_tok)


def _numbered(name: str, group: int) -> str:
    """Groups of layers have variables of their own."""
    return f"{name}_{group + 1}" if group else name


def _kinds(
    llm: LanguageModel, groups: Sequence[LayerGroup]
) -> Iterator[tuple[LayerGroup, dict[LayerKind, int]]]:
    first = 0
    for group in groups:
        yield group, llm.layer_kinds(first, group.layers)
        first += group.layers


def _layers(
    llm: LanguageModel,
    groups: Sequence[LayerGroup],
    sizes: Sequence[Sizes],
    attention: AttentionKind,
) -> Iterator[Block]:
    """Layers of one kind together, in the order of the first: what is alive is the same in any."""
    several = llm.layer_kinds(0, llm.num_hidden_layers).keys()
    labels = [label for _, label in labelled(groups)]
    for (_, kinds), given, label in zip(_kinds(llm, groups), sizes, labels, strict=True):
        for kind, count in kinds.items():
            words = " ".join(word for word in (label, *_words(kind, several)) if word)
            yield Block(count, _layer(llm, kind, given, attention), words)


def _words(kind: LayerKind, among: Iterable[LayerKind]) -> Iterator[str]:
    """What tells a layer apart from others of the model."""
    words = (
        (lambda k: k.window is not None, "sliding", "full"),
        (lambda k: k.rotary, "", "unrotated"),
        (lambda k: k.experts, "experts", "dense"),
    )
    for has, word, other in words:
        if len({has(one) for one in among}) > 1:
            yield word if has(kind) else other


def _layer(
    llm: LanguageModel, kind: LayerKind, sizes: Sizes, attention: AttentionKind
) -> tuple[Op, ...]:
    rows, mlp_rows = sizes.batch * sizes.queries, sizes.batch * sizes.mlp_tokens

    def attention_branch(source: str, target: str) -> tuple[Op, ...]:
        keys = sizes.window_keys if kind.window else sizes.keys
        counts = {"batch": sizes.batch, "queries": sizes.queries, "keys": keys}
        return attend(llm, kind, **counts, attention=attention, source=source, target=target)

    def mlp_branch(source: str, target: str) -> tuple[Op, ...]:
        if kind.experts and llm.moe is not None:
            counts = {"rows": mlp_rows, "touched": sizes.touched}
            return expert_mixture(llm, llm.moe, **counts, source=source, target=target)
        return dense_mlp(llm, rows=mlp_rows, source=source, target=target)

    def add(name: str, branch: str, rows: Number) -> Op:
        scaled = "residuals" in llm.scaled
        return residual(name, "hidden", branch, rows=rows, width=llm.hidden_size, scaled=scaled)

    if llm.parallel_norms:
        second = "mlp_normed" if llm.parallel_norms == 2 else "normed"
        return (
            _norm(llm, "input_layernorm", "hidden", "normed", rows),
            *attention_branch("normed", "attention_branch"),
            *(
                (_norm(llm, "post_attention_layernorm", "hidden", second, mlp_rows),)
                if llm.parallel_norms == 2
                else ()
            ),
            *mlp_branch(second, "branch"),
            add("attention_residual", "attention_branch", rows),
            add("mlp_residual", "branch", mlp_rows),
        )
    before, behind = llm.block_norms != "after", llm.block_norms != "before"
    source = "normed" if before else "hidden"
    first = _norm(llm, "input_layernorm", "hidden", "normed", rows)
    second_norm = _norm(llm, "post_attention_layernorm", "hidden", "normed", mlp_rows)
    return (
        *((first,) if before else ()),
        *attention_branch(source, "branch"),
        *((_norm(llm, "attention_output_norm", "branch", "branch", rows),) if behind else ()),
        add("attention_residual", "branch", rows),
        *((second_norm,) if before else ()),
        *mlp_branch(source, "branch"),
        *((_norm(llm, "mlp_output_norm", "branch", "branch", mlp_rows),) if behind else ()),
        add("mlp_residual", "branch", mlp_rows),
    )


def _norm(llm: LanguageModel, name: str, source: str, target: str, rows: Number) -> Op:
    """The model's norm over the width of its stream."""
    d = llm.hidden_size
    vectors = d * (llm.norm_weight + llm.norm_bias)
    return norm(name, source, target, rows=rows, width=d, function=llm.norm, vectors=vectors)


def _stem(llm: LanguageModel, batch: Number, *, text_tokens: Number, queries: Number) -> Block:
    """Look up text tokens among `queries` rows of the prompt; what positions need."""
    lookup = embedding(
        "embed_tokens",
        "hidden",
        rows=batch * text_tokens,
        width=llm.hidden_size,
        prompt_rows=batch * queries,
        table_rows=llm.vocab_size,
        scaled="embeddings" in llm.scaled,
    )
    ops = [lookup]
    if llm.positions == "rotary":
        ops.append(rotary_table("rotary_emb", "angles", queries=queries, head_dim=llm.rotary_size))
    elif llm.position_rows is not None:
        ops.append(
            added_positions(
                "embed_positions",
                "hidden",
                batch=batch,
                queries=queries,
                width=llm.hidden_size,
                table_rows=llm.position_rows,
            )
        )
    return Block(1, tuple(ops))


def _head(llm: LanguageModel, *, batch: Number, queries: Number) -> Block:
    """Final norm over all positions, logits of the last one only."""
    logits = linear(
        "lm_head",
        "normed",
        "logits",
        rows=batch,
        in_features=llm.hidden_size,
        out_features=llm.vocab_size,
        bias=llm.lm_head_bias,
        role="lm_head",
        resident=not llm.tie_word_embeddings,
    )
    factor = SOFT_CAP_FLOPS * (llm.final_logit_softcapping is not None) + ("logits" in llm.scaled)
    if factor:
        more = batch * llm.vocab_size * factor
        logits = replace(logits, vector_flops=logits.vector_flops + more)
    return Block(1, (_norm(llm, "norm", "hidden", "normed", batch * queries), logits))


LANGUAGE_MODELS.register(
    "language-model", LanguageArchitecture(prefill, decode, cached=cached, derived=derived)
)
