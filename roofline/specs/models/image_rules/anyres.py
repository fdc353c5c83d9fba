"""Grids from a list, and a learned token at the end of each row of features."""

from math import sqrt

from roofline.specs.models.image_rules.square import SquareTiles
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import SmallInt


class AnyResolution(SquareTiles, frozen=True, tag_field="rule", tag="anyres"):
    """The whole picture as one tile, and tiles of the best of some grids (LLaVA-NeXT, OneVision).

    Features of what pads the grid are dropped; a learned token ends each row of the rest.
    """

    grid_pinpoints_px: tuple[tuple[SidePx, SidePx], ...]
    """Height and width of each grid."""
    most_tiles: SmallInt | None = None
    """Features of so many tiles are left as they are, with a tenth more a side; more are scaled
    down to it (`anyres_max_9`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = min((side for grid in self.grid_pinpoints_px for side in grid), default=0)
        if least < self.tile_size_px:
            raise ValueError("`grid_pinpoints_px` must be grids of a tile or more a side")

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        across_px, down_px = self._best_grid(width, height)
        side = self.patches_along
        down, across = down_px // self.tile_size_px, across_px // self.tile_size_px
        rows, columns = self._unpadded(width, height, side * down, side * across)
        ends = rows
        if self.most_tiles is not None:
            ratio = sqrt(rows * columns / (self.most_tiles * side**2))
            if ratio > 1.1:
                rows, columns = int(rows // ratio), int(columns // ratio)
                ends = rows
        tiles = View(side, side, count=1 + down * across)
        return ImageTokens((tiles,), side**2 + rows * columns + ends, extra_tokens=ends)

    def _best_grid(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the grid that keeps most pixels of the picture, then wastes least."""
        best, kept_most, wasted_least = (0, 0), 0, float("inf")
        for grid_height, grid_width in self.grid_pinpoints_px:
            scale = min(grid_width / width, grid_height / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            wasted = grid_width * grid_height - kept
            if kept > kept_most or (kept == kept_most and wasted < wasted_least):
                best, kept_most, wasted_least = (grid_width, grid_height), kept, wasted
        return best

    @staticmethod
    def _unpadded(width: int, height: int, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of features that show the picture, not what pads it to the grid."""
        if width / height > columns / rows:
            shown = int(round(height * (columns / width), 7))
            return rows - (rows - shown) // 2 * 2, columns
        shown = int(round(width * (rows / height), 7))
        return rows, columns - (columns - shown) // 2 * 2
