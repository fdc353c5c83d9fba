"""DivPrune (`roofline.reducers.divprune`) in torch.

Greedy max–min in cosine distance: the first patch is the one whose nearest other is farthest, each
next one the patch farthest from the nearest selected one; the result is in raster order. A step
depends on the one before it, hence `count` steps, each for the whole batch at once.

Matmuls: cosines [N, C] @ [C, N], 2·N²·C FLOPs an image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from roofline.reducers.divprune import DivPrune
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import (
    Method,
    Reduction,
    check_count,
    check_features,
    patches_of,
    ranking_dtype,
    rows,
)

_LAST = -1.0
"""Distance of patches that are not numbers: less than any, so that they come last."""


def divprune(
    reducer: DivPrune,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int | None = None,
    class_token: bool = True,
) -> Reduction:
    """`count` patches that are far from each other, in raster order."""
    check_features(features, class_token=class_token)
    patches = patches_of(features, class_token)  # [B, N, C]
    count = check_count(count, patches.shape[1])
    indices = most_diverse(patches.detach(), count)
    return Reduction(list(rows(patches, indices).unbind()), list(indices.unbind()))


def most_diverse(patches: Tensor, count: int) -> Tensor:
    """Indices [B, count] of patches [B, N, C], ascending. Ties go to the lower index."""
    unit = normalize(patches.to(ranking_dtype(patches)), dim=-1)
    number = patches.shape[1]
    distances = (1 - unit @ unit.mT).nan_to_num(nan=_LAST)  # [B, N, N]
    broken = (distances == _LAST).all(dim=1, keepdim=True)  # [B, 1, N], not to count as near
    others = distances.masked_fill(broken, torch.inf)
    others.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    # a selected patch is as near as can be to itself, so that it never comes again
    distances.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    latest = others.amin(dim=2).argmax(dim=1, keepdim=True)  # [B, 1]
    selected = [latest]
    nearest: Tensor | None = None  # [B, N], distance to the nearest selected one
    for _ in range(count - 1):
        to_latest = distances.gather(1, latest.unsqueeze(2).expand(-1, -1, number)).squeeze(1)
        nearest = to_latest if nearest is None else torch.minimum(nearest, to_latest)
        latest = nearest.argmax(dim=1, keepdim=True)
        selected.append(latest)
    return torch.cat(selected, dim=1).sort(dim=1).values


METHODS.register("divprune", Method("divprune", reduce=divprune))
