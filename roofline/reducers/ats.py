"""ATS: at some ViT blocks, tokens are sampled by their weight in the class token's attention.

Fayyaz et al. 2022. The paper samples in every block from the third on; three stages, with a budget
that falls geometrically, are the setting of Haurum et al. 2023, arXiv:2308.04657, whose framework
the comparison in PruMerge's Table 7 uses. Stages are EViT's, for comparison at equal budgets. How
many tokens are left depends on the picture; priced is the most there can be.

Own work in a stage: the class token's attention, [1, C] @ [C, T], and the norms of the values that
it weighs. Attention itself is computed for the rows that stay alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roofline.model.op import Op
from roofline.reducers import REDUCERS
from roofline.reducers.base import ReductionTask, VisionReducer
from roofline.reducers.ops import class_attention, positions, ranking
from roofline.reducers.token_schedules import RATE, Schedule, ats_schedule, stages_of

_NORM_FLOPS = 2  # square and accumulate


class ATS(VisionReducer, frozen=True):
    """Tokens are sampled by attention at some ViT blocks."""

    name = "ats"
    title = "ATS: tokens sampled by attention at three ViT blocks; counts vary by image"
    source = "Fayyaz et al. 2022, Adaptive Token Sampling, arXiv:2111.15667"
    default_source = "Shang et al. 2025, LLaVA-PruMerge, arXiv:2403.15388, table 7"
    samples_queries = True
    by_picture = True
    count_options = frozenset({"rate"})

    rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of the tokens that each stage leaves at most; left out, 0.63 or a count's."""
    stages: tuple[int, ...] | None = None
    """Blocks that reduce, counted from 0; left out, those at the quarters."""

    def plan(self, tokens: int, blocks: int, count: int | None) -> Schedule:
        """`ats_schedule` of the options and `count`: the most there can be."""
        return ats_schedule(tokens, blocks, self.stages, rate=self.rate or RATE, count=count)

    def start_op(self, task: ReductionTask) -> Op:
        """Where tokens are from."""
        return positions(task, task.tokens, launches=1)

    def stage_ops(self, task: ReductionTask, before: int, after: int) -> Sequence[Op]:
        """A row of attention, norms of the values, and the draw."""
        norms = Op(
            "value_norms",
            "reduction",
            "vector",
            reads={"value": task.images * (before * task.width)},
            writes={"norms": task.images * (before * task.heads)},
            vector_flops=task.images * (_NORM_FLOPS * before * task.width),
            launches=4,
        )
        return (
            class_attention(task, before, task.heads, launches=4),
            norms,
            # how many are left, at most, in each image, and whether it is as many in all
            ranking(task.images, before, launches=30, waits=3),
        )

    def stages_in(self, schedule: Schedule) -> list[bool]:
        """All stages: they draw even where all tokens may stay."""
        chosen = stages_of(len(schedule), self.stages)
        return [block in chosen for block in range(len(schedule))]


REDUCERS.register(ATS.name, ATS())
