"""What a processor's settings say of pictures: the rule from their size to tokens.

Where no `preprocessor_config.json` is given, values are those of the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from roofline.specs.hub.fields import ConfigFields
from roofline.specs.models import VisionEncoder

RELEASED_QWEN2 = {"min_pixels": 3136, "max_pixels": 12845056}
"""https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct/blob/main/preprocessor_config.json, and the same
of Qwen2.5-VL."""
RELEASED_QWEN3 = {"min_pixels": 65536, "max_pixels": 16777216}
"""https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct/blob/main/preprocessor_config.json"""
INTERN_TILES = 12
"""https://huggingface.co/OpenGVLab/InternVL3-8B-hf/blob/main/preprocessor_config.json; InternVL2's
config says it itself."""
PIXTRAL_EDGE_PX = 1024
"""https://huggingface.co/mistral-community/pixtral-12b/blob/main/preprocessor_config.json"""
MISTRAL_EDGE_PX = 1540
"""https://huggingface.co/mistralai/Mistral-Small-3.1-24B-Instruct-2503"""
IDEFICS3_TILES = 4
"""Along the longest side, of Idefics3's processor."""
UNSTATED = {"rule": "unstated"}
"""Of models whose processor is not expressed yet."""
RELEASED_GLM = {"shortest_edge": 12544, "longest_edge": 9633792}
"""Pixels, not edges. https://huggingface.co/optimum-intel-internal-testing/tiny-random-glm4v, a
small copy's preprocessor_config.json; transformers' class takes up to 11 760 000."""
LLAMA4_TILES = 16
"""Of Llama 4's processor in transformers."""
COHERE_TILES = 12
"""Of the processors of Aya Vision and Cohere2 Vision in transformers."""
RELEASED_IDEFICS2 = {"longest_edge": 980, "shortest_edge": 378}
"""Of Idefics2's processor in transformers; that of the released 8B cuts."""
ONE_VISION_GRIDS_PX = tuple(
    (384 * down, 384 * across) for down, across in product(range(1, 7), repeat=2)
)
"""Of LLaVA-OneVision's config class."""
ONE_VISION_TILES = 9
"""Of `vision_aspect_ratio` in LLaVA-OneVision's config class: anyres_max_9."""
LLAVA_NEXT_GRIDS_PX = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""Of the configs of LLaVA-NeXT."""


def native(
    fields: ConfigFields, vision: VisionEncoder, merge: int, released: Mapping[str, int]
) -> dict[str, Any]:
    """Qwen's rule. Newer settings have the pixels in `size`, by names that mean sides elsewhere."""
    given = fields.preprocessor
    size = given.get("size") or {}
    return {
        "rule": "native",
        "patch_size_px": vision.patch_size_px,
        "merge_size": merge,
        "min_pixels": given.get("min_pixels") or size.get("shortest_edge", released["min_pixels"]),
        "max_pixels": given.get("max_pixels") or size.get("longest_edge", released["max_pixels"]),
    }


def any_resolution(
    fields: ConfigFields,
    vision: VisionEncoder,
    released_px: Sequence[tuple[int, int]],
    *,
    most: int | None = None,
) -> dict[str, Any]:
    """LLaVA-NeXT's and LLaVA-OneVision's; settings and config both have the grids."""
    fields.skip("vision_aspect_ratio")
    given = fields.preprocessor
    fields.skip("image_grid_pinpoints")
    grids: Sequence[Any] = (
        given.get("image_grid_pinpoints")
        or fields.config.get("image_grid_pinpoints")
        or released_px
    )
    stated = str(fields.config.get("vision_aspect_ratio", "")).removeprefix("anyres_max_")
    return {
        "rule": "anyres",
        "tile_size_px": vision.image_size_px,
        "patch_size_px": vision.patch_size_px,
        "grid_pinpoints_px": [list(grid) for grid in grids],
        "most_tiles": int(stated) if stated.isdigit() else most,
    }


def tiles(
    fields: ConfigFields, vision: VisionEncoder, merge: int, *, most: int, thumbnail: bool = True
) -> dict[str, Any]:
    """InternVL's."""
    given = fields.preprocessor
    return {
        "rule": "tiles",
        "tile_size_px": vision.image_size_px,
        "patch_size_px": vision.patch_size_px,
        "tokens_per_tile": vision.patches // merge**2,
        "min_tiles": given.get("min_patches") or 1,
        "max_tiles": given.get("max_patches") or most,
        "thumbnail": thumbnail,
    }


