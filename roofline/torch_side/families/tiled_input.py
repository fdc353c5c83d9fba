"""Pictures as LLaVA-NeXT and LLaVA-OneVision show them: whole, and as tiles of the best grid.

Features of what pads the grid are dropped, and a learned row ends each row of the rest. Which
feature stands where is told by the model's own `pack_image_features`, of numbers in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from roofline.errors import InputError
from roofline.torch_side.families.tower import Tower
from roofline.torch_side.families.visual import LEARNED, Pictures, VisualInput


@dataclass(frozen=True)
class TiledInput(VisualInput):
    """`pixel_values` [pictures, most tiles, 3, height, width] and `image_sizes` [pictures, 2]."""

    fixed = False
    tiles_of: Callable[[Sequence[int]], int] = len
    """Tiles of a picture of this height and width, the whole one included."""
    pack: Callable[[list[Tensor], Tensor, Tensor], Sequence[Tensor]] = lambda *_: ()
    """Features [tiles, N, C] of pictures, their heights and widths, and the learned row [C] → rows
    of each picture's run."""

    def noise(
        self, pictures: Sequence[tuple[int, int]], rule: Any, random: torch.Generator
    ) -> dict[str, Any]:
        assert isinstance(self.tower, Tower)
        sizes, side = [[height, width] for width, height in pictures], self.tower.image_size
        most = max(self.tiles_of(size) for size in sizes)
        pixels = torch.randn(len(sizes), most, 3, side, side, generator=random)
        return {self.arguments[0]: pixels, "image_sizes": torch.tensor(sizes)}

    def pictures(self, given: Mapping[str, Any]) -> Pictures | None:
        pixels, sizes = self.pixels(given), given.get("image_sizes")
        if pixels is None:
            return None
        if sizes is None:
            raise InputError(f"give `image_sizes` with `{self.arguments[0]}`")
        alone = _shown_with_others(given.get("batch_num_images"), len(sizes))
        tiles = [
            1 if whole else self.tiles_of(size)
            for whole, size in zip(alone, sizes.tolist(), strict=True)
        ]
        if pixels.ndim == 5:
            parts = zip(pixels, tiles, strict=True)
            pixels = torch.cat([picture[:number] for picture, number in parts])
        patches = self.unreduced
        starts = [0, *accumulate(patches * number for number in tiles)]
        numbers = [
            torch.arange(first, after, dtype=torch.float64).view(-1, patches, 1)
            for first, after in pairwise(starts)
        ]
        learned = torch.full((1,), LEARNED, dtype=torch.float64)
        packed = [rows.flatten() for rows in self.pack(numbers, sizes.cpu(), learned)]
        for rows, size in zip(packed, sizes.tolist(), strict=True):
            if not rows.equal(rows.round()) or len(torch.unique(rows)) < (rows != LEARNED).sum():
                height, width = size
                raise InputError(
                    f"a picture of {width}x{height} has more tiles than the model shows, which "
                    "then scales its features down: a reducer needs patches; show a smaller one"
                )
        runs = [rows.long() for rows in packed]
        return Pictures(pixels, [self._square] * sum(tiles), [len(run) for run in runs], runs)


def _shown_with_others(numbers: Tensor | None, pictures: int) -> list[bool]:
    """Of each picture whether its prompt has several, which are then shown whole alone."""
    if numbers is None:
        return [False] * pictures
    return [number > 1 for number in numbers.tolist() for _ in range(number)]
