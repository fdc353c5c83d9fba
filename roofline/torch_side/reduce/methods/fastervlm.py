"""FasterVLM: what the class token attends to most (Zhang et al. 2024, arXiv:2412.01818).

One row of attention, mean over heads, in the last block that contributes to the features; the
`count` strongest patches stay, in raster order. Keeping commutes with the connector, which works
token by token: reducing before it gives the same tokens for less.

Matmuls, C' the width of queries and keys: attention H × [1, C'/H] @ [C'/H, 1 + N], 2·(1 + N)·C'
FLOPs an image; without a class token H × [N, C'/H] @ [C'/H, N], 2·N²·C'.
"""

from __future__ import annotations

from torch import Tensor

from roofline.torch_side.reduce.methods.base import (
    Reducer,
    Reduction,
    check_attention,
    check_count,
    defaults,
    patch_attention,
    patches_of,
    ranked,
    rows,
)


def fastervlm(
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int | None = None,
    heads: int = 16,
    class_token: bool = True,
) -> Reduction:
    """The `count` patches of greatest head-mean attention, in raster order."""
    queries, keys = check_attention(features, queries, keys, class_token)
    patches = patches_of(features, class_token)  # [B, N, C]
    count = check_count(count, patches.shape[1])
    attention = patch_attention(queries, keys, heads, class_token)  # [B, N]
    indices = ranked(attention)[:, :count].sort(dim=1).values
    return Reduction(list(rows(patches, indices).unbind()), list(indices.unbind()))


REDUCERS = (
    Reducer(
        name="fastervlm",
        title="FasterVLM",
        site="features",
        source="Zhang et al. 2024, FasterVLM, arXiv:2412.01818",
        reduce=fastervlm,
        needs_attention=True,
        attention_block=-1,
        options=defaults(fastervlm),
    ),
)
