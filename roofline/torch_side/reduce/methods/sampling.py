"""Baselines without any ranking (PruMerge, section 4.4.1 and Table 4). No matmul.

sequential: the first n patches in raster order. spatial: the middles of an r×c grid laid over the
s×s patches, row_i = ⌊(i + ½)·s/r⌋ and col_j = ⌊(j + ½)·s/c⌋, in raster order.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from roofline.errors import ScenarioError
from roofline.reducers.token_schedules import squarest
from roofline.torch_side.reduce.methods.base import (
    Reducer,
    ReducerError,
    Reduction,
    check_count,
    check_features,
    defaults,
    patches_of,
    rows,
)

_PAPER = "Shang et al. 2025, LLaVA-PruMerge (ICCV), arXiv:2403.15388"


def sequential(
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
    *,
    count: int | None = None,
    class_token: bool = True,
) -> Reduction:
    """The first `count` patches."""
    check_features(features, class_token=class_token)
    patches = patches_of(features, class_token)  # [B, N, C]
    count = check_count(count, patches.shape[1])
    indices = torch.arange(count, device=features.device).expand(len(patches), -1)
    return Reduction(list(patches[:, :count].unbind()), list(indices.unbind()))


def spatial(
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
    *,
    grid: tuple[int, int] | None = None,
    count: int | None = None,
    class_token: bool = True,
) -> Reduction:
    """Patches evenly over rows and columns: `grid` (r, c), or the squarest one of `count` patches.

    The patches must form a square.
    """
    check_features(features, class_token=class_token)
    patches = patches_of(features, class_token)  # [B, N, C]
    side = isqrt(patches.shape[1])
    if side**2 != patches.shape[1]:
        raise ReducerError(
            f"spatial sampling needs a square of patches; {patches.shape[1]} do not form one"
        )
    if (grid is None) == (count is None):
        raise ReducerError("give either `grid` (rows, columns) or `count`")
    if grid is None:
        try:
            grid = squarest(check_count(count, side**2), side)
        except ScenarioError as error:
            raise ReducerError(str(error)) from None
    if len(grid) != 2 or not all(1 <= points <= side for points in grid):
        raise ReducerError(f"`grid` must be (rows, columns), each between 1 and {side}, not {grid}")
    row, column = (
        (2 * torch.arange(points, device=features.device) + 1) * side // (2 * points)
        for points in grid
    )
    indices = (row[:, None] * side + column).flatten().expand(len(patches), -1)  # [B, r·c]
    return Reduction(list(rows(patches, indices).unbind()), list(indices.unbind()))


REDUCERS = (
    Reducer(
        name="sequential",
        title="Sequential sampling",
        site="features",
        source=_PAPER,
        reduce=sequential,
        options=defaults(sequential),
    ),
    Reducer(
        name="spatial",
        title="Spatial sampling",
        site="features",
        source=_PAPER,
        reduce=spatial,
        options=defaults(spatial),
    ),
)
