"""The vision tower: a pre-norm ViT, up to the block whose output becomes the visual features.

Names follow `transformers`' `CLIPVisionModel`, its spelling of `pre_layrnorm` included, and its
`SiglipVisionModel`, which shares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec.structs import replace

from roofline.model.architectures import VISION_ENCODERS, AttentionKind, Pass
from roofline.model.block import Block, LayerGroup, labelled
from roofline.model.op import AttentionShape, Op
from roofline.model.ops import (
    activation,
    eager_attention,
    flash_attention,
    gated_activation,
    linear,
    residual,
    rotary,
    rotary_table,
    scale,
    weighted_norm,
)
from roofline.model.polynomial import Number, Polynomial
from roofline.specs.models import VisionEncoder

_TENSORS = {
    "q_proj": ("normed", "query"),
    "k_proj": ("normed", "key"),
    "v_proj": ("normed", "value"),
    "out_proj": ("attended", "branch"),
    "fc1": ("normed", "inner"),
    "fc2": ("activated", "branch"),
    "gate_proj": ("normed", "gate"),
    "up_proj": ("normed", "up"),
    "down_proj": ("activated", "branch"),
}


def encode(
    vision: VisionEncoder, passes: Sequence[Pass], *, attention: AttentionKind, normed: bool
) -> tuple[Block, ...]:
    """Run the pictures of all passes through as many blocks as the groups have layers."""
    layers = [
        Block(groups[0].layers, _layer(vision, passes, groups, attention, windowed), label)
        for groups, label, windowed in _runs(vision, passes)
    ]
    return (
        Block(1, tuple(_stem(vision, passes))),
        *layers,
        *_behind(vision, passes, attention, normed),
    )


def _runs(
    vision: VisionEncoder, passes: Sequence[Pass]
) -> Iterator[tuple[tuple[LayerGroup, ...], str, bool]]:
    """Consecutive blocks that cost the same: what they see of each pass, which they are, and
    whether their attention keeps to windows.
    """
    cuts: list[tuple[tuple[LayerGroup, ...], bool]] = []
    first = 0
    for groups in zip(*(one.groups for one in passes), strict=True):
        blocks = range(first, first + groups[0].layers)
        for windowed, run in groupby(blocks, vision.windowed):
            layers = len(list(run))
            cuts.append((tuple(replace(group, layers=layers) for group in groups), windowed))
        first = blocks.stop
    labels = labelled([groups[0] for groups, _ in cuts])
    for (groups, windowed), (_, label) in zip(cuts, labels, strict=True):
        yield groups, label, windowed


def _rows(passes: Sequence[Pass], tokens: Sequence[Number]) -> Number:
    """Of all pictures, where each of a pass has so many."""
    return sum((one.images * each for one, each in zip(passes, tokens, strict=True)), 0.0)


def _stem(vision: VisionEncoder, passes: Sequence[Pass]) -> Iterator[Op]:
    """Patches, positions, and the norm before the blocks."""
    d, views = vision.hidden_size, [one.view for one in passes]
    embeds = vision.position_table or vision.sequence(views[0]) > views[0].patches
    patches = linear(
        "patch_embedding",
        "pixel_values",
        "patches" if embeds else "hidden",
        rows=_rows(passes, [view.patches for view in views]),
        in_features=vision.patch_width,
        out_features=d,
        bias=vision.patch_bias,
    )
    pixels = _rows(passes, [vision.pixels(view) for view in views])
    yield replace(patches, reads={"pixel_values": pixels})  # edges that are no patch, too
    if embeds:
        yield _position_embedding(vision, passes)
    rows = _rows(passes, [vision.sequence(view) for view in views])
    if vision.pre_norm:
        yield weighted_norm(vision.norm, "pre_layrnorm", "hidden", "hidden", rows=rows, width=d)
    if "rotary" in vision.positions:
        yield rotary_table("rotary_emb", "angles", queries=rows, head_dim=vision.head_size)


def _position_embedding(vision: VisionEncoder, passes: Sequence[Pass]) -> Op:
    """Prepend the class token and add the position embedding: [images, tokens, d]."""
    d, views = vision.hidden_size, [one.view for one in passes]
    size = _rows(passes, [vision.sequence(view) * d for view in views])
    learned = vision.position_table + vision.class_token + vision.register_tokens
    return Op(
        "position_embedding",
        "embedding",
        "vector",
        reads={"patches": _rows(passes, [view.patches * d for view in views])},
        writes={"hidden": size},
        vector_flops=size,
        vectors=learned * d,
    )


def _behind(
    vision: VisionEncoder, passes: Sequence[Pass], attention: AttentionKind, normed: bool
) -> Iterator[Block]:
    """The last norm, where features are behind it; and what is loaded and never runs: blocks
    behind the features, and the head that makes one row of all.
    """
    tokens = [float(vision.sequence(one.view)) for one in passes]
    left = vision.num_hidden_layers - sum(group.layers for group in passes[0].groups)
    groups = tuple(LayerGroup(left, each) for each in tokens)
    rows, d = _rows(passes, tokens), vision.hidden_size
    yield Block(left, _layer(vision, passes, groups, attention, windowed=False), idle=True)
    if vision.last_norm:
        runs = normed and vision.last_norm == "features" and not left
        last = weighted_norm(vision.norm, "post_layernorm", "hidden", "hidden", rows=rows, width=d)
        yield Block(1, (last,), idle=not runs)
    if vision.mask_token:
        held = Op("mask_token", "embedding", "vector", reads={}, writes={}, vectors=d)
        yield Block(1, (held,), idle=True)
    if vision.pooling_head:
        yield Block(1, _pooling_head(vision, passes, rows), idle=True)


def _pooling_head(vision: VisionEncoder, passes: Sequence[Pass], rows: Number) -> tuple[Op, ...]:
    """One learned query a picture attends to all rows; norm and MLP of what it gets (SigLIP)."""
    d, f, pictures = vision.hidden_size, vision.intermediate_size, _rows(passes, [1] * len(passes))

    def matmul(name: str, rows: Number, in_features: int, out_features: int) -> Op:
        return linear(
            name, "hidden", "pooled", rows=rows, in_features=in_features,
            out_features=out_features, bias=True,
        )  # fmt: skip

    probe = Op("head.probe", "embedding", "vector", reads={}, writes={"pooled": d}, vectors=d)
    return (
        probe,
        matmul("head.q_proj", pictures, d, d),
        matmul("head.k_proj", rows, d, d),
        matmul("head.v_proj", rows, d, d),
        matmul("head.out_proj", pictures, d, d),
        weighted_norm("layer_norm", "head.layernorm", "pooled", "pooled", rows=pictures, width=d),
        matmul("head.fc1", pictures, d, f),
        matmul("head.fc2", pictures, f, d),
    )


def _layer(
    vision: VisionEncoder,
    passes: Sequence[Pass],
    groups: Sequence[LayerGroup],
    attention: AttentionKind,
    windowed: bool,
) -> tuple[Op, ...]:
    d = vision.hidden_size
    rows = _rows(passes, [group.tokens for group in groups])
    query_rows = _rows(passes, [group.queries for group in groups])
    mlp_rows = _rows(passes, [group.tokens_after for group in groups])
    linear_rows = {"q_proj": rows, "k_proj": rows, "v_proj": rows, "out_proj": query_rows}
    linears = {
        w.name: linear(
            w.name,
            *_TENSORS[w.name],
            rows=linear_rows.get(w.name, mlp_rows),
            in_features=w.in_features,
            out_features=w.out_features,
            bias=vision.has_bias(w.name),
        )
        for w in vision.layer_linears
    }
    branch = [
        scale(f"layer_scale{i}", "branch", rows=each, width=d) if vision.layer_scale else None
        for i, each in ((1, query_rows), (2, mlp_rows))
    ]
    ops = (
        weighted_norm(vision.norm, "layer_norm1", "hidden", "normed", rows=rows, width=d),
        linears["q_proj"],
        linears["k_proj"],
        linears["v_proj"],
        *_positioned(vision, rows),
        *_attention(vision, passes, groups, attention, windowed),
        linears["out_proj"],
        branch[0],
        residual("attention_residual", "hidden", "branch", rows=query_rows, width=d),
        weighted_norm(vision.norm, "layer_norm2", "hidden", "normed", rows=mlp_rows, width=d),
        *_mlp(vision, linears, mlp_rows),
        branch[1],
        residual("mlp_residual", "hidden", "branch", rows=mlp_rows, width=d),
    )
    return tuple(op for op in ops if op)


def _positioned(vision: VisionEncoder, rows: Number) -> Iterator[Op]:
    """Queries and keys normalised and rotated, as the tower has it."""
    e, head = vision.attention_width, vision.head_size
    if vision.qk_norm:
        each = head if vision.qk_norm == "head" else e
        for name, tensor in (("q_norm", "query"), ("k_norm", "key")):
            yield weighted_norm(
                "rms_norm", name, tensor, tensor, rows=rows * (e // each), width=each
            )
    if "rotary" in vision.positions:
        yield rotary(
            "apply_rotary_pos_emb",
            "query",
            "key",
            "angles",
            "query",
            rows=rows,
            queries=rows,
            width=e,
            kv_width=e,
            head_dim=head,
            key_target="key",
        )


def _mlp(vision: VisionEncoder, linears: dict[str, Op], rows: Number) -> Iterator[Op]:
    f = vision.intermediate_size
    if vision.gated_mlp:
        yield linears["gate_proj"]
        yield linears["up_proj"]
        yield gated_activation(
            "activation_fn", "gate", "up", "activated",
            rows=rows, width=f, function=vision.hidden_act,
        )  # fmt: skip
        yield linears["down_proj"]
    else:
        yield linears["fc1"]
        yield activation(
            "activation_fn", "inner", "activated", rows=rows, width=f, function=vision.hidden_act
        )
        yield linears["fc2"]


def _attention(
    vision: VisionEncoder,
    passes: Sequence[Pass],
    groups: Sequence[LayerGroup],
    attention: AttentionKind,
    windowed: bool,
) -> Iterator[Op]:
    """Once for each sequence length that there is."""
    heads, head = vision.num_attention_heads, vision.head_size
    lengths: dict[tuple[Number, Number], Number] = {}
    for one, group in zip(passes, groups, strict=True):
        pieces: dict[tuple[Number, Number], int] = {(group.queries, group.tokens): 1}
        if windowed and vision.windows:
            found = vision.windows.lengths(one.view).items()
            pieces = {(float(n), float(n)): count for n, count in found}
        for length, count in pieces.items():
            known = lengths.get(length)
            sequences = one.images * count if count > 1 else one.images
            lengths[length] = sequences if known is None else known + sequences
    shapes = [
        AttentionShape(sequences, queries, keys, heads, heads, head)
        for (queries, keys), sequences in lengths.items()
    ]
    whole = sum((Polynomial.of(shape.query_elements) for shape in shapes), Polynomial({}))
    key_value = ("key", "value")
    for shape in shapes:
        ops = (
            (flash_attention("attention", "query", "attended", shape, key_value=key_value),)
            if attention == "flash" and not groups[0].materialised
            else eager_attention("query", "attended", shape, key_value=key_value)
        )
        if len(shapes) == 1:
            yield from ops
            continue
        for op in ops:
            resident = {"attended": whole} if "attended" in op.writes else {}
            yield replace(op, name=f"{op.name}_{shape.keys:g}", resident=resident)


VISION_ENCODERS.register("vision-encoder", encode)
