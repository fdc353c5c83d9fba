"""PruMerge and PruMerge+ (Shang et al. 2025, sections 3.2 to 3.4): outliers of attention, merged.

C' = C is the width of queries and keys. For one image, K centres that others merge into and N
patches:

    layer norm, k_proj of all tokens, q_proj of the class token, of the first block that does not
    run; attention [1, C] @ [C, 1 + N]; similarity [K, C] @ [C, N]; merging [K, N] @ [N, C]; and,
    as released, the extra token [1, N] @ [N, C].

The number of neighbours `k` changes no cost but where it is 0: nothing is merged then.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Literal

from msgspec import Meta

from roofline.errors import ScenarioError
from roofline.model.block import Block
from roofline.reducers import REDUCERS
from roofline.reducers.base import Reducer, ReductionTask, paper_share
from roofline.reducers.ops import (
    COSINE_FLOPS,
    gather,
    matmul,
    mean_keys,
    next_block_attention,
    ranking,
)

Variant = Literal["released", "paper"]

_PAPER = "Shang et al. 2025, LLaVA-PruMerge (ICCV), arXiv:2403.15388"
_QUARTER = 4


class PruMerge(Reducer, frozen=True):
    """Keep the patches that the class token attends to most; merge the others into them."""

    name = "prumerge"
    title = "PruMerge"
    source = _PAPER
    site = "features"
    default_source = f"{_PAPER}, section 4.4.1, TextVQA: 40 of 576"
    count_options = frozenset({"ratio"})

    variant: Variant = "released"
    """What the published checkpoints were trained with, or the paper's algorithm 1."""
    ratio: Annotated[float, Meta(ge=0)] | None = None
    """Share of the patches to keep; left out, a count or the image's outliers decide."""
    k: Annotated[int, Meta(ge=0)] = 32
    """Neighbours that merge into each centre."""

    def __post_init__(self) -> None:
        if self.ratio is not None and not isfinite(self.ratio):
            raise ScenarioError(f"{self.name}: `ratio` must be a finite number, not {self.ratio}")
        if self.k < 1 and not self.released:
            raise ScenarioError(f"{self.name}: `k` must be at least 1 in the variant paper")

    @property
    def released(self) -> bool:
        return self.variant == "released"

    @property
    def needs_count(self) -> bool:
        """The image's outliers decide."""
        return False

    @property
    def least(self) -> int:
        """One centre, and the extra token."""
        return 1 + self.released

    def default_kept(self, patches: int, blocks: int) -> int:
        """The options' share; left out, the mean that the paper reports for the outliers."""
        if self.ratio is None:
            return paper_share(40, patches)
        return self.strongest(patches) + self.released

    def most_kept(self, candidates: int) -> int:
        """More than all where a ratio adds an extra token, or patches that are kept already."""
        if self.ratio is None:
            return candidates
        return max(candidates, self.default_kept(candidates, blocks=0))

    def strongest(self, patches: int, count: int | None = None) -> int:
        """Centres chosen by attention: a `ratio` of the patches, or all of `count` centres."""
        if self.ratio is not None:
            return max(1, int(min(patches * self.ratio, patches)))
        assert count is not None
        return count

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """K = kept clusters, one fewer where one token holds all the rest."""
        n, c, d = task.patches, task.width, task.feature_width
        centres = task.kept - self.released
        merges = n > 1 and self.k > 0  # one patch has no neighbours
        ops = [
            *next_block_attention(task, launches=6),
            *mean_keys(task, launches=1),
            ranking(task.images, n, launches=self._ranking_launches),
            gather(task, centres, launches=6 + (not merges) if self.released else 2),
        ]
        if merges:
            cosines = task.images * (COSINE_FLOPS * n * c) if self.released else 0.0
            launches = 8 if self.released else 5
            shape = (centres, c, n)
            ops.append(
                matmul("similarity", task.images, shape, vector_flops=cosines, launches=launches)
            )
            # the shares of all patches in each cluster, zero but for its neighbours
            launches = 22 if self._keeps_twice else 19
            ops.append(matmul("merge", task.images, (centres, n, d), launches=launches))
        if self.released:
            ops.append(matmul("extra_token", task.images, (1, n, d), launches=4))
        return (Block(1, tuple(ops)),)

    @property
    def _keeps_twice(self) -> bool:
        """Whether a patch may be a centre twice."""
        return False

    @property
    def _ranking_launches(self) -> int:
        return 13


class PruMergePlus(PruMerge, frozen=True):
    """PruMerge with patches spread over the image besides those of most attention."""

    name = "prumerge+"
    title = "PruMerge+"
    default_source = f"{_PAPER}, section 3.4, a fourth"

    def default_kept(self, patches: int, blocks: int) -> int:
        """The options' share and what is spread; left out, a fourth of the patches."""
        if self.ratio is None:
            return max(2, patches // _QUARTER)
        strongest = self.strongest(patches)
        if self.released:
            return strongest + len(self.grid(patches)) + 1
        return strongest + min(strongest, patches - strongest)

    def strongest(self, patches: int, count: int | None = None) -> int:
        """Of `count` centres a fourth as released, the mixture of the adaptive rule; else half."""
        if count is None or self.ratio is not None:
            return super().strongest(patches, count)
        return max(1, count // _QUARTER) if self.released else (count + 1) // 2

    def grid(self, patches: int) -> range:
        """As released with `ratio`: the patches that are added, kept ones too."""
        assert self.ratio is not None
        beyond = 2 * patches  # a step that hits no patch
        step = max(1, int(min(1 / self.ratio, beyond)) if self.ratio else beyond)
        return range(step // 2, max(step // 2, patches - 1), step)

    @property
    def _keeps_twice(self) -> bool:
        """As released with `ratio`: for its attention, and as one of the grid."""
        return self.released and self.ratio is not None

    @property
    def _ranking_launches(self) -> int:
        return 12 if self._keeps_twice else 33


REDUCERS.register(PruMerge.name, PruMerge())
REDUCERS.register(PruMergePlus.name, PruMergePlus())
