"""Baselines without any ranking (`roofline.reducers.sampling`), in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from roofline.reducers.sampling import Sequential, Spatial, square_of
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import (
    Method,
    Reduction,
    check_count,
    check_features,
    patches_of,
    rows,
)


def sequential(
    reducer: Sequential,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
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
    reducer: Spatial,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int | None = None,
    class_token: bool = True,
    shape: tuple[int, int] | None = None,
) -> Reduction:
    """Patches evenly over R rows and S columns: row_i = ⌊(i + ½)·R/r⌋, col_j = ⌊(j + ½)·S/c⌋.

    shape: R and S; left out, the patches are a square.
    """
    check_features(features, class_token=class_token)
    patches = patches_of(features, class_token)  # [B, N, C]
    if count is not None:
        check_count(count, patches.shape[1])
    sides = square_of(patches.shape[1]) if shape is None else shape
    row, column = (
        torch.arange(1, 2 * points, 2, device=features.device) * side // (2 * points)
        for points, side in zip(reducer.laid_out(sides, count), sides, strict=True)
    )
    indices = (row[:, None] * sides[1] + column).flatten().expand(len(patches), -1)  # [B, r·c]
    return Reduction(list(rows(patches, indices).unbind()), list(indices.unbind()))


METHODS.register("sequential", Method("sequential", reduce=sequential))
METHODS.register("spatial", Method("spatial", reduce=spatial))
