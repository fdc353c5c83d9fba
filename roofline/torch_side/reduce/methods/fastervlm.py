"""FasterVLM (`roofline.reducers.fastervlm`) in torch.

Keeping commutes with the connector, which works token by token: reducing before it gives the same
tokens for less.

Matmuls, C' the width of queries and keys: attention H × [1, C'/H] @ [C'/H, 1 + N], 2·(1 + N)·C'
FLOPs an image; without a class token H × [N, C'/H] @ [C'/H, N], 2·N²·C'.
"""

from __future__ import annotations

from torch import Tensor

from roofline.reducers.fastervlm import FasterVLM
from roofline.torch_side.reduce.methods import METHODS
from roofline.torch_side.reduce.methods.base import (
    Method,
    Reduction,
    check_attention,
    check_count,
    patch_attention,
    patches_of,
    ranked,
    rows,
)


def fastervlm(
    reducer: FasterVLM,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int | None = None,
    heads: int = 16,
    class_token: bool = True,
    group: int = 1,
) -> Reduction:
    """The `count` patches of greatest head-mean attention, in raster order."""
    queries, keys = check_attention(features, queries, keys, class_token, group)
    patches = patches_of(features, class_token)  # [B, N, C]
    count = check_count(count, patches.shape[1])
    attention = patch_attention(queries, keys, heads, class_token, group)  # [B, N]
    indices = ranked(attention)[:, :count].sort(dim=1).values
    return Reduction(list(rows(patches, indices).unbind()), list(indices.unbind()))


METHODS.register(
    "fastervlm", Method("fastervlm", reduce=fastervlm, needs_attention=True, attention_block=-1)
)
