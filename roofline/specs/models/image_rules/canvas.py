"""Grids of tiles that a picture is laid on without distortion, or scaled to the least."""

from ctypes import c_float

from roofline.specs.models.image_rules.grids import grids
from roofline.specs.models.image_rules.square import SquareTiles
from roofline.specs.models.image_tokens import ImageTokens, View
from roofline.specs.sourced import PositiveInt, SmallInt


class CanvasTiles(SquareTiles, frozen=True, tag_field="rule", tag="canvas"):
    """The grid that needs the least scaling up, then the least padding; behind it the whole
    picture, where there are several tiles (Llama 4: `get_best_fit`).

    Extra tokens: start, mark of the whole picture and end; one behind each tile, between tiles of
    a row or at its end.
    """

    tokens_per_tile: PositiveInt
    max_tiles: SmallInt = 16
    """`max_patches` of the processor."""
    resize_to_max_canvas: bool = False
    """Whether the largest grid is taken that the picture can be scaled up to."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        tiles = self._tiles(width, height)
        cut = tiles if tiles > 1 else 0
        side = self.patches_along
        extra = 3 + cut
        tokens = (cut + 1) * self.tokens_per_tile + extra
        return ImageTokens((View(side, side, count=cut + 1),), tokens, extra)

    def _tiles(self, width: int, height: int) -> int:
        """In the best grid. Scales are compared in fp32, as the processor's tensors are."""
        scaled = [
            (
                c_float(min(across * self.tile_size_px / width, down * self.tile_size_px / height)),
                across * down,
            )
            for across, down in grids(1, self.max_tiles)
        ]
        scales = [(scale.value, tiles) for scale, tiles in scaled]
        up = [scale for scale, _ in scales if scale >= 1]
        if up:
            taken = max(up) if self.resize_to_max_canvas else min(up)
        else:
            taken = max(scale for scale, _ in scales)
        return min(tiles for scale, tiles in scales if scale == taken)


class CoveringTiles(SquareTiles, frozen=True, tag_field="rule", tag="covering"):
    """The grid that a picture is scaled up to by the least, or down to by the least where all are
    smaller; and a thumbnail where there are several tiles (Cohere2 Vision:
    `get_optimal_tiled_canvas`).

    Extra tokens: one behind each tile, a start and an end.
    """

    tokens_per_tile: PositiveInt
    max_tiles: SmallInt = 12
    """`max_patches` of the processor."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        px = self.tile_size_px
        scales = {
            (across, down): min(across * px / width, down * px / height)
            for across, down in grids(1, self.max_tiles)
        }
        up = {grid: scale for grid, scale in scales.items() if scale >= 1}
        across, down = min(up, key=up.__getitem__) if up else max(scales, key=scales.__getitem__)
        tiles = across * down + (across * down > 1)
        side = self.patches_along
        extra = tiles + 2
        tokens = tiles * self.tokens_per_tile + extra
        return ImageTokens((View(side, side, count=tiles),), tokens, extra)
