"""CrossGET: in every ViT block, unimportant tokens merge into alike ones, guided by a cross token.

Shi et al., CrossGET: Cross-Guided Ensemble of Tokens for Accelerating Vision-Language
Transformers, ICML 2024, arXiv:2305.17455 ("CrossGet" in PruMerge's Table 7). The published method
learns, for each block, a vector that is added to the cross token and carries the guidance of the
language side. Without its checkpoint these vectors are zero, their initial value: what runs is a
training-free approximation, in which the cross token is a second class token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roofline.reducers.crossget import CrossGET
from roofline.reducers.token_schedules import Schedule
from roofline.torch_side.families.tower import (
    TowerBlock,
    attend,
    feed_forward,
    probabilities,
    project_out,
    split_heads,
)
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import MERGED, Method, ReducerError, Reduction
from roofline.torch_side.reduce.methods.tome import Matching, merge, sums_at, unit


def importance_of(attention: Tensor) -> Tensor:
    """Importance of each token: [B, T].

    attention: mean over heads, [B, queries, keys], the cross token last. A token's importance is
    the attention it receives, averaged over all queries but the cross token, plus what it
    receives from the cross token.
    """
    return attention[:, :-1].mean(dim=1) + attention[:, -1]


def match(metric: Tensor, importance: Tensor, r: int) -> Matching:
    """Complete-graph soft matching of tokens [B, T, e]; the first and the last one never merge.

    Tokens rank by the highest cosine similarity they have to any other. With d a token's highest
    similarity to one of lower rank, the r tokens with the smallest importance − d leave; each
    merges into the most similar token among all that stay. Kept tokens stay in order; ties go to
    the lower index. 2·T²·e FLOPs an image.
    """
    length = metric.shape[1]
    directions = unit(metric)
    similarity = directions @ directions.transpose(-1, -2)  # [B, T, T]
    outer = torch.arange(length, device=metric.device) % (length - 1) == 0  # class and cross token
    barred = outer[:, None] | outer | torch.eye(length, dtype=torch.bool, device=metric.device)
    similarity = similarity.masked_fill(barred, -torch.inf)

    ranked = similarity.amax(dim=-1).argsort(dim=1, descending=True, stable=True)
    rank = ranked.argsort(dim=1)
    lower = rank[:, None] > rank[:, :, None]
    nearest = similarity.masked_fill(~lower, -torch.inf).amax(dim=-1)
    order = 1 + (importance - nearest)[:, 1:-1].argsort(dim=1, stable=True)
    sources = order[:, :r]

    rows = similarity.gather(1, sources.unsqueeze(-1).expand(-1, -1, length))
    leaving = torch.zeros_like(importance, dtype=torch.bool).scatter(1, sources, True)
    destinations = rows.masked_fill(leaving[:, None], -torch.inf).argmax(dim=-1)
    kept = leaving.to(torch.uint8).argsort(dim=1, stable=True)[:, : length - r]
    return Matching(kept, sources, destinations)


def weights_of(importance: Tensor, matching: Matching) -> Tensor:
    """Factor of each token in the sums of `merge`: [B, T].

    A source and its destination share 2 by the softmax of their importance; a destination of
    several sources has 1 plus what it gains or loses to each.
    """
    pairs = torch.stack(
        [importance.gather(1, matching.sources), importance.gather(1, matching.destinations)]
    )
    source, destination = pairs.softmax(dim=0) * 2
    weights = torch.ones_like(importance).scatter(1, matching.sources, source)
    gains = (destination - 1).unsqueeze(-1)
    return weights + sums_at(matching.destinations, gains, weights.shape[1]).squeeze(-1)


class CrossGETBlocks:
    """One forward pass through the ViT. A block at T tokens that merges r of them costs an image

    - a plain block's matmuls, of T tokens in the attention and T − r in the MLP, and
    - the similarity: 2·T²·e FLOPs, nothing where r = 0.

    T counts the cross token, a copy of the class token that is appended before the first block: 578
    in the first block, 279 after 23 with r = 13. It comes out as the last of the visual tokens,
    since LLaVA drops the class token alone: 278. The probabilities that rank tokens are those that
    the attention uses; they are materialised, whatever kernel the model is configured for.

    vectors: what a checkpoint adds to the cross token before each block, [blocks or more, C].
    """

    token_counts: Schedule
    """Of each block that ran: tokens in its attention, tokens in its MLP."""
    sizes: Tensor
    """Tokens merged in each token: [B, T]."""

    def __init__(
        self, reducer: CrossGET, *, count: int | None = None, vectors: Tensor | None = None
    ) -> None:
        self.reducer, self.count, self.vectors = reducer, count, vectors

    def start(self, hidden: Tensor, blocks: int) -> Tensor:
        batch, tokens, width = hidden.shape
        if self.vectors is not None and (
            len(self.vectors) < blocks or self.vectors.shape[1:] != (width,)
        ):
            raise ReducerError(
                f"`vectors` must be [{blocks} or more, {width}], not {list(self.vectors.shape)}"
            )
        self._schedule = self.reducer.schedule(tokens, blocks, self.count)
        self.token_counts = []
        self._bias: Tensor | None = None  # [B, T], None before anything has merged
        self.sizes = hidden.new_ones(
            batch, tokens + 1, dtype=torch.promote_types(hidden.dtype, torch.float32)
        )
        patches = torch.arange(MERGED, tokens - 1, device=hidden.device).expand(batch, -1)
        self._patches = torch.cat([patches, torch.full_like(patches[:, :1], MERGED)], dim=1)
        return torch.cat([hidden, hidden[:, :1]], dim=1)

    def block(self, layer: TowerBlock, hidden: Tensor, index: int) -> Tensor:
        before, after = self._schedule[index]
        if self.vectors is not None:
            cross = hidden[:, -1:] + self.vectors[index].to(hidden)
            hidden = torch.cat([hidden[:, :-1], cross], dim=1)
        query, key, value = split_heads(layer, hidden)
        if after < before:
            attention = probabilities(layer, query, key, self._bias)
            hidden = hidden + project_out(layer, attention.to(value.dtype) @ value)
            importance = importance_of(attention.mean(dim=1))
            matching = match(key.mean(dim=1), importance, before - after)
            weights = weights_of(importance, matching)
            hidden, self.sizes = merge(hidden, self.sizes, matching, weights)
            self._bias = self.sizes.log().to(hidden.dtype)
            self._patches = self._patches.gather(1, matching.kept)
        else:
            hidden = hidden + attend(layer, query, key, value, self._bias)
        self.token_counts.append((before, hidden.shape[1]))
        return feed_forward(layer, hidden)

    def finish(self, hidden: Tensor) -> Reduction:
        return Reduction(list(hidden[:, 1:]), list(self._patches[:, 1:]))


METHODS.register("crossget", Method("crossget", blocks=CrossGETBlocks))
