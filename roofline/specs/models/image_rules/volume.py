"""Pictures and videos in their own shape, whose pixels are budgeted together."""

from math import ceil, floor, sqrt

from roofline.errors import ScenarioError
from roofline.specs.models.image_rules.refusals import narrower_than
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import PositiveInt, SmallInt, Spec


class NativeVolume(Spec, frozen=True, tag_field="rule", tag="native-volume"):
    """Sides rounded to whole squares of patches, the pixels of all frames within limits
    (GLM-4V and its heirs; videos of Qwen3-VL): `smart_resize` with `num_frames`.

    A picture counts as one temporal patch.
    """

    patch_size_px: SidePx
    merge_size: SmallInt
    """Side of the squares of patches that the connector makes a token of."""
    min_pixels: PositiveInt
    """Of all frames together, as `max_pixels`; `shortest_edge` of the processor's `size`."""
    max_pixels: PositiveInt
    temporal_patch_size: SmallInt = 2
    """Frames that make one layer of patches."""
    most_aspect_ratio: PositiveInt = 200

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Raises ScenarioError for one that is too narrow."""
        return self.video(width, height, self.temporal_patch_size)

    def video(self, width: int, height: int, frames: int) -> ImageTokens:
        """Of so many frames, the last repeated to whole temporal patches. Raises ScenarioError."""
        if frames < self.temporal_patch_size:
            raise ScenarioError(
                f"the model's processor takes {self.temporal_patch_size} frames or more, not "
                f"{frames}"
            )
        square = self.patch_size_px * self.merge_size
        shown = width, height
        if height < square or width < square:
            stretch = max(square / height, square / width)
            height, width = int(height * stretch), int(width * stretch)
        if max(width, height) / min(width, height) > self.most_aspect_ratio:
            raise narrower_than(self.most_aspect_ratio, *shown)
        down, across = round(height / square), round(width / square)
        depth = round(frames / self.temporal_patch_size) * self.temporal_patch_size
        pixels = depth * down * across * square**2
        if pixels > self.max_pixels:
            shrink = sqrt(frames * height * width / self.max_pixels)
            down = max(1, floor(height / shrink / square))
            across = max(1, floor(width / shrink / square))
        elif pixels < self.min_pixels:
            stretch = sqrt(self.min_pixels / (frames * height * width))
            down, across = ceil(height * stretch / square), ceil(width * stretch / square)
        layers = ceil(frames / self.temporal_patch_size)
        view = View(down * self.merge_size, across * self.merge_size, count=layers)
        return ImageTokens((view,), layers * down * across)


class PatchBudget(Spec, frozen=True, tag_field="rule", tag="patch-budget"):
    """The picture as it is, scaled down where its patches are too many in all or along a side, and
    padded to whole squares of patches (Kimi K2.5: `navit_resize`).
    """

    patch_size_px: SidePx
    merge_size: SmallInt
    max_patches: PositiveInt
    max_patches_per_side: PositiveInt
    """`size` of the processor, its `max_height` and `max_width`."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        px = self.patch_size_px
        longest = self.max_patches_per_side * px
        patches = max(1.0, height // px) * max(1.0, width // px)
        scale = min(1.0, sqrt(self.max_patches / patches), longest / height, longest / width)
        square = px * self.merge_size
        down, across = (
            ceil(min(max(1, int(side * scale)), longest) / square) for side in (height, width)
        )
        view = View(down * self.merge_size, across * self.merge_size)
        return ImageTokens((view,), down * across)
