"""A reducer of one's own, in one file: what it is, its options, what it leaves, how it is done.

    cd examples
    roofline analyze --plugin my_reducers.py --model llava-1.5-7b --hw h100 --reducer strided
    roofline tokens photo.jpg --plugin my_reducers.py --reducer strided -o strided.png

Take it as the start of yours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from roofline import Reducer, register_reducer

if TYPE_CHECKING:
    from torch import Tensor


class Strided(Reducer, frozen=True):
    """Patches in even steps of raster order."""

    name = "strided"
    title = "Strided sampling"
    source = "this file"
    site = "features"
    default_source = "a fourth of the patches"
    by_position = True

    first: Annotated[int, Meta(ge=0)] = 0
    """Patch to begin with: an option, `strided:first=3`."""

    def default_kept(self, patches: int, blocks: int) -> int:
        """A fourth."""
        return max(1, patches // 4)


def strided(
    reducer: Strided,
    features: Tensor,
    queries: Tensor | None,
    keys: Tensor | None,
    *,
    count: int,
    class_token: bool = True,
) -> tuple[Tensor, Tensor]:
    """`count` patches of [B, 1 + N, C], class token first: tokens [B, n, C], indices [B, n]."""
    import torch  # here, so that pricing does without

    patches = features[:, 1:] if class_token else features
    images, number, _ = patches.shape
    steps = torch.arange(count, device=features.device) * number // count
    indices = (steps + reducer.first) % number
    return patches[:, indices], indices.expand(images, -1)


register_reducer(Strided(), strided)
