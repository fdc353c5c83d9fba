"""Rules from the size of a picture to tokens, a file a way of cutting it.

Each follows the model's processor step by step: its roundings, its floats, its ties.
"""

from roofline.specs.models.image_rules.anyres import AnyResolution
from roofline.specs.models.image_rules.canvas import CanvasTiles, CoveringTiles
from roofline.specs.models.image_rules.crops import PanAndScan, Quarters
from roofline.specs.models.image_rules.hd import HdTransform, MaskedTiles
from roofline.specs.models.image_rules.large import LargeInTiles
from roofline.specs.models.image_rules.native import LongestEdge, NativeResolution
from roofline.specs.models.image_rules.slices import Slices
from roofline.specs.models.image_rules.tiles import SplitImage, Tiles
from roofline.specs.models.image_rules.unstated import Unstated
from roofline.specs.models.image_rules.volume import NativeVolume, PatchBudget

ImageRule = (
    AnyResolution
    | CanvasTiles
    | CoveringTiles
    | HdTransform
    | LargeInTiles
    | LongestEdge
    | MaskedTiles
    | NativeResolution
    | NativeVolume
    | PanAndScan
    | PatchBudget
    | Quarters
    | Slices
    | SplitImage
    | Tiles
    | Unstated
)

__all__ = [
    "AnyResolution",
    "CanvasTiles",
    "CoveringTiles",
    "HdTransform",
    "ImageRule",
    "LargeInTiles",
    "LongestEdge",
    "MaskedTiles",
    "NativeResolution",
    "NativeVolume",
    "PanAndScan",
    "PatchBudget",
    "Quarters",
    "Slices",
    "SplitImage",
    "Tiles",
    "Unstated",
]
