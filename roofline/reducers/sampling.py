"""Baselines without any ranking (PruMerge, section 4.4.1 and Table 4). No matmul."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated

from msgspec import Meta

from roofline.errors import ScenarioError
from roofline.model.block import Block
from roofline.reducers import REDUCERS
from roofline.reducers.base import Reducer, ReductionTask, paper_share
from roofline.reducers.ops import gather, positions
from roofline.reducers.token_schedules import grids_near, squarest

_PAPER = "Shang et al. 2025, LLaVA-PruMerge (ICCV), arXiv:2403.15388"
_Points = Annotated[int, Meta(ge=1)]


class Sequential(Reducer, frozen=True):
    """The first patches in raster order."""

    name = "sequential"
    title = "Sequential sampling"
    source = _PAPER
    site = "features"
    by_position = True
    default_source = f"{_PAPER}, table 4: 40 of 576"

    def default_kept(self, patches: int, blocks: int) -> int:
        """As many as PruMerge, which it is held against."""
        return paper_share(40, patches)

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """Nothing but a list of what stays, which is a view."""
        return (Block(1, (positions(task, task.kept, launches=1),)),)


class Spatial(Reducer, frozen=True):
    """The middles of an r×c grid laid over the s×s patches, in raster order."""

    name = "spatial"
    title = "Spatial sampling"
    source = _PAPER
    site = "features"
    by_position = True
    default_source = f"{_PAPER}, table 4: 40 of 576"
    count_options = frozenset({"grid"})

    grid: tuple[_Points, _Points] | None = None
    """Rows and columns; left out, the squarest grid of as many patches as are asked for."""

    @property
    def needs_count(self) -> bool:
        """Unless there is a grid."""
        return self.grid is None

    def default_kept(self, patches: int, blocks: int) -> int:
        """The grid's; left out, about as many as PruMerge, which it is held against."""
        if self.grid is not None:
            return self.grid[0] * self.grid[1]
        return grids_near(paper_share(40, patches), isqrt(patches))[0]

    def laid_out(self, sides: tuple[int, int], count: int | None = None) -> tuple[int, int]:
        """Rows and columns over patches in so many. Raises ScenarioError where none fit."""
        if (self.grid is None) == (count is None):
            raise ScenarioError("spatial: give either `grid` (rows, columns) or `count`")
        if self.grid is None:
            assert count is not None
            return squarest(count, *sides)
        if self.grid[0] > sides[0] or self.grid[1] > sides[1]:
            raise ScenarioError(
                f"spatial: `grid` must be (rows, columns) within {sides[0]}×{sides[1]}, "
                f"not {self.grid}"
            )
        return self.grid

    def check(self, task: ReductionTask) -> None:
        """As all do; and it must fit."""
        super().check(task)
        self.laid_out(square_of(task.patches), None if self.grid else task.kept)

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """The grid, and a copy of the rows that stay."""
        rows = positions(task, task.kept, launches=8), gather(task, task.kept, launches=3)
        return (Block(1, rows),)


def square_of(patches: int) -> tuple[int, int]:
    """Rows and columns of as many patches. Raises ScenarioError where they are no square."""
    side = isqrt(patches)
    if side**2 != patches:
        raise ScenarioError(
            f"spatial sampling needs a square of patches; {patches} do not form one"
        )
    return side, side


REDUCERS.register(Sequential.name, Sequential())
REDUCERS.register(Spatial.name, Spatial())
