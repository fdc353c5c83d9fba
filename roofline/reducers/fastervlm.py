"""FasterVLM: what the class token attends to most (Zhang et al. 2024).

One row of attention in the last block that contributes to the features, H × [1, C/H] @
[C/H, 1 + N]; its queries and keys are there already.
"""

from __future__ import annotations

from collections.abc import Sequence

from roofline.model.block import Block
from roofline.reducers import REDUCERS
from roofline.reducers.base import Reducer, ReductionTask
from roofline.reducers.ops import class_attention, gather, ranking

_PAPER = "Zhang et al. 2024, FasterVLM, arXiv:2412.01818"
_TENTH = 10


class FasterVLM(Reducer, frozen=True):
    """The patches of greatest head-mean attention, in raster order."""

    name = "fastervlm"
    title = "FasterVLM"
    source = _PAPER
    site = "features"
    default_source = f"{_PAPER}, 10 %"

    def default_kept(self, patches: int, blocks: int) -> int:
        """A tenth of the patches."""
        return max(2, patches // _TENTH)

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """A row of attention, its order, and a copy of what stays."""
        ops = (
            class_attention(task, task.tokens, task.heads, launches=6),
            ranking(task.images, task.patches, launches=3),
            gather(task, task.kept, launches=3),
        )
        return (Block(1, ops),)


REDUCERS.register(FasterVLM.name, FasterVLM())
