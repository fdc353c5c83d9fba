"""CrossGET: in every ViT block, unimportant tokens merge into alike ones, guided by a cross token.

Shi et al. 2024 ("CrossGet" in PruMerge's Table 7). T counts the cross token, a copy of the class
token that is appended before the first block: 578 in the first block of LLaVA-1.5's encoder, 279
after 23 with r = 13. It comes out as the last of the visual tokens: 278. Own work in a block: the
cosines of all tokens, [T, e] @ [e, T], and importance from attention, whose probabilities the block
keeps in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roofline.model.op import Op
from roofline.reducers import REDUCERS
from roofline.reducers.base import ReductionTask, VisionReducer
from roofline.reducers.ops import gather, head_mean, matmul, ranking, weighted_sums
from roofline.reducers.token_schedules import Schedule, crossget_schedule


class CrossGET(VisionReducer, frozen=True):
    """Unimportant tokens merge into alike ones in every ViT block."""

    name = "crossget"
    title = (
        "CrossGET without its checkpoint (a training-free approximation): unimportant tokens "
        "merge in every ViT block"
    )
    source = "Shi et al. 2024, CrossGET, arXiv:2305.17455"
    default_source = (
        "Shang et al. 2025, LLaVA-PruMerge, arXiv:2403.15388, table 7; 13 tokens a block"
    )
    unplaced = "cross token"
    merges_untraced = True
    note = "without its learned vectors: an approximation"
    materialises = True
    count_options = frozenset({"r"})

    r: Annotated[int, Meta(ge=0)] | None = None
    """Tokens that each block merges; left out, 13, or as many as leave a count."""

    def plan(self, tokens: int, blocks: int, count: int | None) -> Schedule:
        """`crossget_schedule` of `count` or r."""
        return crossget_schedule(tokens, blocks, count, self.r if count is None else None)

    def most_kept(self, candidates: int) -> int:
        """All, and the cross token."""
        return candidates + 1

    def start_op(self, task: ReductionTask) -> Op:
        """Append the cross token; where tokens are from, and their sizes."""
        return gather(task, 1 + task.tokens, launches=5)

    def stage_ops(self, task: ReductionTask, before: int, after: int) -> Sequence[Op]:
        """Cosines, importance, the least important, and their means."""
        received = task.images * (task.heads * before * before)  # importance: sums of attention
        sized = before <= task.tokens  # once tokens have merged, their sizes are added to logits
        shape = (before, task.head_size, before)
        return (
            head_mean(task, before, launches=5),
            matmul("similarity", task.images, shape, vector_flops=received),
            ranking(task.images, before, launches=31 + sized),
            weighted_sums(task, before, after, launches=35),
        )


REDUCERS.register(CrossGET.name, CrossGET())
