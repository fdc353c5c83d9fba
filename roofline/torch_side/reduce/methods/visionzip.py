"""VisionZip (`roofline.reducers.visionzip`) in torch.

Dominant: the class token and the patches that it attends to most (head-mean, in the last block
that contributes to the features), in raster order. Contextual: of the R patches left, every
⌊R/c⌋-th is a target; each other one joins the target whose key, mean over heads, has the greatest
cosine with its own; a target becomes itself + the mean of those who joined it.

Matmuls with D dominant tokens, R = N − D + 1 patches left, c contextual ones, C' the width of
queries and keys in H heads, FLOPs an image:

    attention   H × [1, C'/H] @ [C'/H, 1 + N]    2·(1 + N)·C'
    similarity  [R − c, C'/H] @ [C'/H, c]        2·(R − c)·c·C'/H
    means       [c, R − c] @ [R − c, C]          2·c·(R − c)·C

Without a class token R = N − D and attention is H × [N, C'/H] @ [C'/H, N], 2·N²·C'.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from roofline.reducers.visionzip import VisionZip
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import (
    MERGED,
    Method,
    Reduction,
    check_attention,
    check_count,
    mean_of_groups,
    patch_attention,
    patches_of,
    ranked,
    ranking_dtype,
    rows,
)


def visionzip(
    reducer: VisionZip,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int | None = None,
    heads: int = 16,
    class_token: bool = True,
    group: int = 1,
) -> Reduction:
    """Dominant tokens, class token first, then `contextual` merged ones; `count` in all.

    The class token is no patch: its index is `MERGED`; a
    contextual token has the index of its target.
    """
    queries, keys = check_attention(features, queries, keys, class_token, group)
    patches = patches_of(features, class_token)  # [B, N, C]
    count = check_count(count, patches.shape[1])
    contextual = reducer.contextual_of(count)
    attention = patch_attention(queries, keys, heads, class_token, group)
    order = ranked(attention)  # [B, N]
    strongest = count - contextual - class_token
    dominant = order[:, :strongest].sort(dim=1).values
    rest = order[:, strongest:].sort(dim=1).values  # [B, R]

    tokens, indices = [rows(patches, dominant)], [dominant]
    if class_token:
        tokens.insert(0, features[:, :1])
        indices.insert(0, torch.full_like(order[:, :1], MERGED))
    if contextual:
        targets, others = spread(rest.shape[1], contextual, rest.device)
        metric = _head_mean(mean_of_groups(patches_of(keys, class_token), group), heads)
        merged = _merge(patches, metric, rest[:, targets], rest[:, others])
        tokens.append(merged.to(features.dtype))
        indices.append(rest[:, targets])
    return Reduction(list(torch.cat(tokens, 1).unbind()), list(torch.cat(indices, 1).unbind()))


def spread(length: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions 0, step, 2·step, … [count] in a sequence, and those between and after them."""
    step = length // count
    targets = torch.arange(count, device=device) * step
    others = torch.arange(length - count, device=device)
    before = (others // (step - 1) + 1).clamp(max=count) if step > 1 else count
    return targets, others + before


def _head_mean(keys: Tensor, heads: int) -> Tensor:
    """[B, N, C'] → unit vectors [B, N, C'/H]."""
    wide = keys.detach().to(ranking_dtype(keys))
    return normalize(wide.view(*keys.shape[:2], heads, -1).mean(dim=2), dim=-1)


def _merge(patches: Tensor, metric: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Each target [B, c] + the mean of the others [B, R − c] nearest to it: [B, c, C]."""
    wide = patches.to(ranking_dtype(patches))
    cosines = rows(metric, others) @ rows(metric, targets).mT  # [B, R − c, c]
    numbers = torch.arange(targets.shape[1], device=targets.device)
    joined = (cosines.argmax(dim=-1, keepdim=True) == numbers).to(wide.dtype)
    shares = joined / joined.sum(dim=1, keepdim=True).clamp(min=1)
    return rows(wide, targets) + shares.mT @ rows(wide, others)


METHODS.register(
    "visionzip", Method("visionzip", reduce=visionzip, needs_attention=True, attention_block=-1)
)
