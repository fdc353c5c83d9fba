"""A Q-Former: learned queries read an image by cross-attention, in a BERT (Li et al. 2023, BLIP-2).

Names follow `transformers`' `Blip2QFormerModel` and `InstructBlipQFormerModel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roofline.model.architectures import CONNECTORS, Feed
from roofline.model.block import Block
from roofline.model.op import AttentionShape, Op
from roofline.model.ops import activation, flash_attention, layer_norm, linear, residual
from roofline.model.polynomial import Number
from roofline.specs.models import QFormer


def connect(
    connector: QFormer, feeds: Sequence[Feed], *, in_features: int, out_features: int
) -> tuple[Block, ...]:
    """[rows, in] of each image → [queries, out], whatever is left of the prompt's rows."""
    images = sum((feed.images for feed in feeds), 0.0)
    queries, d = connector.num_query_tokens, connector.hidden_size
    rows = images * queries
    projection = linear(
        "language_projection", "stream", "connected",
        rows=rows, in_features=d, out_features=out_features, bias=True,
    )  # fmt: skip
    every = connector.cross_attention_frequency
    layers = [
        Block(1, tuple(_layer(connector, feeds, in_features, crosses=i % every == 0)), f"{i}")
        for i in range(connector.num_hidden_layers)
    ]
    return (Block(1, tuple(_stem(connector, images))), *layers, Block(1, (projection,)))


def _stem(connector: QFormer, images: Number) -> Iterator[Op]:
    """Queries, words of the instruction behind them, and the norm of both."""
    d, tokens = connector.hidden_size, connector.num_query_tokens + connector.instruction_tokens
    yield Op(
        "query_tokens", "embedding", "vector", reads={}, writes={"stream": images * (tokens * d)},
        vectors=connector.num_query_tokens * d,
    )  # fmt: skip
    if connector.instruction_vocab_size:
        words = connector.instruction_vocab_size + connector.instruction_positions
        yield Op(
            "instruction_embeddings", "embedding", "vector", reads={}, writes={},
            weights=images * (2 * connector.instruction_tokens * d), role="embedding",
            resident_weights=float(words * d),
        )  # fmt: skip
    yield layer_norm("layernorm", "stream", "stream", rows=images * tokens, width=d)


def _layer(
    connector: QFormer, feeds: Sequence[Feed], in_features: int, *, crosses: bool
) -> Iterator[Op]:
    d, images = connector.hidden_size, sum((feed.images for feed in feeds), 0.0)
    queries, words = connector.num_query_tokens, connector.instruction_tokens
    rows, query_rows = images * (queries + words), images * queries
    itself = [(images, float(queries + words))]
    yield from _attention(connector, "attention", rows, [rows], d, itself, float(queries + words))
    if crosses:
        read = [feed.images * feed.features for feed in feeds]
        pictures = [(feed.images, float(feed.features)) for feed in feeds]
        yield from _attention(
            connector, "crossattention", query_rows, read, in_features, pictures, float(queries)
        )
    yield from _mlp(connector, "query", query_rows)
    if connector.instruction_vocab_size:
        yield from _mlp(connector, "text", images * words)


def _attention(
    connector: QFormer,
    name: str,
    rows: Number,
    key_rows: Sequence[Number],
    key_width: int,
    pictures: Sequence[tuple[Number, float]],
    queries: float,
) -> Iterator[Op]:
    """Queries of the stream, keys and values of the stream itself or of the image's features."""
    d, heads = connector.hidden_size, connector.num_attention_heads
    keys = sum(key_rows, 0.0)
    source = "stream" if name == "attention" else "features"

    def matmul(part: str, source: str, target: str, rows: Number, width: int) -> Op:
        return linear(
            f"{name}.{part}", source, target, rows=rows, in_features=width, out_features=d,
            bias=True,
        )  # fmt: skip

    yield matmul("query", "stream", "query", rows, d)
    yield matmul("key", source, "key", keys, key_width)
    yield matmul("value", source, "value", keys, key_width)
    for sequences, length in pictures:
        shape = AttentionShape(sequences, queries, length, heads, heads, d // heads)
        label = f"{name}.self" if len(pictures) == 1 else f"{name}.self_{length:g}"
        yield flash_attention(label, "query", "attended", shape, key_value=("key", "value"))
    yield matmul("output", "attended", "branch", rows, d)
    yield residual(f"{name}.residual", "stream", "branch", rows=rows, width=d)
    yield layer_norm(f"{name}.LayerNorm", "stream", "stream", rows=rows, width=d)


def _mlp(connector: QFormer, name: str, rows: Number) -> Iterator[Op]:
    """Of the queries or of the instruction's words, each with weights of its own."""
    d, f = connector.hidden_size, connector.intermediate_size
    yield linear(
        f"{name}.intermediate", "stream", "inner", rows=rows, in_features=d, out_features=f,
        bias=True,
    )  # fmt: skip
    yield activation(
        f"{name}.act", "inner", "activated", rows=rows, width=f, function=connector.hidden_act
    )
    yield linear(
        f"{name}.output", "activated", "branch", rows=rows, in_features=f, out_features=d,
        bias=True,
    )  # fmt: skip
    yield residual(f"{name}.residual", "stream", "branch", rows=rows, width=d)
    yield layer_norm(f"{name}.LayerNorm", "stream", "stream", rows=rows, width=d)


CONNECTORS.register("q-former", connect)
