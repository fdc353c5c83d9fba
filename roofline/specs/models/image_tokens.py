"""From pictures to what a tower encodes, and to what reaches the LLM: each model's own rule.

A rule follows the model's processor in transformers step by step, its roundings included.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, floor, sqrt
from typing import Annotated

from msgspec import Meta, Struct

from roofline.errors import ScenarioError
from roofline.specs.sourced import PositiveInt, SmallInt, Spec

Side = Annotated[int, Meta(ge=1, le=100_000)]
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


class NativeResolution(Spec, frozen=True, tag_field="rule", tag="native"):
    """The picture as it is, its sides rounded to whole squares of patches (Qwen2-VL and its heirs).

    Scaled where its pixels are too few or too many. `smart_resize` in transformers.
    """

    patch_size_px: Side
    merge_size: SmallInt
    """Side of the squares of patches that the connector makes a token of."""
    min_pixels: PositiveInt
    max_pixels: PositiveInt
    most_aspect_ratio: PositiveInt = 200

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Raises ScenarioError for one that is too narrow."""
        if max(width, height) / min(width, height) > self.most_aspect_ratio:
            raise ScenarioError(
                f"a picture of {width}x{height} is narrower than 1 to {self.most_aspect_ratio}, "
                "which the model's processor refuses"
            )
        square = self.patch_size_px * self.merge_size
        down, across = round(height / square), round(width / square)
        if down * across * square**2 > self.max_pixels:
            shrink = sqrt(height * width / self.max_pixels)
            down = max(1, floor(height / shrink / square))
            across = max(1, floor(width / shrink / square))
        elif down * across * square**2 < self.min_pixels:
            stretch = sqrt(self.min_pixels / (height * width))
            down, across = ceil(height * stretch / square), ceil(width * stretch / square)
        view = View(down * self.merge_size, across * self.merge_size)
        return ImageTokens((view,), down * across)


class AnyResolution(Spec, frozen=True, tag_field="rule", tag="anyres"):
    """The whole picture as one tile, and tiles of the best of some grids (LLaVA-NeXT, OneVision).

    Features of what pads the grid are dropped; a learned token ends each row of the rest.
    """

    tile_size_px: Side
    patch_size_px: Side
    grid_pinpoints_px: tuple[tuple[Side, Side], ...]
    """Height and width of each grid."""
    most_tiles: SmallInt | None = None
    """Features of so many tiles are left as they are, with a tenth more a side; more are scaled
    down to it (`anyres_max_9`)."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        across_px, down_px = self._best_grid(width, height)
        side = self.tile_size_px // self.patch_size_px
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


class Tiles(Spec, frozen=True, tag_field="rule", tag="tiles"):
    """Tiles of the grid whose shape is nearest to the picture's, and a thumbnail (InternVL)."""

    tile_size_px: Side
    patch_size_px: Side
    tokens_per_tile: PositiveInt
    min_tiles: SmallInt = 1
    max_tiles: SmallInt = 12
    thumbnail: bool = True
    """Of the whole picture, where that is more than one tile."""
    markers: SmallInt | None = 2
    """Tokens before and behind."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        across, down = self._grid(width, height)
        tiles = across * down + (self.thumbnail and across * down > 1)
        side, markers = self.tile_size_px // self.patch_size_px, self.markers or 0
        tokens = tiles * self.tokens_per_tile + markers
        return ImageTokens((View(side, side, count=tiles),), tokens, extra_tokens=markers)

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of tiles. Of grids as near the one with more tiles is taken, as long as
        they cover less than twice the picture.
        """
        best, nearest = (1, 1), float("inf")
        for across, down in self._grids():
            distance = abs(width / height - across / down)
            covers = self.tile_size_px**2 * across * down
            if distance < nearest or (distance == nearest and width * height > 0.5 * covers):
                best, nearest = (across, down), distance
        return best

    def _grids(self) -> Iterator[tuple[int, int]]:
        """Fewest tiles first."""
        sides = range(1, self.max_tiles + 1)
        grids = [
            (across, down)
            for across, down in product(sides, sides)
            if self.min_tiles <= across * down <= self.max_tiles
        ]
        yield from sorted(grids, key=lambda grid: grid[0] * grid[1])


class SplitImage(Spec, frozen=True, tag_field="rule", tag="split"):
    """The picture scaled to a longest side and cut into tiles, and all of it (Idefics3, SmolVLM).

    Tiles stand between markers in the prompt.
    """

    longest_edge_px: Side
    tile_size_px: Side
    patch_size_px: Side
    tokens_per_tile: PositiveInt
    most_px: Side = 4096
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
        side, tiles = self.tile_size_px // self.patch_size_px, 1 + across * down
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


class LongestEdge(Spec, frozen=True, tag_field="rule", tag="longest-edge"):
    """The picture as it is, scaled to a longest side where it is larger (Pixtral, Mistral 3).

    A token ends each row.
    """

    longest_edge_px: Side
    patch_size_px: Side
    merge_size: SmallInt = 1
    """Side of the squares of patches that the connector makes a token of."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        shrink = max(width, height) / self.longest_edge_px
        if shrink > 1:
            width, height = floor(width / shrink), floor(height / shrink)
        square = self.patch_size_px * self.merge_size
        down, across = ceil(height / square), ceil(width / square)
        view = View(down * self.merge_size, across * self.merge_size)
        return ImageTokens((view,), (across + 1) * down, extra_tokens=down)


class Unstated(Spec, frozen=True, tag_field="rule", tag="unstated"):
    """It depends on the picture, and the spec does not say how."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Raises ScenarioError."""
        raise ScenarioError(
            "how many visual tokens a picture gives is not in this model's spec: give it a rule "
            "as `image_tokens`, or analyze its LLM alone"
        )


ImageRule = NativeResolution | AnyResolution | Tiles | SplitImage | LongestEdge | Unstated
