"""The vision tower: a pre-norm ViT, up to the block whose output becomes the visual features.

Names follow `transformers`' `CLIPVisionModel`, its spelling of `pre_layrnorm` included, and its
`SiglipVisionModel`, which shares them.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from roofline.model.architectures import VISION_ENCODERS, AttentionKind
from roofline.model.block import Block, LayerGroup, labelled
from roofline.model.op import AttentionShape, Op
from roofline.model.ops import (
    activation,
    eager_attention,
    flash_attention,
    layer_norm,
    linear,
    residual,
)
from roofline.model.polynomial import Number
from roofline.specs.models import VisionEncoder

_TENSORS = {
    "q_proj": ("normed", "query"),
    "k_proj": ("normed", "key"),
    "v_proj": ("normed", "value"),
    "out_proj": ("attended", "branch"),
    "fc1": ("normed", "inner"),
    "fc2": ("activated", "branch"),
}


def encode(
    vision: VisionEncoder, groups: Sequence[LayerGroup], *, images: Number, attention: AttentionKind
) -> tuple[Block, ...]:
    """Run `images` images through as many blocks as the groups have layers."""
    d = vision.hidden_size
    patches = linear(
        "patch_embedding",
        "pixel_values",
        "patches",
        rows=images * vision.patches,
        in_features=vision.patch_width,
        out_features=d,
        bias=vision.patch_bias,
    )
    rows = images * vision.tokens
    pixels = images * (vision.num_channels * vision.image_size_px**2)
    patches = replace(patches, reads={"pixel_values": pixels})  # edges that are no patch, too
    stem = [patches, _position_embedding(vision, images)]
    if vision.pre_norm:
        stem.append(layer_norm("pre_layrnorm", "hidden", "hidden", rows=rows, width=d))
    layers = [
        Block(s.layers, _layer(vision, s, images, attention), label)
        for s, label in labelled(groups)
    ]
    return (Block(1, tuple(stem)), *layers, *_behind(vision, groups, images, attention))


def _behind(
    vision: VisionEncoder, groups: Sequence[LayerGroup], images: Number, attention: AttentionKind
) -> tuple[Block, ...]:
    """What is loaded and never runs: blocks behind the features, and the last norm."""
    left = vision.num_hidden_layers - sum(group.layers for group in groups)
    layer = _layer(vision, LayerGroup(left, float(vision.tokens)), images, attention)
    norm = layer_norm(
        "post_layernorm",
        "hidden",
        "hidden",
        rows=images * vision.tokens,
        width=vision.hidden_size,
    )
    return Block(left, layer, idle=True), Block(1, (norm,), idle=True)


def _position_embedding(vision: VisionEncoder, images: Number) -> Op:
    """Prepend the class token and add the position embedding: [images, tokens, d]."""
    d = vision.hidden_size
    size = images * (vision.tokens * d)
    return Op(
        "position_embedding",
        "embedding",
        "vector",
        reads={"patches": images * (vision.patches * d)},
        writes={"hidden": size},
        vector_flops=size,
        vectors=(vision.tokens + vision.class_token) * d,
    )


def _layer(
    vision: VisionEncoder, group: LayerGroup, images: Number, attention: AttentionKind
) -> tuple[Op, ...]:
    d, heads = vision.hidden_size, vision.num_attention_heads
    rows, mlp_rows = images * group.tokens, images * group.tokens_after
    query_rows = images * group.queries
    shape = AttentionShape(images, group.queries, group.tokens, heads, heads, d // heads)
    linear_rows = {"out_proj": query_rows, "fc1": mlp_rows, "fc2": mlp_rows}
    linears = {
        w.name: linear(
            w.name,
            *_TENSORS[w.name],
            rows=linear_rows.get(w.name, rows),
            in_features=w.in_features,
            out_features=w.out_features,
            bias=True,
        )
        for w in vision.layer_linears
    }
    key_value = ("key", "value")
    attend = (
        (flash_attention("attention", "query", "attended", shape, key_value=key_value),)
        if attention == "flash" and not group.materialised
        else eager_attention("query", "attended", shape, key_value=key_value)
    )
    return (
        layer_norm("layer_norm1", "hidden", "normed", rows=rows, width=d),
        linears["q_proj"],
        linears["k_proj"],
        linears["v_proj"],
        *attend,
        linears["out_proj"],
        residual("attention_residual", "hidden", "branch", rows=query_rows, width=d),
        layer_norm("layer_norm2", "hidden", "normed", rows=mlp_rows, width=d),
        linears["fc1"],
        activation(
            "activation_fn",
            "inner",
            "activated",
            rows=mlp_rows,
            width=vision.intermediate_size,
            function=vision.hidden_act,
        ),
        linears["fc2"],
        residual("mlp_residual", "hidden", "branch", rows=mlp_rows, width=d),
    )


VISION_ENCODERS.register("vision-encoder", encode)
