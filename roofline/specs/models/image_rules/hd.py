"""High-resolution transforms of Phi's models: a padded grid of crops, and the whole picture."""

from math import ceil

from roofline.specs.models.image_rules.grids import nearest_grid
from roofline.specs.models.image_rules.refusals import too_narrow
from roofline.specs.models.image_rules.square import SquareTiles
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import PositiveInt, SmallInt, Spec


class HdTransform(Spec, frozen=True, tag_field="rule", tag="hd-transform"):
    """As many crops along the longer side as fit the budget with the padded other side
    (Phi-3-vision, Phi-3.5-vision: `calc_hd_transform_size`).

    Squares of 2 × 2 patches make a token. Extra tokens: an end of each of their rows, in the grid
    and in the whole picture, and a separator: (h·w + 1)·144 + 1 + (h + 1)·12 for crops of 336 px.
    """

    crop_size_px: SidePx
    patch_size_px: SidePx
    num_crops: SmallInt

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Raises ScenarioError for one so narrow that nothing is left of it."""
        longer, shorter = max(width, height), min(width, height)
        ratio = longer / shorter
        along = 1
        while (along + 1) * ceil((along + 1) / ratio) <= self.num_crops:
            along += 1
        beside = ceil(int(along * self.crop_size_px / ratio) / self.crop_size_px)
        if not beside:
            raise too_narrow(width, height)
        down = beside if width >= height else along
        side = self.crop_size_px // self.patch_size_px
        rows, seen = side // 2, along * beside + 1
        extra = 1 + (down + 1) * rows
        return ImageTokens((View(side, side, count=seen),), seen * rows**2 + extra, extra)


class MaskedTiles(SquareTiles, frozen=True, tag_field="rule", tag="masked-tiles"):
    """Tiles that hold the picture at its own size, or of the grid nearest to its shape where those
    are too many; and the whole picture (Phi-4-multimodal: `dynamic_preprocess`).

    Squares of 2 × 2 patches make a token, but not where they are padding alone. Extra tokens: an
    end of each of their rows, in the grid and in the whole picture, and a separator.
    """

    dynamic_hd: PositiveInt = 36
    """Most tiles."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Raises ScenarioError for one that its processor calls very extreme."""
        px = self.tile_size_px
        across, down = ceil(width / px), ceil(height / px)
        if across * down > self.dynamic_hd:
            across, down = nearest_grid(width, height, px, 1, self.dynamic_hd)
        wide, high = px * across, px * down
        if wide / width < high / height:
            shown = (wide, int(height * (wide / width)))
        else:
            shown = (int(width * (high / height)), high)
        if min(shown) < _LEAST_PX:
            raise too_narrow(width, height)
        side = self.patches_along
        columns = _tokens_along(side * across, (wide - shown[0]) // self.patch_size_px)
        rows = _tokens_along(side * down, (high - shown[1]) // self.patch_size_px)
        whole = side // 2
        extra = 1 + rows + whole
        tokens = whole**2 + rows * columns + extra
        return ImageTokens((View(side, side, count=1 + across * down),), tokens, extra)


_LEAST_PX = 10
"""Of a side of the scaled picture, for Phi-4's processor."""


def _tokens_along(patches: int, padding: int) -> int:
    """Every other patch that shows the picture."""
    return ceil((patches - padding) / 2)
