"""Slices of about one area, and an overview (LLaVA-UHD, MiniCPM-V)."""

from math import ceil, log, sqrt

from roofline.specs.models.image_tokens import ImageTokens, SidePx, View
from roofline.specs.sourced import PositiveInt, SmallInt, Spec


class Slices(Spec, frozen=True, tag_field="rule", tag="slices"):
    """An overview of about `scale_resolution_px`² pixels in the picture's own shape, and slices as
    large where the picture has more (MiniCPM-V 2.5, 2.6 and 4.6).

    Markers around overview and slices are text, and not counted.
    """

    scale_resolution_px: SidePx
    patch_size_px: SidePx
    max_slice_nums: SmallInt = 9
    merge_size: SmallInt = 1
    """Sides are whole multiples of so many patches."""
    tokens_per_slice: PositiveInt | None = None
    """Queries of a resampler, 64 in MiniCPM-V 2.6. Left out: a token for `merge_size`² patches."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Of one picture."""
        grid = self._grid(width, height)
        views = [self._view(width, height, upscale=grid is None)]
        if grid is not None:
            across, down = grid
            wide, high = _nearest_multiple(width, across), _nearest_multiple(height, down)
            slice_ = self._view(wide / across, high / down, upscale=True)
            views.append(View(slice_.rows, slice_.columns, count=across * down))
        tokens = sum(view.count * self._tokens(view) for view in views)
        return ImageTokens(tuple(views), tokens)

    def _tokens(self, view: View) -> int:
        return self.tokens_per_slice or view.patches // self.merge_size**2

    def _grid(self, width: int, height: int) -> tuple[int, int] | None:
        """Columns and rows whose shape is nearest to the picture's by logarithm, of about as many
        slices as it has areas; more rows where two are as near. None where one is enough.
        """
        areas = ceil(width * height / self.scale_resolution_px**2)
        wanted = min(areas, self.max_slice_nums)
        if wanted <= 1:
            return None
        best, nearest = (1, 1), float("inf")
        for slices in (wanted - 1, wanted, wanted + 1):
            if slices == 1 or slices > self.max_slice_nums:
                continue
            for down in (rows for rows in range(1, slices + 1) if slices % rows == 0):
                across = slices // down
                distance = abs(log(width / height) - log(across / down))
                if distance < nearest or (distance == nearest and down > best[1]):
                    best, nearest = (across, down), distance
        return best

    def _view(self, width: float, height: float, *, upscale: bool) -> View:
        """Of a picture scaled to the area, where it is larger or may be scaled up."""
        if upscale or width * height > self.scale_resolution_px**2:
            ratio = width / height
            height = int(self.scale_resolution_px / sqrt(ratio))
            width = int(height * ratio)
        square = self.patch_size_px * self.merge_size
        rows, columns = _nearest_multiple(height, square), _nearest_multiple(width, square)
        return View(rows // self.patch_size_px, columns // self.patch_size_px)


def _nearest_multiple(length: float, divisor: int) -> int:
    """At least one."""
    return max(round(length / divisor) * divisor, divisor)
