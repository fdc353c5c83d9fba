"""EViT in torch: at some ViT blocks the most attended tokens stay; the rest is fused.

Liang et al., ICLR 2022. `roofline.reducers.evit` tells stages, budgets and costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roofline.reducers.evit import EViT
from roofline.reducers.token_schedules import Schedule
from roofline.torch_side.families.tower import (
    TowerBlock,
    attend,
    feed_forward,
    probabilities,
    split_heads,
)
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import MERGED, Method, Reduction


def reorganize(hidden: Tensor, attention: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Keep the `keep` patches with most attention, fuse the others: [B, 1 + keep + 1, C].

    hidden: [B, 1 + N, C], class token first; attention: the class token's to each patch, [B, N].
    Order: class token, kept ones by descending attention (ties by index), and the sum of the
    others, each times its attention; attention is not renormalised. Also returns the kept patches
    [B, keep].
    """
    patches = hidden[:, 1:]
    order = attention.argsort(dim=1, descending=True, stable=True)
    ranked = patches.gather(1, order.unsqueeze(-1).expand_as(patches))
    strengths = attention.gather(1, order).unsqueeze(-1)
    fused = (ranked[:, keep:] * strengths[:, keep:]).sum(dim=1, keepdim=True).to(hidden.dtype)
    return torch.cat([hidden[:, :1], ranked[:, :keep], fused], dim=1), order[:, :keep]


class EViTBlocks:
    """One forward pass through the ViT. A stage at T tokens that leaves T', costs an image

    - a plain block's matmuls, of T tokens in the attention and T' in the MLP, and
    - the class token's logits once more, since fused kernels do not return them: 2·T·C FLOPs.

    Other blocks are plain.
    """

    token_counts: Schedule
    """Of each block that ran: tokens in its attention, tokens in its MLP."""

    def __init__(self, reducer: EViT, *, count: int | None = None) -> None:
        self.reducer, self.count = reducer, count

    def start(self, hidden: Tensor, blocks: int) -> Tensor:
        batch, tokens = hidden.shape[:2]
        self._schedule = self.reducer.schedule(tokens, blocks, self.count)
        self.token_counts = []
        self._patches = torch.arange(tokens - 1, device=hidden.device).expand(batch, -1)
        return hidden

    def block(self, layer: TowerBlock, hidden: Tensor, index: int) -> Tensor:
        before, after = self._schedule[index]
        if after == before:
            hidden = layer(hidden)
        else:
            query, key, value = split_heads(layer, hidden)
            attention = probabilities(layer, query[:, :, :1], key).mean(dim=1)[:, 0, 1:]
            hidden = hidden + attend(layer, query, key, value)
            hidden, kept = reorganize(hidden, attention, after - 2)
            fused = kept.new_full((len(kept), 1), MERGED)
            self._patches = torch.cat([self._patches.gather(1, kept), fused], dim=1)
            hidden = feed_forward(layer, hidden)
        self.token_counts.append((before, hidden.shape[1]))
        return hidden

    def finish(self, hidden: Tensor) -> Reduction:
        return Reduction(list(hidden[:, 1:]), list(self._patches))


METHODS.register("evit", Method("evit", blocks=EViTBlocks))
