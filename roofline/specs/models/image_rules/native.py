"""Pictures in their own shape: sides rounded to whole patches, scaled where they are too large."""

from math import ceil, floor, sqrt

from roofline.specs.models.image_rules.refusals import narrower_than, too_narrow
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import PositiveInt, SmallInt, Spec


class NativeResolution(Spec, frozen=True, tag_field="rule", tag="native"):
    """The picture as it is, its sides rounded to whole squares of patches (Qwen2-VL and its heirs).

    Scaled where its pixels are too few or too many. `smart_resize` in transformers.
    """

    patch_size_px: SidePx
    merge_size: SmallInt
    """Side of the squares of patches that the connector makes a token of."""
    min_pixels: PositiveInt
    max_pixels: PositiveInt
    most_aspect_ratio: PositiveInt = 200

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Raises ScenarioError for one that is too narrow."""
        if max(width, height) / min(width, height) > self.most_aspect_ratio:
            raise narrower_than(self.most_aspect_ratio, width, height)
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


class LongestEdge(Spec, frozen=True, tag_field="rule", tag="longest-edge"):
    """The picture as it is, scaled to a longest side where it is larger (Pixtral, Mistral 3).

    A token ends each row.
    """

    longest_edge_px: SidePx
    patch_size_px: SidePx
    merge_size: SmallInt = 1
    """Side of the squares of patches that the connector makes a token of."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Raises ScenarioError for one so narrow that nothing is left of it."""
        shrink = max(width, height) / self.longest_edge_px
        wide, high = width, height
        if shrink > 1:
            wide, high = floor(width / shrink), floor(height / shrink)
        if not wide or not high:
            raise too_narrow(width, height)
        square = self.patch_size_px * self.merge_size
        down, across = ceil(high / square), ceil(wide / square)
        view = View(down * self.merge_size, across * self.merge_size)
        return ImageTokens((view,), (across + 1) * down, extra_tokens=down)
