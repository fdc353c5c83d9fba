"""PruMerge and PruMerge+ (`roofline.reducers.prumerge`) in torch: sections 3.2 to 3.4.

Attention is that of the class token to the patches in one head of full width, 1 + N keys
(equation 2); queries and keys are those of the first block that no longer contributes to the
features.

Kept: the patches above the image's upper fence Q3 + 1.5·IQR of attention, m of them; with `ratio`
the int(N·ratio) strongest; never fewer than one, nor more than there are. PruMerge+ adds patches
spread over the image:

    released, adaptive   0, stride, 2·stride, … < N − 1 but the kept ones, stride = ⌊⌊N/m⌋/3⌋
    released, `ratio`    ⌊s/2⌋, ⌊s/2⌋ + s, … < N − 1, s = int(1/ratio) or 1, kept ones too
    released, `count`    of the count − 1 tokens ⌊(count − 1)/4⌋, but one at least, are kept for
                         their attention; that is the adaptive mixture of about 1 : 3
    paper                as many as are kept, or all others if those are fewer; with `count`
                         ⌈count/2⌉ are kept for their attention

Where a number g is to be added exactly (the last two), it is the middles of g even stretches of the
M patches not kept, ⌊(i + ½)·M/g⌋ in raster order.

Merged: each of these K tokens with the k other patches nearest to it by key, kept or not. Released:
y'_p = y_p + Σ a_j·y_j by cosine, and one extra token Σ a_j·y_j of the patches not in the K. Paper:
y'_p = Σ a_j·y_j by dot product (equation 4), no extra token. A patch that is there twice (PruMerge+
released with `ratio`) is twice among the candidates, once for itself.

Order: descending attention, then the added ones ascending, then the extra one. Ranks, weights and
sums are fp32 and round once to the type of the features.

Matmuls for one image, K tokens before the extra one, k' = min(k, N − 1) neighbours (2·N − 1 instead
of N − 1 in PruMerge+ released with `ratio`), C the width of the features, C' of queries and keys:

    attention   [1, C'] @ [C', 1 + N]       2·(1 + N)·C'   (without a class token 2·N²·C')
    similarity  [K, C'] @ [C', N]           2·K·N·C'       (none if k' = 0)
    merging     [K, N] @ [N, C]             2·K·N·C        (none if k' = 0)
    extra       [1, N] @ [N, C]             2·N·C          (released only)

A batch counts the similarity and merging of its largest K for all its images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from roofline.reducers.prumerge import PruMerge, PruMergePlus
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
    strongest,
    weighted_rows,
)


def prumerge(
    reducer: PruMerge,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int | None = None,
    class_token: bool = True,
    group: int = 1,
) -> Reduction:
    """Keep outliers of attention, a ratio of the patches or what makes `count` tokens; merge."""
    queries, keys = check_attention(features, queries, keys, class_token, group)
    patches = patches_of(features, class_token)
    patch_keys = mean_of_groups(patches_of(keys, class_token), group)
    if count is not None:  # from here on without the extra token
        count = check_count(count, patches.shape[1], reducer.least) - reducer.released
    attention = patch_attention(queries, keys, 1, class_token, group)  # [B, N]

    centres = _centres(reducer, attention.detach(), count)
    wide = patches.to(ranking_dtype(patches))
    weights = attention.to(wide.dtype)
    merged = _neighbours(
        wide, patch_keys.detach(), weights, centres, reducer.k, cosine=reducer.released
    )
    indices = centres.indices
    if not reducer.released:
        tokens = merged.to(features.dtype)
        return Reduction(_ragged(tokens, centres.counts), _ragged(indices, centres.counts))
    extra = weights.masked_fill(centres.member, 0).unsqueeze(1) @ wide  # [B, 1, C]
    tokens = torch.cat([rows(wide, indices) + merged, extra], dim=1).to(features.dtype)
    indices = torch.nn.functional.pad(indices, (0, 1), value=MERGED)
    return Reduction(_with_last(tokens, centres.counts), _with_last(indices, centres.counts))


def _ragged(padded: Tensor, counts: list[int]) -> list[Tensor]:
    return [image[:n] for image, n in zip(padded, counts, strict=True)]


def _with_last(padded: Tensor, counts: list[int]) -> list[Tensor]:
    """The first ones of each image, and the last of the batch's length."""
    longest = padded.shape[1] - 1
    return [
        image if n == longest else torch.cat([image[:n], image[-1:]])
        for image, n in zip(padded, counts, strict=True)
    ]


class Centres(NamedTuple):
    """Patches that tokens grow from."""

    indices: Tensor
    """[B, K] in order of output; beyond an image's own count any others of its patches."""
    member: Tensor
    """[B, N], whether a patch is among them."""
    twice: Tensor | None
    """[B, N], whether it is among them a second time; None if that cannot be."""
    counts: list[int]
    """How many each image has, K the greatest."""