def split(fields: ConfigFields, vision: VisionEncoder, tokens: int) -> dict[str, Any]:
    """Idefics3's and SmolVLM's; without splitting there is the whole picture alone."""
    given = fields.preprocessor
    tile = (given.get("max_image_size") or {}).get("longest_edge", vision.image_size_px)
    longest = (given.get("size") or {}).get("longest_edge", IDEFICS3_TILES * tile)
    cut = given.get("do_image_splitting", True)
    return {
        "rule": "split",
        "longest_edge_px": longest if cut else tile,
        "tile_size_px": tile,
        "patch_size_px": vision.patch_size_px,
        "tokens_per_tile": tokens,
    }


def longest_edge(
    fields: ConfigFields, vision: VisionEncoder, merge: int, released_px: int
) -> dict[str, Any]:
    """Pixtral's and Mistral 3's."""
    given = fields.preprocessor
    longest = (given.get("size") or {}).get("longest_edge", released_px)
    return {
        "rule": "longest-edge",
        "longest_edge_px": longest,
        "patch_size_px": vision.patch_size_px,
        "merge_size": merge,
    }


def native_volume(fields: ConfigFields, vision: VisionEncoder, merge: int) -> dict[str, Any]:
    """GLM-4V's."""
    given = fields.preprocessor
    size = RELEASED_GLM | (given.get("size") or {})
    return {
        "rule": "native-volume",
        "patch_size_px": vision.patch_size_px,
        "merge_size": merge,
        "min_pixels": size["shortest_edge"],
        "max_pixels": size["longest_edge"],
        "temporal_patch_size": given.get("temporal_patch_size", 2),
    }


def canvas(fields: ConfigFields, vision: VisionEncoder, tokens: int) -> dict[str, Any]:
    """Llama 4's."""
    given = fields.preprocessor
    return {
        "rule": "canvas",
        "tile_size_px": vision.image_size_px,
        "patch_size_px": vision.patch_size_px,
        "tokens_per_tile": tokens,
        "max_tiles": given.get("max_patches") or LLAMA4_TILES,
        "resize_to_max_canvas": bool(given.get("resize_to_max_canvas")),
    }


def covering(fields: ConfigFields, vision: VisionEncoder, merge: int) -> dict[str, Any]:
    """Cohere2 Vision's."""
    given = fields.preprocessor
    return {
        "rule": "covering",
        "tile_size_px": vision.image_size_px,
        "patch_size_px": vision.patch_size_px,
        "tokens_per_tile": vision.patches // merge**2,
        "max_tiles": given.get("max_patches") or COHERE_TILES,
    }


def quarters(fields: ConfigFields, vision: VisionEncoder, tokens: int) -> dict[str, Any]:
    """Idefics2's."""
    given = fields.preprocessor
    size = RELEASED_IDEFICS2 | (given.get("size") or {})
    return {
        "rule": "quarters",
        "longest_edge_px": size["longest_edge"],
        "shortest_edge_px": size["shortest_edge"],
        "patch_size_px": vision.patch_size_px,
        "tokens_per_crop": tokens,
        "do_image_splitting": given.get("do_image_splitting", True),
    }


def pan_and_scan(fields: ConfigFields, vision: VisionEncoder, tokens: int) -> dict[str, Any] | None:
    """Gemma 3's, where its processor is set to it; released ones are not."""
    given = fields.preprocessor
    if not given.get("do_pan_and_scan"):
        return None
    prefix = "pan_and_scan_"
    stated = {
        "min_crop_size_px": given.get(f"{prefix}min_crop_size"),
        "max_num_crops": given.get(f"{prefix}max_num_crops"),
        "min_ratio_to_activate": given.get(f"{prefix}min_ratio_to_activate"),
    }
    return {
        "rule": "pan-and-scan",
        "image_size_px": vision.image_size_px,
        "patch_size_px": vision.patch_size_px,
        "tokens_per_crop": tokens,
        **{key: value for key, value in stated.items() if value is not None},
    }
