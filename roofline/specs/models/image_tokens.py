"""What a tower encodes of pictures, and what reaches the LLM; the rules are in `image_rules`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

SidePx = Annotated[int, Meta(ge=1, le=100_000)]
"""In pixels."""


class View(Struct, frozen=True):
    """Pictures of one shape that the tower encodes each by itself: whole images, tiles, frames."""

    rows: int
    """Of patches."""
    columns: int
    count: int = 1
    """In one sample."""

    @property
    def patches(self) -> int:
        """Of one picture."""
        return self.rows * self.columns


class ImageTokens(Struct, frozen=True):
    """What a model makes of one picture."""

    views: tuple[View, ...]
    tokens: int
    """That reach the LLM in the picture's stead: what its processor calls `num_image_tokens`."""
    extra_tokens: int = 0
    """Of them, those that no patch makes: ends of rows, separators, markers."""
