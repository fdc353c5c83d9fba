"""ToMe: in every ViT block, between attention and MLP, the most alike tokens merge.

Own work in a block at T tokens: the cosines of even against odd tokens, [⌈T/2⌉, e] @ [e, ⌊T/2⌋], by
keys averaged over heads; then size-weighted means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roofline.model.op import Op
from roofline.reducers import REDUCERS
from roofline.reducers.base import ReductionTask, VisionReducer
from roofline.reducers.ops import head_mean, matmul, positions, ranking, weighted_sums
from roofline.reducers.token_schedules import Schedule, tome_schedule


class ToMe(VisionReducer, frozen=True):
    """Alike tokens merge in every ViT block."""

    name = "tome"
    title = "ToMe: alike tokens merge in every ViT block"
    source = "Bolya et al. 2023, Token Merging: Your ViT But Faster, arXiv:2210.09461"
    default_source = "Shang et al. 2025, LLaVA-PruMerge, arXiv:2403.15388, table 7"
    count_options = frozenset({"r"})

    r: Annotated[int, Meta(ge=0)] | None = None
    """Tokens that each block merges; left out, as many as leave a quarter of the patches."""

    def plan(self, tokens: int, blocks: int, count: int | None) -> Schedule:
        """`tome_schedule` of `count` or r."""
        return tome_schedule(tokens, blocks, count, self.r if count is None else None)

    def start_op(self, task: ReductionTask) -> Op:
        """Where tokens are from, and their sizes."""
        return positions(task, 2 * task.tokens, launches=2)

    def stage_ops(self, task: ReductionTask, before: int, after: int) -> Sequence[Op]:
        """Cosines, the most alike pairs, and their means."""
        even, odd = (before + 1) // 2, before // 2
        return (
            head_mean(task, before, launches=5),
            matmul("similarity", task.images, (even, task.head_size, odd)),
            ranking(task.images, even, launches=11),
            weighted_sums(task, before, after, launches=22),
        )


REDUCERS.register(ToMe.name, ToMe())
