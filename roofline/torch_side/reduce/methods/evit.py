"""EViT: at three ViT blocks the tokens that the class token attends to stay; the rest is fused.

Liang et al., Not All Patches Are What You Need: Expediting Vision Transformers via Token
Reorganizations, ICLR 2022, arXiv:2202.07800.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from roofline.reducers.token_schedules import RATE, EvitRule, Schedule, evit_schedule
from roofline.torch_side.families.tower import (
    TowerBlock,
    attend,
    feed_forward,
    probabilities,
    split_heads,
)
from roofline.torch_side.reduce.methods.base import MERGED, Reducer, Reduction


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


class EViT:
    """One forward pass through the ViT. A stage at T tokens that leaves T', costs an image

    - a plain block's matmuls, of T tokens in the attention and T' in the MLP, and
    - the class token's logits once more, since fused kernels do not return them: 2·T·C FLOPs.

    Other blocks are plain. Rule "budget" (the default): ⌊rate^s·N⌋ visual tokens are left after
    stage s = 1, 2, …, the fused one included (362, 228, 144 of 576), or with `count` exactly that
    many after the last. Rule "paper": ⌈rate·(T − 1)⌉ and the fused one (364, 231, 147 of 576).
    """

    token_counts: Schedule
    """Of each block that ran: tokens in its attention, tokens in its MLP."""

    def __init__(
        self,
        *,
        rate: float = RATE,
        count: int | None = None,
        stages: Sequence[int] | None = None,
        rule: EvitRule = "budget",
    ) -> None:
        self.rate, self.count, self.stages, self.rule = rate, count, stages, rule

    def start(self, hidden: Tensor, blocks: int) -> Tensor:
        batch, tokens = hidden.shape[:2]
        self._schedule = evit_schedule(
            tokens, blocks, self.stages, rate=self.rate, count=self.count, rule=self.rule
        )
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


REDUCERS: tuple[Reducer, ...] = (
    Reducer(
        name="evit",
        title="EViT: the most attended tokens stay at three ViT blocks, the rest is fused",
        site="vision",
        source="Liang et al. 2022, Not All Patches Are What You Need, arXiv:2202.07800",
        blocks=EViT,
        options={"rate": RATE, "count": None, "stages": None, "rule": "budget"},
    ),
)
