"""ATS in torch: at some ViT blocks, tokens are sampled by the class token's attention.

Fayyaz et al., ECCV 2022. `roofline.reducers.ats` tells stages, budgets and costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roofline.reducers.ats import ATS
from roofline.reducers.token_schedules import Schedule, stages_of
from roofline.torch_side.families.tower import (
    TowerBlock,
    attend,
    feed_forward,
    probabilities,
    split_heads,
)
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import MERGED, Method, Reduction


def significance(attention: Tensor, values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Significance of each patch, adding up to 1 in each image: [B, N].

    Sum over heads of the class token's attention [B, H, 1 + N] times the norm of the patch's value
    [B, H, 1 + N, e]. Patches that are not `valid` [B, N] get 0. An image in which no patch has any
    significance gets the same for all.
    """
    scores = (attention * values.to(attention.dtype).norm(dim=-1)).sum(dim=1)[:, 1:]
    even: Tensor | float = 1 / scores.shape[1]
    if valid is not None:
        scores = scores.masked_fill(~valid, 0)
        even = valid / valid.sum(dim=1, keepdim=True)
    total = scores.sum(dim=1, keepdim=True)
    return torch.where(total > 0, scores / total, even)


def sample(scores: Tensor, count: int, valid: Tensor | None = None) -> Tensor:
    """Patches that `count` evenly spaced points of the cumulated scores [B, N] hit: [B, N], bool.

    Inverse transform sampling with the points (2i − 1) / 2·count: each takes the patch whose
    cumulated score is nearest, the first one among equals. A patch hit more than once counts
    once: `count` is the most there can be.
    """
    cumulated = scores.cumsum(dim=1)
    if valid is not None:
        cumulated = cumulated.masked_fill(~valid, torch.inf)
    steps = torch.arange(count, device=scores.device, dtype=cumulated.dtype)
    points = (2 * steps + 1) / (2 * count)
    hits = (cumulated[:, None] - points[:, None]).abs().argmin(dim=-1)  # [B, count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, hits, True)


def packed(selected: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the True in [B, N], ascending, padded to the longest row; and which are real."""
    counts = selected.sum(dim=1, keepdim=True)
    longest = int(counts.max())
    order = selected.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    return order, torch.arange(longest, device=selected.device) < counts


class ATSBlocks:
    """One forward pass through the ViT. A stage at T tokens that samples K, class token among them,
    costs an image

    - q_proj, k_proj and v_proj of T tokens: 6·T·C²,
    - the class token's logits, for the scores: 2·T·C,
    - attention of K queries over T keys: 4·K·T·C,
    - out_proj and MLP of K tokens.

    Other blocks are plain. Images of a batch are padded to the one that keeps most, and padding is
    masked: costs are those of the longest.
    """

    token_counts: Schedule
    """Of each block that ran: tokens in its attention, tokens in its MLP, padding included."""
    counts: list[list[int]]
    """After each stage: visual tokens left in each image."""

    def __init__(self, reducer: ATS, *, count: int | None = None) -> None:
        self.reducer, self.count = reducer, count

    def start(self, hidden: Tensor, blocks: int) -> Tensor:
        batch, tokens = hidden.shape[:2]
        self._stages = stages_of(blocks, self.reducer.stages)
        self._most = self.reducer.schedule(tokens, blocks, self.count)
        self.token_counts, self.counts = [], []
        self._patches = torch.arange(MERGED, tokens - 1, device=hidden.device).expand(batch, -1)
        self._valid: Tensor | None = None  # [B, T]; None if no image is padded
        return hidden

    def block(self, layer: TowerBlock, hidden: Tensor, index: int) -> Tensor:
        before = hidden.shape[1]
        if index in self._stages:
            hidden = self._stage(layer, hidden, self._most[index][1] - 1)
        else:
            bias = self._bias(hidden)
            hidden = layer(hidden, None if bias is None else bias[:, None, None])
        self.token_counts.append((before, hidden.shape[1]))
        return hidden

    def finish(self, hidden: Tensor) -> Reduction:
        tokens, patches = hidden[:, 1:], self._patches[:, 1:]
        if self._valid is None:
            return Reduction(list(tokens), list(patches))
        valid = self._valid[:, 1:]
        return Reduction(
            [row[real] for row, real in zip(tokens, valid, strict=True)],
            [row[real] for row, real in zip(patches, valid, strict=True)],
        )

    def _stage(self, layer: TowerBlock, hidden: Tensor, count: int) -> Tensor:
        query, key, value = split_heads(layer, hidden)
        bias = self._bias(hidden)
        valid = None if self._valid is None else self._valid[:, 1:]
        with torch.no_grad():
            attention = probabilities(layer, query[:, :, :1], key, bias)[:, :, 0]
            selected = sample(significance(attention, value, valid), count, valid)
        kept, valid = packed(torch.cat([torch.ones_like(selected[:, :1]), selected], dim=1))
        self.counts.append((valid.sum(dim=1) - 1).tolist())
        self._valid = None if bool(valid.all()) else valid
        self._patches = self._patches.gather(1, kept)
        heads, width = query.shape[1], query.shape[-1]
        query = query.gather(2, kept[:, None, :, None].expand(-1, heads, -1, width))
        residual = hidden.gather(1, kept.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        return feed_forward(layer, residual + attend(layer, query, key, value, bias))

    def _bias(self, hidden: Tensor) -> Tensor | None:
        """What keeps attention away from padding: [B, T], or None where there is none."""
        if self._valid is None:
            return None
        return torch.zeros_like(self._valid, dtype=hidden.dtype).masked_fill(
            ~self._valid, -torch.inf
        )


METHODS.register("ats", Method("ats", blocks=ATSBlocks))
