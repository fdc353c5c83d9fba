"""Pictures that fit one view as they are, and tiles of those that do not (LFM2-VL)."""

from math import ceil, floor, sqrt

from roofline.specs.models.image_rules.grids import nearest_grid
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import Positive, PositiveInt, SmallInt, Spec


class LargeInTiles(Spec, frozen=True, tag_field="rule", tag="large-in-tiles"):
    """The picture in its own shape within a budget of tokens; where it is larger than that by more
    than a tolerance, tiles of the grid nearest to its shape, and the former as a thumbnail.

    Extra tokens: a start and an end, one before each tile and one before the thumbnail.
    """

    tile_size_px: SidePx
    encoder_patch_size_px: SidePx
    downsample_factor: SmallInt = 2
    """Side of the squares of patches that the connector makes a token of."""
    min_image_tokens: PositiveInt = 64
    max_image_tokens: PositiveInt = 256
    max_pixels_tolerance: Positive = 2.0
    min_tiles: SmallInt = 2
    max_tiles: SmallInt = 10
    use_thumbnail: bool = True

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        whole = self._whole(width, height)
        if not self._is_large(width, height):
            return ImageTokens((whole,), self._tokens(whole) + 2, 2)
        across, down = nearest_grid(
            width, height, self.tile_size_px, self.min_tiles, self.max_tiles
        )
        side = self.tile_size_px // self.encoder_patch_size_px
        tiles = View(side, side, count=across * down)
        views = (tiles, whole) if self.use_thumbnail else (tiles,)
        extra = 2 + sum(view.count for view in views)
        tokens = sum(view.count * self._tokens(view) for view in views) + extra
        return ImageTokens(views, tokens, extra)

    def _tokens(self, view: View) -> int:
        by = self.downsample_factor
        return ceil(view.rows / by) * ceil(view.columns / by)

    @property
    def _square(self) -> int:
        """Side in pixels of what becomes a token."""
        return self.encoder_patch_size_px * self.downsample_factor

    def _is_large(self, width: int, height: int) -> bool:
        if self.min_tiles == self.max_tiles == 1:
            return False
        high, wide = (
            max(self.encoder_patch_size_px, round(side / self._square) * self._square)
            for side in (height, width)
        )
        most = self.max_image_tokens * self._square**2
        return high * wide > most * self.max_pixels_tolerance

    def _whole(self, width: int, height: int) -> View:
        square = self._square
        down, across = max(1, round(height / square)), max(1, round(width / square))
        if down * across > self.max_image_tokens:
            shrink = sqrt(height * width / (self.max_image_tokens * square**2))
            down = max(1, floor(height / shrink / square))
            across = max(1, floor(width / shrink / square))
        elif down * across < self.min_image_tokens:
            stretch = sqrt(self.min_image_tokens * square**2 / (height * width))
            down, across = ceil(height * stretch / square), ceil(width * stretch / square)
        return View(down * self.downsample_factor, across * self.downsample_factor)
