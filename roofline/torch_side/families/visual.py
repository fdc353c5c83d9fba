"""What a model sees of a call: views that its tower encodes, and runs of the prompt they stand in.

A view is what the tower encodes by itself: a picture, a tile of one, a frame. A run is what one
stretch of placeholders stands for: one view as a rule; in some families all tiles of a picture, or
all frames of a video, with rows between them that are learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from roofline.torch_side.families.tower import NativeTower, Tower

LEARNED = -1
"""In a run, a row that no view has."""


@dataclass(frozen=True)
class Pictures:
    """What a call shows of one kind of visual input."""

    pixels: Tensor
    """As the tower takes them."""
    shapes: Sequence[tuple[int, int]]
    """Rows and columns of the tokens of each view."""
    sizes: Sequence[int]
    """Placeholders of each run."""
    runs: Sequence[Tensor] | None = None
    """Of each placeholder of a run the row that it stands for, counted through all views, on the
    CPU. None: each run is one view, and tokens stand in whatever order a reducer gives them.
    """
    grids: Tensor | None = None
    """Frames, rows and columns of patches, [pictures, 3], for towers of any resolution."""


@dataclass(frozen=True)
class VisualInput:
    """One kind of visual input that a model takes, and how it becomes tokens.

    This one is of views of one size, and of runs of one view each; families have others.
    """

    fixed: ClassVar[bool] = True
    """Whether each picture is one view, whatever its shape."""

    arguments: tuple[str, ...]
    """Names of the keyword that carries its pixels."""
    tower: Tower | NativeTower
    placeholder: int
    """Token id that a prompt has for each of its visual tokens."""
    connect: Callable[[Tensor], Tensor]
    """Features → rows of the prompt: any rows [rows, C] where `merged` is 1, else those of whole
    views [B, N, C] → [B, N / merged, d]."""
    blocks: int
    """ViT blocks behind the features."""
    keeps_class_token: bool = False
    """Whether the unreduced model feeds the class token to the LLM too."""
    video: bool = False
    """Whether its pixels are videos, [B, frames, 3, height, width], and not images."""
    merged: int = 1
    """Patches that the connector makes one token of. Reducers act behind it, where there are
    several."""
    grouped: Callable[[Tensor], Tensor] | None = None
    """Patches [B, N, C] in the order of the tokens that they become part of."""
    last_norm: nn.Module | None = None
    """What normalises features, where they are the tower's own output."""
    beside: tuple[str, ...] = ()
    """Names of keywords that say how the pixels are laid out, and go with them."""

    @property
    def class_token(self) -> bool:
        """Whether reducers see one, ahead of the patches."""
        return self.tower.class_token and self.merged == 1

    @property
    def unreduced(self) -> int:
        """Tokens of one view that the unreduced model feeds to the LLM."""
        assert isinstance(self.tower, Tower)
        return self.tower.patches // self.merged + self.keeps_class_token

    @property
    def view(self) -> tuple[int, int] | None:
        """Rows and columns of the tokens of a view; None where the picture decides on views."""
        return self._square if self.fixed else None

    @property
    def side_px(self) -> int:
        """Of a square picture that is one view."""
        assert isinstance(self.tower, Tower)
        return self.tower.image_size

    def square(self, pixels: Tensor) -> Pictures:
        """One square picture [1, 3, side, side] as one view."""
        return Pictures(pixels, [self._square], [self.unreduced])

    @property
    def _square(self) -> tuple[int, int]:
        assert isinstance(self.tower, Tower)
        side = isqrt(self.tower.patches // self.merged)
        return side, side

    def noise(
        self, pictures: Sequence[tuple[int, int]], rule: Any, random: torch.Generator
    ) -> dict[str, Any]:
        """What a call gives for pictures of so many pixels, width and height, which show nothing.

        rule: from a picture to what is made of it, of the model's spec.
        """
        assert isinstance(self.tower, Tower)
        side = self.tower.image_size
        return {self.arguments[0]: torch.randn(len(pictures), 3, side, side, generator=random)}

    def pixels(self, given: Mapping[str, Any]) -> Any:
        """What a call gives of it, as it stands there; None where it gives nothing."""
        return next((given[name] for name in self.arguments if given.get(name) is not None), None)

    def pictures(self, given: Mapping[str, Any]) -> Pictures | None:
        """What a call gives of it. Raises InputError for what cannot be laid out."""
        given_pixels = self.pixels(given)
        if given_pixels is None:
            return None
        pixels = given_pixels.flatten(0, -4)
        return Pictures(pixels, [self._square] * len(pixels), [self.unreduced] * len(pixels))


def side_by_side(rows: Tensor, along: int) -> Tensor:
    """Patches of square pictures [B, N, C], raster order → the same, those that a connector merges,
    `along` × `along` of them, one after the other; such groups in raster order.
    """
    side = isqrt(rows.shape[1])
    split = rows.view(len(rows), side // along, along, side // along, along, -1)
    return split.transpose(2, 3).flatten(1, 4)
