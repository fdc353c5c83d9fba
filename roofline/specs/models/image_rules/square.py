"""Square tiles, which most rules cut a picture into."""

from roofline.specs.models.image_tokens import SidePx
from roofline.specs.sourced import Spec


class SquareTiles(Spec, frozen=True):
    """A rule whose tiles the tower encodes each as a picture of its own."""

    tile_size_px: SidePx
    patch_size_px: SidePx

    def __post_init__(self) -> None:
        if self.tile_size_px < self.patch_size_px:
            raise ValueError("`tile_size_px` must hold at least one patch of `patch_size_px`")

    @property
    def patches_along(self) -> int:
        """Of a tile's side."""
        return self.tile_size_px // self.patch_size_px
