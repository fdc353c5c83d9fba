"""From pictures to what a tower encodes: grids of patches."""

from __future__ import annotations

from msgspec import Struct


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
