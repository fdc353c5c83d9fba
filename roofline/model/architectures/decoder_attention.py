"""Attention of a decoder's layer, from what it reads to what it adds to the stream."""

from __future__ import annotations

from roofline.model.architectures import AttentionKind
from roofline.model.op import AttentionShape, MatmulShape, Op
from roofline.model.ops import eager_attention, flash_attention, linear, norm, rotary
from roofline.model.polynomial import Number
from roofline.specs.models import LanguageModel, LatentAttention, LayerKind


def attend(
    llm: LanguageModel,
    kind: LayerKind,
    *,
    batch: Number,
    queries: Number,
    keys: Number,
    attention: AttentionKind,
    source: str,
    target: str,
) -> tuple[Op, ...]:
    """[batch · queries, d] → the same: projections, the attention to `keys` keys, its output."""
    shape = AttentionShape(
        batch,
        queries,
        keys,
        llm.num_attention_heads,
        llm.num_attention_heads if llm.mla else llm.kv_heads,
        llm.head_size,
        causal=queries == keys,
        value_dim=llm.mla.v_head_dim if llm.mla else None,
    )
    if llm.mla is not None:
        before = _latent(llm, llm.mla, shape, source)
        query, key_value = "rotated", ("expanded_key", "expanded")
    else:
        before = _projected(llm, kind, batch, queries, source)
        query, key_value = "rotated" if kind.rotary else "query", None
    flags = {
        "soft_cap": llm.attn_logit_softcapping is not None,
        "sinks": llm.attention_sinks,
    }
    kernels = (
        (flash_attention("attention", query, "attended", shape, key_value=key_value, **flags),)
        if attention == "flash"
        else eager_attention(query, "attended", shape, key_value=key_value, **flags)
    )
    output = linear(
        "o_proj",
        "attended",
        target,
        rows=batch * queries,
        in_features=llm.num_attention_heads * shape.value_size,
        out_features=llm.hidden_size,
        bias=llm.output_bias,
    )
    return (*before, *kernels, output)


def _projected(
    llm: LanguageModel, kind: LayerKind, batch: Number, queries: Number, source: str
) -> tuple[Op, ...]:
    """Queries; keys and values into the cache, the keys by the last op that works on them."""
    rows = batch * queries
    widths = {"q": llm.attention_width, "k": llm.kv_width, "v": llm.kv_width}
    key = "key" if kind.rotary or llm.qk_norm else None
    q, k, v = (
        linear(
            f"{name}_proj",
            source,
            written,
            rows=rows,
            in_features=llm.hidden_size,
            out_features=widths[name],
            bias=llm.attention_bias,
        )
        for name, written in (("q", "query"), ("k", key), ("v", None))
    )
    ops = [q, k, v]
    if llm.qk_norm is not None:
        ops += _query_key_norms(llm, rows, cached=not kind.rotary)
    if kind.rotary:
        ops.append(
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
                head_dim=llm.rotary_size,
                share=llm.rotary_size / llm.head_size,
            )
        )
    return tuple(ops)


def _query_key_norms(llm: LanguageModel, rows: Number, *, cached: bool) -> list[Op]:
    """Norms of queries and keys; `cached` if those of the keys write to the cache."""
    spec = llm.qk_norm
    assert spec is not None

    def of(name: str, tensor: str, target: str | None, heads: int) -> Op:
        width = heads * llm.head_size
        held = llm.head_size if (spec.over, spec.weights) == ("head", "shared") else width
        return norm(
            name,
            tensor,
            target,
            rows=rows,
            width=width,
            function=spec.function,
            vectors=0 if spec.weights == "none" else held * (1 + spec.bias),
        )

    return [
        of("q_norm", "query", "query", llm.num_attention_heads),
        of("k_norm", "key", None if cached else "key", llm.kv_heads),
    ]


def _latent(
    llm: LanguageModel, mla: LatentAttention, shape: AttentionShape, source: str
) -> tuple[Op, ...]:
    """Queries, keys and values of latent attention, as transformers computes them.

    The cache holds the normalised latent and the rotated part of the keys; every step makes keys
    and values of all heads of the whole cache anew.
    """
    d, heads, rows = llm.hidden_size, shape.heads, shape.batch * shape.queries
    cached = shape.batch * shape.keys

    def project(name: str, read: str, written: str, i: int, o: int, *, bias: bool) -> Op:
        return linear(name, read, written, rows=rows, in_features=i, out_features=o, bias=bias)

    width, bias = llm.attention_width, llm.attention_bias
    if mla.q_lora_rank is None:
        ops = [project("q_proj", source, "query", d, width, bias=False)]
    else:
        rank = mla.q_lora_rank
        ops = [
            project("q_a_proj", source, "query_latent", d, rank, bias=bias),
            _latent_norm("q_a_layernorm", "query_latent", "query_latent", rows, rank),
            project("q_b_proj", "query_latent", "query", rank, width, bias=False),
        ]
    latent = mla.kv_lora_rank + mla.qk_rope_head_dim
    made = heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    ops += [
        project("kv_a_proj_with_mqa", source, "latent", d, latent, bias=bias),
        _latent_norm("kv_a_layernorm", "latent", None, rows, mla.kv_lora_rank),
        rotary(
            "apply_rotary_pos_emb",
            "query",
            "latent",
            "angles",
            "rotated",
            rows=rows,
            queries=shape.queries,
            width=width,
            kv_width=mla.qk_rope_head_dim,
            head_dim=mla.qk_rope_head_dim,
            share=(heads + 1) * mla.qk_rope_head_dim / (width + mla.qk_rope_head_dim),
        ),
        Op(
            "kv_b_proj",
            "linear",
            "matmul",
            reads={},
            writes={"expanded": cached * made},
            kv_reads=cached * mla.kv_lora_rank,
            flops=2 * cached * mla.kv_lora_rank * made,
            weights=mla.kv_lora_rank * made,
            shape=MatmulShape(cached, mla.kv_lora_rank, made),
        ),
        Op(
            "expand_kv",
            "activation",
            "vector",
            reads={"expanded": cached * (heads * mla.qk_nope_head_dim)},
            writes={"expanded_key": shape.key_elements},
            kv_reads=cached * mla.qk_rope_head_dim,
            launches=2,  # what is rotated, and what is not
        ),
    ]
    return tuple(ops)


def _latent_norm(name: str, source: str, target: str | None, rows: Number, width: int) -> Op:
    return norm(name, source, target, rows=rows, width=width, function="rms_norm", vectors=width)
