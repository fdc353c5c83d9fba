"""VisionZip: dominant tokens and merged context (Yang et al. 2025).

For one image, D dominant tokens, the class token among them, R = N − D + 1 patches left and c
contextual tokens: attention H × [1, C/H] @ [C/H, 1 + N], similarity [R − c, C/H] @ [C/H, c], means
[c, R − c] @ [R − c, C]. Without a class token R = N − D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roofline.errors import ScenarioError
from roofline.model.block import Block
from roofline.reducers import REDUCERS
from roofline.reducers.base import Reducer, ReductionTask
from roofline.reducers.ops import class_attention, gather, head_mean, matmul, ranking

_PAPER = "Yang et al. 2025, VisionZip (CVPR), arXiv:2412.04467"
_NINTH = 9
_CONTEXTUAL, _OF = 10, 64


class VisionZip(Reducer, frozen=True):
    """What the class token attends to most, and merged tokens of all the rest."""

    name = "visionzip"
    title = "VisionZip"
    source = _PAPER
    site = "features"
    unplaced = "class token"
    default_source = f"{_PAPER}, 64 of 576"

    contextual: Annotated[int, Meta(ge=0)] | None = None
    """Merged tokens; left out, 10 of 64."""

    def default_kept(self, patches: int, blocks: int) -> int:
        """A ninth of the patches."""
        return max(2, patches // _NINTH)

    def contextual_of(self, kept: int) -> int:
        """How many of the tokens left are merged ones. Raises ScenarioError for all of them."""
        contextual = kept * _CONTEXTUAL // _OF if self.contextual is None else self.contextual
        if contextual >= kept:
            raise ScenarioError(
                f"visionzip: `contextual` must be at least 0 and below the {kept} tokens left, "
                f"not {contextual}"
            )
        return contextual

    def check(self, task: ReductionTask) -> None:
        """As all do; and a dominant token must be left."""
        super().check(task)
        self.contextual_of(task.kept)

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """Attention and its order; then cosines and means of what is not dominant."""
        contextual = self.contextual_of(task.kept)
        dominant = task.kept - contextual
        others = task.patches - dominant + task.class_token - contextual
        ops = [
            class_attention(task, task.tokens, task.heads, launches=6),
            ranking(task.images, task.patches, launches=4),
            gather(task, dominant, launches=6),
        ]
        if contextual:
            cosines = task.images * (task.patches * task.width)
            similarity = (others, task.head_size, contextual)
            merge = (contextual, others, task.feature_width)
            strides = (others + contextual) // contextual > 1  # else targets are neighbours
            ops += [
                head_mean(task, task.patches, launches=5),
                matmul("similarity", task.images, similarity, vector_flops=cosines, launches=7),
                matmul("merge", task.images, merge, launches=27 if strides else 24),
            ]
        return (Block(1, tuple(ops)),)


REDUCERS.register(VisionZip.name, VisionZip())
