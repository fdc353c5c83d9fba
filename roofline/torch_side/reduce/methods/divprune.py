"""DivPrune: the most diverse projected tokens (Alvar et al. 2025, CVPR, arXiv:2503.02175).

Greedy max–min in cosine distance: the first patch is the one whose nearest other is farthest, each
next one the patch farthest from the nearest selected one; the result is in raster order. A step
depends on the one before it, hence `count` steps, each for the whole batch at once.

Matmuls: cosines [N, C] @ [C, N], 2·N²·C FLOPs an image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from roofline.torch_side.reduce.methods.base import (
    Reducer,
    Reduction,
    check_count,
    check_features,
    defaults,
    patches_of,
    ranking_dtype,
    rows,
)

_LAST = -1.0
"""Distance of patches that are not numbers: less than any, so that they come last."""


def divprune(
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
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
    distances = (1 - unit @ unit.mT).nan_to_num(nan=_LAST)  # [B, N, N]
    itself = torch.eye(patches.shape[1], dtype=torch.bool, device=patches.device)
    broken = (distances == _LAST).all(dim=1, keepdim=True)  # [B, 1, N], not to count as near
    nearest = distances.masked_fill(itself | broken, torch.inf).amin(dim=2)  # [B, N]
    selected: list[Tensor] = []
    for _ in range(count):
        latest = nearest.argmax(dim=1, keepdim=True)  # [B, 1]
        to_latest = rows(distances, latest)[:, 0]
        nearest = torch.minimum(nearest, to_latest) if selected else to_latest
        nearest = nearest.scatter(1, latest, -torch.inf)
        selected.append(latest)
    return torch.cat(selected, dim=1).sort(dim=1).values


REDUCERS = (
    Reducer(
        name="divprune",
        title="DivPrune",
        site="features",
        source="Alvar et al. 2025, DivPrune (CVPR), arXiv:2503.02175",
        reduce=divprune,
        after_connector=True,
        options=defaults(divprune),
    ),
)
