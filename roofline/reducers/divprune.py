"""DivPrune: the most diverse projected tokens (Alvar et al. 2025).

Cosines [N, d] @ [d, N] of all projected patches, then one step a token: a row of distances, its
minimum with those before, and the greatest.
"""

from __future__ import annotations

from collections.abc import Sequence

from roofline.model.block import Block
from roofline.model.op import Op
from roofline.reducers import REDUCERS
from roofline.reducers.base import Reducer, ReductionTask
from roofline.reducers.ops import COSINE_FLOPS, gather, matmul

_PAPER = "Alvar et al. 2025, DivPrune (CVPR), arXiv:2503.02175"
_TENTH = 10
_STEP_FLOPS = 2  # a minimum and a comparison


class DivPrune(Reducer, frozen=True):
    """Patches that are far from each other, in raster order."""

    name = "divprune"
    title = "DivPrune"
    source = _PAPER
    site = "features"
    default_source = f"{_PAPER}, 10 %"
    connects_all = True

    def default_kept(self, patches: int, blocks: int) -> int:
        """A tenth of the patches."""
        return max(2, patches // _TENTH)

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """Distances of all patches; then one patch after the other."""
        n, width = task.patches, task.llm.hidden_size
        norms = task.images * (COSINE_FLOPS * n * width)
        steps = task.images * (1.0 * n * task.kept)
        selection = Op(
            "select",
            "reduction",
            "vector",
            reads={"distances": _STEP_FLOPS * steps},
            writes={"indices": task.images * task.kept},
            vector_flops=_STEP_FLOPS * steps,
            launches=8 + task.kept + (task.kept - 1) + max(task.kept - 2, 0),
        )
        similarity = matmul(
            "similarity", task.images, (n, width, n), vector_flops=norms, launches=7
        )
        rows = gather(task, task.kept, width=width, launches=3)
        return (Block(1, (similarity, selection, rows)),)


REDUCERS.register(DivPrune.name, DivPrune())