def _centres(reducer: PruMerge, attention: Tensor, count: int | None) -> Centres:
    """`count` centres of attention [B, N] and, in PruMerge+, of position."""
    batch, number = attention.shape
    plus, released = isinstance(reducer, PruMergePlus), reducer.released
    order = ranked(attention)
    patch = torch.arange(number, device=attention.device)
    rank = torch.empty_like(order).scatter_(1, order, patch.expand_as(order))

    total: int | None = None
    if reducer.ratio is not None or count is not None:
        fixed = reducer.strongest(number, count)
        most = torch.full_like(order[:, :1], fixed)  # [B, 1]
        total = fixed if count is None else count
        if plus and count is None:
            total += min(fixed, number - fixed)
    else:
        outliers = attention > upper_fence(attention)
        most = outliers.sum(dim=1, keepdim=True).clamp(min=1)
    kept = rank < most  # [B, N]

    if isinstance(reducer, PruMergePlus) and released and reducer.ratio is not None:
        return _with_grid(order[:, :fixed], kept, reducer.grid(number))
    if not plus:
        added = torch.zeros_like(kept)
    elif total is None and released:
        stride = (number // most // 3).clamp(min=1)
        added = ~kept & (patch % stride == 0) & (patch < number - 1)
    else:
        room = number - most
        added = spread(~kept, room.minimum(most) if count is None else count - most)
    member = kept | added
    counts = [total] * batch if total is not None else member.sum(dim=1).tolist()
    order = torch.where(kept, rank, torch.where(added, patch, patch + number) + number)
    return Centres(order.argsort(dim=1)[:, : max(counts)], member, None, counts)


def _with_grid(top: Tensor, kept: Tensor, grid: range) -> Centres:
    """The top [B, K], kept [B, N], and the patches of a grid, even if they are kept already."""
    batch = len(kept)
    points = torch.arange(grid.start, grid.stop, grid.step, device=kept.device)
    added = torch.zeros_like(kept[0]).index_fill_(0, points, True)
    indices = torch.cat([top, points.expand(batch, -1)], dim=1)
    return Centres(indices, kept | added, kept & added, [indices.shape[1]] * batch)


def upper_fence(attention: Tensor) -> Tensor:
    """Q3 + 1.5·(Q3 − Q1) of each row of [B, N], linear between ranks: [B, 1]."""
    ascending = attention.sort(dim=1).values

    def quantile(share: float) -> Tensor:
        position = share * (attention.shape[1] - 1)
        low = int(position)
        high = low + (position > low)
        return torch.lerp(
            ascending[:, low : low + 1], ascending[:, high : high + 1], position - low
        )

    q1, q3 = quantile(0.25), quantile(0.75)
    return q3 + 1.5 * (q3 - q1)


def spread(free: Tensor, wanted: Tensor) -> Tensor:
    """`wanted` [B, 1] of each row's M free places [B, N], at ⌊(i + ½)·M/wanted⌋ among them."""
    room = free.sum(dim=1, keepdim=True).clamp(min=1)  # M
    through = free.cumsum(dim=1)  # free places up to and with this one

    def middles_before(ranks: Tensor) -> Tensor:  # ⌈rank·wanted/M − ½⌉
        return -((room - 2 * wanted * ranks) // (2 * room))

    return free & (middles_before(through) > middles_before(through - 1))


def _neighbours(
    patches: Tensor, keys: Tensor, weights: Tensor, centres: Centres, k: int, cosine: bool
) -> Tensor:
    """Σ a_j·y_j over the k patches whose keys are nearest to each centre's: [B, K, C].

    patches [B, N, C], keys [B, N, C'], weights [B, N].
    """
    number = patches.shape[1]
    copies = 1 if centres.twice is None else 2
    k = min(k, copies * number - 1)
    if not k:
        return patches.new_zeros(*centres.indices.shape, patches.shape[2])
    keys = keys.to(ranking_dtype(keys))
    similarity = rows(keys, centres.indices) @ keys.mT  # [B, K, N]
    if cosine:  # but for the centre's own norm, which changes no order
        similarity = similarity / keys.norm(dim=-1).clamp(min=1e-12).unsqueeze(1)
    others = similarity.scatter(2, centres.indices.unsqueeze(2), -torch.inf)
    if centres.twice is not None:
        second = similarity.masked_fill(~centres.twice.unsqueeze(1), -torch.inf)
        others = torch.stack([others, second], dim=3).flatten(2)  # [B, K, 2·N]
    nearest = strongest(others, k)
    absent = others.gather(2, nearest) == -torch.inf
    nearest = nearest // copies
    shares = weights.unsqueeze(1).expand(-1, nearest.shape[1], -1).gather(2, nearest)
    return weighted_rows(patches, nearest, shares.masked_fill(absent, 0))


for _name in (PruMerge.name, PruMergePlus.name):
    METHODS.register(_name, Method(_name, reduce=prumerge, needs_attention=True))
