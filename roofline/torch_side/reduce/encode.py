"""Run a vision tower only as far as its features are needed, and watch a block on the way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from roofline.errors import InputError
from roofline.torch_side.families.tower import (
    Tower,
    TowerBlock,
    Views,
    WholeBlock,
    queries_and_keys,
)
from roofline.torch_side.reduce.methods.base import Reduction, VisionBlocks


@dataclass(frozen=True)
class Encoded(Views):
    """What came out of a tower that was run block by block."""

    reduction: Reduction | None = None
    """Visual tokens left, where a reducer acted inside the tower."""


def encode(
    tower: Tower,
    pixel_values: Tensor,
    blocks: int,
    *,
    reducer: VisionBlocks | None = None,
    attention_of: int | None = None,
) -> Encoded:
    """Features after the first `blocks` blocks of a tower; later blocks never run.

    pixel_values: [B, 3, height, width].
    blocks: LLaVA's `hidden_states[-2]` of 24 blocks is the output of 23. Without a reducer each
    block's own `forward` runs: features are bit-equal to `hidden_states[blocks]`.
    reducer: runs the blocks in place of their own `forward`; it sees queries and keys itself.
    attention_of: index of a block whose queries and keys are wanted, as its projections return them
    for the norm of its input, biases included. Of a block that runs anyway they are taken as they
    come by. Of the first block that does not run (index `blocks`) only the norm and the projection
    of keys run on all tokens, and that of queries on the class token alone: queries are [B, 1, C],
    or those of all tokens where there is no class token.

    Raises InputError for blocks that there are not, and for a reducer on a tower without class
    token.
    """
    _check(tower.blocks, blocks, attention_of)
    if reducer is not None and not tower.class_token:
        raise InputError("reducers inside the ViT need its class token; this tower has none")

    hidden = tower.embed(pixel_values)
    if reducer is not None:
        hidden = reducer.start(hidden, blocks)
    queries = keys = None
    for index in range(blocks):
        layer = tower.block(index)
        if reducer is not None:
            assert isinstance(layer, TowerBlock)  # else its family has refused the reducer
            hidden = reducer.block(layer, hidden, index)
        elif index == attention_of:
            hidden, queries, keys = _watched(layer, hidden)
        else:
            hidden = layer(hidden)
    if attention_of == blocks:
        queries, keys = queries_and_keys(tower, hidden, blocks)
    reduction = None if reducer is None else reducer.finish(hidden)
    return Encoded(hidden, queries, keys, reduction=reduction)


def _watched(layer: WholeBlock, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A block's output, and what its projections of queries and keys returned on the way."""
    if torch.compiler.is_compiling():  # compiled code sees no hooks that come and go
        normed = layer.norm1(hidden)
        return layer(hidden), layer.query(normed), layer.key(normed)
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        seen[module] = output

    with ExitStack() as stack:
        for projection in layer.watched:
            stack.callback(projection.register_forward_hook(keep).remove)
        output = layer(hidden)
    queries, keys = (seen[projection] for projection in layer.watched)
    return output, queries, keys


def _check(layers: int, blocks: int, attention_of: int | None) -> None:
    if not 0 <= blocks <= layers:
        raise InputError(f"`blocks` must be between 0 and the tower's {layers}, and is {blocks}")
    last = min(blocks, layers - 1)
    if attention_of is not None and not 0 <= attention_of <= last:
        raise InputError(
            f"`attention_of` must be one of the tower's blocks up to {last}, the last one that "
            f"runs or the one behind it, and is {attention_of}"
        )
