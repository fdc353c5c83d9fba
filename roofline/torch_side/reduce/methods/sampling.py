"""Baselines without any ranking (`roofline.reducers.sampling`), in torch."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from roofline.reducers.sampling import Sequential, Spatial
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
) -> Reduction:
    """Patches evenly over rows and columns: row_i = ⌊(i + ½)·s/r⌋, col_j = ⌊(j + ½)·s/c⌋."""
    check_features(features, class_token=class_token)
    patches = patches_of(features, class_token)  # [B, N, C]
    if count is not None:
        check_count(count, patches.shape[1])
    side = isqrt(patches.shape[1])
    row, column = (
        torch.arange(1, 2 * points, 2, device=features.device) * side // (2 * points)
        for points in reducer.laid_out(patches.shape[1], count)
    )
    indices = (row[:, None] * side + column).flatten().expand(len(patches), -1)  # [B, r·c]
    return Reduction(list(rows(patches, indices).unbind()), list(indices.unbind()))


METHODS.register("sequential", Method("sequential", reduce=sequential))
METHODS.register("spatial", Method("spatial", reduce=spatial))
