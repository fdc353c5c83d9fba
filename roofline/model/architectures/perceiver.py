"""A perceiver resampler: learned queries read an image and themselves (Jaegle et al. 2021).

Names follow `transformers`' `Idefics2PerceiverResampler`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roofline.model.architectures import CONNECTORS, Feed
from roofline.model.block import Block
from roofline.model.op import AttentionShape, Op
from roofline.model.ops import flash_attention, gated_activation, linear, residual, rms_norm
from roofline.model.polynomial import Number
from roofline.specs.models import Perceiver

_MLP_RATIO = 4
"""Inner width of a layer's MLP, by that of its rows."""


def connect(
    connector: Perceiver, feeds: Sequence[Feed], *, in_features: int, out_features: int
) -> tuple[Block, ...]:
    """[rows, in] of each image → [queries, out]."""
    d, f = out_features, connector.intermediate_size
    rows = sum((feed.images * feed.features for feed in feeds), 0.0)
    latents = sum((feed.images for feed in feeds), 0.0) * connector.num_query_tokens
    projection = _gated_mlp(connector, "modality_projection", "features", "context", rows,
                            (in_features, f, d))  # fmt: skip
    queries = Op(
        "latents", "embedding", "vector", reads={}, writes={"latents": latents * d},
        vectors=connector.num_query_tokens * d,
    )  # fmt: skip
    last = rms_norm("norm", "latents", "connected", rows=latents, width=d)
    layer = tuple(_layer(connector, feeds, rows, latents, d))
    return (
        Block(1, (*projection, queries)),
        Block(connector.num_hidden_layers, layer),
        Block(1, (last,)),
    )


def _layer(
    connector: Perceiver, feeds: Sequence[Feed], rows: Number, latents: Number, d: int
) -> Iterator[Op]:
    heads, kv_heads, head = (
        connector.num_attention_heads,
        connector.num_key_value_heads,
        connector.head_dim,
    )
    both = rows + latents

    def matmul(name: str, source: str, target: str, rows: Number, width: int, out: int) -> Op:
        return linear(name, source, target, rows=rows, in_features=width, out_features=out)

    yield rms_norm("input_latents_norm", "latents", "normed_latents", rows=latents, width=d)
    yield rms_norm("input_context_norm", "context", "normed", rows=rows, width=d)
    joined = {"normed_latents": latents * d, "normed": rows * d}
    yield Op("concat", "activation", "vector", reads=joined, writes={"both": both * d})
    yield matmul("q_proj", "normed_latents", "query", latents, d, heads * head)
    yield matmul("k_proj", "both", "key", both, d, kv_heads * head)
    yield matmul("v_proj", "both", "value", both, d, kv_heads * head)
    for feed in feeds:
        keys = float(feed.features + connector.num_query_tokens)
        shape = AttentionShape(
            feed.images, float(connector.num_query_tokens), keys, heads, kv_heads, head
        )
        name = "attention" if len(feeds) == 1 else f"attention_{keys:g}"
        yield flash_attention(name, "query", "attended", shape, key_value=("key", "value"))
    yield matmul("o_proj", "attended", "branch", latents, heads * head, d)
    yield residual("attention_residual", "latents", "branch", rows=latents, width=d)
    yield rms_norm("post_attention_layernorm", "latents", "normed_latents", rows=latents, width=d)
    yield from _gated_mlp(connector, "mlp", "normed_latents", "branch", latents,
                          (d, _MLP_RATIO * d, d))  # fmt: skip
    yield residual("mlp_residual", "latents", "branch", rows=latents, width=d)


def _gated_mlp(
    connector: Perceiver,
    name: str,
    source: str,
    target: str,
    rows: Number,
    widths: tuple[int, int, int],
) -> Iterator[Op]:
    before, inner, after = widths
    for part in ("gate", "up"):
        yield linear(
            f"{name}.{part}_proj", source, part, rows=rows, in_features=before,
            out_features=inner,
        )  # fmt: skip
    yield gated_activation(
        f"{name}.act_fn", "gate", "up", "activated", rows=rows, width=inner,
        function=connector.hidden_act,
    )  # fmt: skip
    yield linear(
        f"{name}.down_proj", "activated", target, rows=rows, in_features=inner,
        out_features=after,
    )  # fmt: skip


CONNECTORS.register("perceiver", connect)
