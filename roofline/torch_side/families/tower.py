"""Run a vision tower of `transformers`, only as far as needed, and take its blocks apart.

Made for `CLIPVisionModel` and towers that name their parts as it does (SigLIP). Linear and
LayerNorm modules are always called as modules, so that hooks, adapters and quantized weights work.
Shapes: B images, T tokens, C channels, H heads of e = C / H channels.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from roofline.errors import InputError

if TYPE_CHECKING:
    from roofline.torch_side.reduce.methods.base import Reduction, VisionBlocks


@dataclass(frozen=True)
class Encoded:
    """What came out of a tower."""

    features: Tensor
    """Output of the last block that ran: [B, T, C], class token first where there is one."""
    queries: Tensor | None = None
    """q_proj's output: [B, T, C], or [B, 1, C], the class token's, for the first block not run."""
    keys: Tensor | None = None
    """k_proj's output: [B, T, C]."""
    reduction: Reduction | None = None
    """Visual tokens left, where a reducer acted inside the tower."""


def encode(
    tower: nn.Module,
    pixel_values: Tensor,
    blocks: int,
    *,
    reducer: VisionBlocks | None = None,
    attention_of: int | None = None,
    class_token: bool | None = None,
) -> Encoded:
    """Features after the first `blocks` blocks of a tower; later blocks never run.

    tower: a CLIPVisionModel, or a model whose `vision_model` is laid out like one.
    pixel_values: [B, 3, height, width].
    blocks: LLaVA's `hidden_states[-2]` of 24 blocks is the output of 23. Without a reducer each
    block's own `forward` runs: features are bit-equal to `hidden_states[blocks]`.
    reducer: runs the blocks in place of their own `forward`; it sees queries and keys itself.
    attention_of: index of a block whose queries and keys are wanted, as its q_proj and k_proj
    return them for LN1 of its input, biases included. Of a block that runs anyway they are taken
    as they come by. Of the first block that does not run (index `blocks`) only LN1 and k_proj run
    on all tokens, and q_proj on the class token alone: queries are [B, 1, C].
    class_token: whether token 0 is one; found out from the embeddings if not given. Without one,
    queries are always those of all tokens.
    """
    inner: Any = getattr(tower, "vision_model", tower)
    layers = inner.encoder.layers
    if class_token is None:
        class_token = hasattr(inner.embeddings, "class_embedding")
    _check(len(layers), blocks, attention_of)
    if reducer is not None and not class_token:
        raise InputError("reducers inside the ViT need its class token; this tower has none")

    hidden = inner.embeddings(pixel_values)
    if hasattr(inner, "pre_layrnorm"):
        hidden = inner.pre_layrnorm(hidden)
    if reducer is not None:
        hidden = reducer.start(hidden, blocks)
    queries = keys = None
    for index, layer in enumerate(layers[:blocks]):
        if reducer is not None:
            hidden = reducer.block(layer, hidden, index)
        elif index == attention_of:
            hidden, queries, keys = _watched(layer, hidden)
        else:
            hidden = layer(hidden, None)
    if attention_of == blocks:
        queries, keys = queries_and_keys(tower, hidden, blocks, class_token)
    return Encoded(hidden, queries, keys, None if reducer is None else reducer.finish(hidden))


def queries_and_keys(
    tower: nn.Module, hidden: Tensor, block: int, class_token: bool | None = None
) -> tuple[Tensor, Tensor]:
    """LN1, q_proj and k_proj of a block that does not run, for its input [B, T, C].

    Queries of the class token alone, [B, 1, C], where there is one; keys [B, T, C].
    """
    inner: Any = getattr(tower, "vision_model", tower)
    if class_token is None:
        class_token = hasattr(inner.embeddings, "class_embedding")
    layer = inner.encoder.layers[block]
    normed = layer.layer_norm1(hidden)
    queries = layer.self_attn.q_proj(normed[:, :1] if class_token else normed)
    return queries, layer.self_attn.k_proj(normed)


def split_heads(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block's input [B, T, C], after LN1: [B, H, T, e] each."""
    attention = layer.self_attn
    normed = layer.layer_norm1(hidden)
    query, key, value = (
        projection(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    return query, key, value


def attend(
    layer: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Attention and out_proj: query [B, H, Q, e], key and value [B, H, T, e] → [B, Q, C].

    bias: [B, T], added to all logits of a key. Two matmuls where the model's configuration says
    "eager", torch's fused kernel otherwise: 4·Q·T·C FLOPs an image either way.
    """
    attention = layer.self_attn
    if attention.config._attn_implementation == "eager":
        mixed = probabilities(layer, query, key, bias).to(query.dtype) @ value
    else:
        mask = None if bias is None else bias[:, None, None].to(query.dtype)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=attention.scale
        )
    return project_out(layer, mixed)


def probabilities(layer: Any, query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax of the logits: [B, H, Q, T], fp32 (or more precise, where the model is).

    2·Q·T·C FLOPs an image.
    """
    logits: Tensor = query @ key.transpose(-1, -2) * layer.self_attn.scale
    if bias is not None:
        logits = logits + bias[:, None, None].to(logits.dtype)
    precise = torch.promote_types(logits.dtype, torch.float32)
    return functional.softmax(logits, dim=-1, dtype=precise)


def project_out(layer: Any, mixed: Tensor) -> Tensor:
    """out_proj over all heads: [B, H, Q, e] → [B, Q, C]."""
    output: Tensor = layer.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
    return output


def feed_forward(layer: Any, hidden: Tensor) -> Tensor:
    """A block's second half, residual included: [B, T, C]."""
    output: Tensor = hidden + layer.mlp(layer.layer_norm2(hidden))
    return output


def _watched(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A block's output, and what its q_proj and k_proj returned on the way."""
    if torch.compiler.is_compiling():  # compiled code sees no hooks that come and go
        normed, attention = layer.layer_norm1(hidden), layer.self_attn
        return layer(hidden, None), attention.q_proj(normed), attention.k_proj(normed)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen[name] = output

        return hook

    with ExitStack() as stack:
        for name in ("q_proj", "k_proj"):
            handle = getattr(layer.self_attn, name).register_forward_hook(keep(name))
            stack.callback(handle.remove)
        output: Tensor = layer(hidden, None)
    return output, seen["q_proj"], seen["k_proj"]


def _check(layers: int, blocks: int, attention_of: int | None) -> None:
    if not 0 <= blocks <= layers:
        raise InputError(f"`blocks` must be between 0 and the tower's {layers}, and is {blocks}")
    last = min(blocks, layers - 1)
    if attention_of is not None and not 0 <= attention_of <= last:
        raise InputError(
            f"`attention_of` must be one of the tower's blocks up to {last}, the last one that "
            f"runs or the one behind it, and is {attention_of}"
        )
