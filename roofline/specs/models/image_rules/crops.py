"""A whole picture and crops of it, each as large as any other picture in the LLM."""

from math import ceil, floor

from roofline.errors import ScenarioError
from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import Positive, PositiveInt, SmallInt, Spec


class PanAndScan(Spec, frozen=True, tag_field="rule", tag="pan-and-scan"):
    """The picture scaled to the tower's square, and crops along its longer side where that is
    much longer (Gemma 3 with `do_pan_and_scan`).

    Words that the processor writes between crops are text, and not counted.
    """

    image_size_px: SidePx
    patch_size_px: SidePx
    tokens_per_crop: PositiveInt
    """`image_seq_length` of the processor."""
    min_crop_size_px: SidePx = 256
    max_num_crops: SmallInt = 4
    min_ratio_to_activate: Positive = 1.2

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        side, seen = self.image_size_px // self.patch_size_px, 1 + self._crops(width, height)
        return ImageTokens((View(side, side, count=seen),), seen * self.tokens_per_crop)

    def _crops(self, width: int, height: int) -> int:
        longer, shorter = max(width, height), min(width, height)
        ratio = longer / shorter
        if ratio < self.min_ratio_to_activate:
            return 0
        crops = min(floor(longer / self.min_crop_size_px), floor(ratio + 0.5))
        crops = min(self.max_num_crops, max(2, crops))
        too_small = min(ceil(longer / crops), shorter) < self.min_crop_size_px
        return 0 if too_small else crops


class Quarters(Spec, frozen=True, tag_field="rule", tag="quarters"):
    """The picture in its own shape, between a shortest and a longest side, and four quarters of it
    (Idefics2).

    The tower encodes all padded to the largest; a perceiver leaves as many tokens of each. Extra
    tokens: one around and between them.
    """

    longest_edge_px: SidePx
    shortest_edge_px: SidePx
    patch_size_px: SidePx
    tokens_per_crop: PositiveInt
    do_image_splitting: bool = True

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture. Quarters are cut first and scaled each by itself. Raises ScenarioError
        for one that has no quarters.
        """
        sizes = [(width, height)]
        if self.do_image_splitting:
            if min(width, height) < 2:
                raise ScenarioError(f"a picture of {width}x{height} cannot be cut into quarters")
            across, down = width // 2, height // 2
            sizes += [(w, h) for h in (down, height - down) for w in (across, width - across)]
        scaled = [self._scaled(*size) for size in sizes]
        rows = max(high for _, high in scaled) // self.patch_size_px
        columns = max(wide for wide, _ in scaled) // self.patch_size_px
        seen = len(sizes)
        extra = seen + 1
        view = View(rows, columns, count=seen)
        return ImageTokens((view,), seen * self.tokens_per_crop + extra, extra)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        ratio = width / height
        if width >= height and width > self.longest_edge_px:
            width, height = self.longest_edge_px, int(self.longest_edge_px / ratio)
        elif height > width and height > self.longest_edge_px:
            width, height = int(self.longest_edge_px * ratio), self.longest_edge_px
        return max(width, self.shortest_edge_px), max(height, self.shortest_edge_px)
