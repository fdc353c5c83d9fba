"""Square tiles of a picture, and all of it as one more."""

from math import ceil

from roofline.specs.models.image_rules.grids import nearest_grid
from roofline.specs.models.image_rules.square import SquareTiles
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import PositiveInt, SmallInt


class Tiles(SquareTiles, frozen=True, tag_field="rule", tag="tiles"):
    """Tiles of the grid whose shape is nearest to the picture's, and a thumbnail (InternVL)."""

    tokens_per_tile: PositiveInt
    min_tiles: SmallInt = 1
    max_tiles: SmallInt = 12
    thumbnail: bool = True
    """Of the whole picture, where that is more than one tile."""
    markers: SmallInt | None = 2
    """Tokens before and behind."""
    tile_markers: bool = False
    """Whether one more goes with each tile (Aya Vision)."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        across, down = nearest_grid(
            width, height, self.tile_size_px, self.min_tiles, self.max_tiles
        )
        tiles = across * down + (self.thumbnail and across * down > 1)
        side = self.patches_along
        markers = (self.markers or 0) + (tiles if self.tile_markers else 0)
        tokens = tiles * self.tokens_per_tile + markers
        return ImageTokens((View(side, side, count=tiles),), tokens, extra_tokens=markers)


class SplitImage(SquareTiles, frozen=True, tag_field="rule", tag="split"):
    """The picture scaled to a longest side and cut into tiles, and all of it (Idefics3, SmolVLM).

    Tiles stand between markers in the prompt.
    """

    longest_edge_px: SidePx
    tokens_per_tile: PositiveInt
    most_px: SidePx = 4096
    """No side is longer, whatever `longest_edge_px` says."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        width, height = self._scaled(width, height)
        across, down = ceil(width / self.tile_size_px), ceil(height / self.tile_size_px)
        if max(width, height) <= self.tile_size_px:
            across = down = 0
        # a marker before and two behind the whole; a marker and a place before each tile, an end
        # of row behind each row
        extra = 3 + down * (2 * across + 1)
        side, tiles = self.patches_along, 1 + across * down
        tokens = tiles * self.tokens_per_tile + extra
        return ImageTokens((View(side, side, count=tiles),), tokens, extra_tokens=extra)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        ratio = width / height
        if width >= height:
            width = self.longest_edge_px
            height = int(width / ratio)
            height += height % 2
        else:
            height = self.longest_edge_px
            width = int(height * ratio)
            width += width % 2
        width, height = max(width, 1), max(height, 1)
        ratio = width / height
        if width >= height and width > self.most_px:
            width, height = self.most_px, int(self.most_px / ratio)
        elif height > width and height > self.most_px:
            width, height = int(self.most_px * ratio), self.most_px
        return max(width, 1), max(height, 1)
