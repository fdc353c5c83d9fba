"""EViT: at three ViT blocks the tokens that the class token attends to stay; the rest is fused.

Liang et al. 2022. Own work in a stage: the class token's attention once more, since fused kernels
do not return it, [1, C] @ [C, T]; its order, and the weighted sum of what goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roofline.model.op import Op
from roofline.reducers import REDUCERS
from roofline.reducers.base import ReductionTask, VisionReducer
from roofline.reducers.ops import class_attention, positions, ranking, weighted_sums
from roofline.reducers.token_schedules import RATE, EvitRule, Schedule, evit_schedule


class EViT(VisionReducer, frozen=True):
    """The most attended tokens stay at some ViT blocks, the rest is fused."""

    name = "evit"
    title = "EViT: the most attended tokens stay at three ViT blocks, the rest is fused"
    source = "Liang et al. 2022, Not All Patches Are What You Need, arXiv:2202.07800"
    default_source = "Shang et al. 2025, LLaVA-PruMerge, arXiv:2403.15388, table 7"
    merges_untraced = True
    count_options = frozenset({"rate", "rule"})

    rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of the tokens that each stage leaves; left out, 0.63 or a count's."""
    stages: tuple[int, ...] | None = None
    """Blocks that reduce, counted from 0; left out, those at the quarters."""
    rule: EvitRule = "budget"
    """Whether the fused token is within the budget, or besides it as in the paper."""

    def plan(self, tokens: int, blocks: int, count: int | None) -> Schedule:
        """`evit_schedule` of the options and `count`."""
        return evit_schedule(
            tokens, blocks, self.stages, rate=self.rate or RATE, count=count, rule=self.rule
        )

    def start_op(self, task: ReductionTask) -> Op:
        """Where tokens are from."""
        return positions(task, task.patches, launches=1)

    def stage_ops(self, task: ReductionTask, before: int, after: int) -> Sequence[Op]:
        """A row of attention, its order, and the sum of what goes."""
        return (
            class_attention(task, before, task.heads, launches=5),
            ranking(task.images, before, launches=1),
            weighted_sums(task, before, after, launches=9),
        )


REDUCERS.register(EViT.name, EViT())
