"""ToMe: in every ViT block, between attention and MLP, the most alike tokens merge.

Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023, arXiv:2210.09461.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from roofline.reducers.token_schedules import Schedule
from roofline.reducers.tome import ToMe
from roofline.torch_side.families.tower import TowerBlock, attend, feed_forward, split_heads
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import MERGED, Method, Reduction


@dataclass(frozen=True)
class Matching:
    """Which tokens of T stay, and into which of them r others merge."""

    kept: Tensor
    """Tokens that stay, in their new order: [B, T − r]."""
    sources: Tensor
    """Tokens that leave: [B, r]."""
    destinations: Tensor
    """The kept token that each of them merges into: [B, r]."""

    @cached_property
    def positions(self) -> Tensor:
        """Where every token is afterwards, itself or merged: [B, T]."""
        batch, length = self.kept.shape
        indices = torch.arange(length, device=self.kept.device).expand(batch, -1)
        positions = self.kept.new_zeros(batch, length + self.sources.shape[1])
        positions = positions.scatter(1, self.kept, indices)
        return positions.scatter(1, self.sources, positions.gather(1, self.destinations))


def match(metric: Tensor, r: int) -> Matching:
    """Bipartite soft matching of tokens [B, T, e], class token first, which never leaves.

    Even positions (A) against odd ones (B): the r tokens of A with the highest cosine similarity
    to their best B merge into it. Kept are the other A, ascending, then all B. Ties go to the
    lower index. 2·⌈T/2⌉·⌊T/2⌋·e FLOPs an image.
    """
    directions = unit(metric)
    similarity = directions[:, ::2] @ directions[:, 1::2].transpose(-1, -2)  # [B, |A|, |B|]
    best, nearest = similarity.max(dim=-1)
    best[:, 0] = -torch.inf
    leaving, staying = best.argsort(dim=1, descending=True, stable=True).tensor_split([r], dim=1)
    odd = torch.arange(1, metric.shape[1], 2, device=metric.device).expand(len(metric), -1)
    return Matching(
        kept=torch.cat([2 * staying.sort(dim=1).values, odd], dim=1),
        sources=2 * leaving,
        destinations=2 * nearest.gather(1, leaving) + 1,
    )


def merge(
    tokens: Tensor, sizes: Tensor, matching: Matching, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Size-weighted mean of what merges: [B, T, C] and sizes [B, T] → [B, T − r, C], [B, T − r].

    weights: a further factor of each token in the sum, [B, T]; the sum is divided by the sizes
    alone. Sums are taken in fp32 at least; the result has the tokens' dtype.
    """
    share = (sizes if weights is None else sizes * weights).unsqueeze(-1)
    positions = matching.positions
    batch, length = matching.kept.shape
    # whole numbers: exact in any order
    merged_sizes = sizes.new_zeros(batch, length).scatter_add(1, positions, sizes)
    summands = tokens * share
    sums = sums_at(positions, summands, length)
    return (sums / merged_sizes.unsqueeze(-1)).to(tokens.dtype), merged_sizes


_WITHOUT_BAGS = frozenset(
    kind
    for kind in ("mps",)
    if not torch._C._dispatch_has_kernel_for_dispatch_key(
        "aten::_embedding_bag_forward_only", kind.upper()
    )
)
"""Devices that torch has no `embedding_bag` for, in some of its releases."""


def sums_at(positions: Tensor, rows: Tensor, length: int) -> Tensor:
    """Sum of the rows [B, n, C] at each position, 0 to length − 1: [B, length, C].

    Rows of one position are added one after the other, in their own order. `scatter_add` on a GPU
    adds them as they come: each run rounds differently, and may then match other tokens. It is for
    devices that have nothing else.
    """
    batch = len(positions)
    if rows.device.type in _WITHOUT_BAGS:
        sums = rows.new_zeros(batch, length, rows.shape[2])
        return sums.scatter_add(1, positions.unsqueeze(-1).expand_as(rows), rows)
    first = torch.arange(0, batch * length, length, device=positions.device)
    grouped, order = (positions + first.unsqueeze(-1)).flatten().sort(stable=True)
    starts = torch.searchsorted(grouped, torch.arange(batch * length, device=positions.device))
    bags: Tensor = functional.embedding_bag(order, rows.flatten(0, 1), starts, mode="sum")
    return bags.view(batch, length, -1)


def unit(metric: Tensor) -> Tensor:
    """Directions of [B, T, e], in fp32 at least; zero vectors stay zero.

    Cut off from autograd: all that they do is choose.
    """
    precise = torch.promote_types(metric.dtype, torch.float32)
    return functional.normalize(metric.detach().to(precise), dim=-1)


class ToMeBlocks:
    """One forward pass through the ViT. A block at T tokens that merges r of them costs an image

    - a plain block's matmuls, of T tokens in the attention and T − r in the MLP, and
    - the similarity: 2·⌈T/2⌉·⌊T/2⌋·e FLOPs, nothing where r = 0.

    Keys count by their size: the logarithm is added to the logits once tokens have merged.
    """

    token_counts: Schedule
    """Of each block that ran: tokens in its attention, tokens in its MLP."""
    sizes: Tensor
    """Patches in each token: [B, T]."""
    positions: Tensor
    """The visual token that each patch is part of by now: [B, N]."""

    def __init__(self, reducer: ToMe, *, count: int | None = None) -> None:
        self.reducer, self.count = reducer, count

    def start(self, hidden: Tensor, blocks: int) -> Tensor:
        batch, tokens = hidden.shape[:2]
        self._schedule = self.reducer.schedule(tokens, blocks, self.count)
        self.token_counts = []
        self.sizes = hidden.new_ones(
            batch, tokens, dtype=torch.promote_types(hidden.dtype, torch.float32)
        )
        self._bias: Tensor | None = None  # [B, T], None before anything has merged
        self._patches = torch.arange(MERGED, tokens - 1, device=hidden.device).expand(batch, -1)
        self.positions = self._patches[:, 1:]
        return hidden

    def block(self, layer: TowerBlock, hidden: Tensor, index: int) -> Tensor:
        before, after = self._schedule[index]
        query, key, value = split_heads(layer, hidden)
        hidden = hidden + attend(layer, query, key, value, self._bias)
        if after < before:
            matching = match(key.mean(dim=1), before - after)
            hidden, self.sizes = merge(hidden, self.sizes, matching)
            self._bias = self.sizes.log().to(hidden.dtype)
            self._patches = self._patches.gather(1, matching.kept)
            self.positions = matching.positions.gather(1, self.positions + 1) - 1
        self.token_counts.append((key.shape[2], hidden.shape[1]))
        return feed_forward(layer, hidden)

    def finish(self, hidden: Tensor) -> Reduction:
        return Reduction(list(hidden[:, 1:]), list(self._patches[:, 1:]))


METHODS.register("tome", Method("tome", blocks=ToMeBlocks))
