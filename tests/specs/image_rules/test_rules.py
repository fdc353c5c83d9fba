"""Pictures to tokens: each rule against the processor of the model that has it, size by size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from roofline.errors import ScenarioError
from roofline.specs.models.image_rules import (
    AnyResolution,
    CanvasTiles,
    CoveringTiles,
    LargeInTiles,
    MaskedTiles,
    NativeVolume,
    PanAndScan,
    PatchBudget,
    Quarters,
    Slices,
    SplitImage,
    Tiles,
)
from roofline.specs.models.image_tokens import ImageTokens

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from tests.helpers.processor_parts import parts_of  # noqa: E402

SIZES = [
    (1280, 720), (1920, 1080), (640, 480), (480, 640), (336, 336), (672, 672), (448, 448),
    (1000, 5), (5, 1000), (1000, 1), (1, 1000), (31, 17), (17, 31), (28, 28), (27, 29), (1, 1),
    (2, 3), (3840, 2160), (4032, 3024), (3024, 4032), (8000, 100), (100, 8000), (1024, 1024),
    (1025, 1023), (999, 333), (333, 999), (700, 699), (56, 56), (55, 57), (896, 448), (449, 447),
    (2000, 1999), (1500, 77), (512, 288), (512, 512), (513, 512), (768, 1152), (1152, 1152),
    (2305, 2303), (6000, 4000), (123, 456), (789, 1011), (307, 256), (308, 256), (980, 980),
    (981, 377), (336, 335), (1344, 1344), (5376, 5376),
]  # fmt: skip
"""Width and height."""

Seen = tuple[int, int, int] | None
"""Tokens, pictures and patches of all pictures; None where the processor refuses."""
Case = tuple[Any, Callable[[int, int], Seen]]


def seen(found: ImageTokens) -> Seen:
    pictures = sum(view.count for view in found.views)
    return found.tokens, pictures, sum(view.count * view.patches for view in found.views)


def glm4v() -> Case:
    """Limits of GLM-4.5V's preprocessor_config.json."""
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

    size = {"shortest_edge": 12544, "longest_edge": 9633792}
    processor = Glm4vImageProcessorPil(size=size)
    rule = NativeVolume(patch_size_px=14, merge_size=2, min_pixels=12544, max_pixels=9633792)

    def witness(width: int, height: int) -> Seen:
        try:
            patches = processor.get_number_of_image_patches(height, width, {})
        except ValueError:
            return None
        return patches // 4, 1, patches

    return rule, witness


def kimi() -> Case:
    parts = parts_of("kimi_k25.image_processing_kimi_k25")
    rule = PatchBudget(patch_size_px=14, merge_size=2, max_patches=16384, max_patches_per_side=512)

    def witness(width: int, height: int) -> Seen:
        stub = SimpleNamespace(
            size={"max_height": 512}, patch_size=14, merge_size=2, max_patches=16384
        )
        patches = parts.get_number_of_image_patches(stub, height, width)
        return patches // 4, 1, patches

    return rule, witness


def llama4(to_max: bool = False) -> Case:
    from transformers.models.llama4.processing_llama4 import Llama4Processor

    parts = parts_of("llama4.image_processing_llama4")
    rule = CanvasTiles(
        tile_size_px=336, patch_size_px=14, tokens_per_tile=144, resize_to_max_canvas=to_max
    )
    square = SimpleNamespace(height=336, width=336)

    def witness(width: int, height: int) -> Seen:
        grids = torch.tensor(parts.find_supported_resolutions(16, square))
        best = parts.get_best_fit((height, width), grids, to_max)
        down, across = (int(side) // 336 for side in best)
        text = Llama4Processor._prompt_split_image(None, (down, across), 144)
        pictures = text.count("<|patch|>") // 144
        return text.count("<"), pictures, pictures * 24 * 24

    return rule, witness


def cohere2() -> Case:
    from transformers.models.cohere2_vision.processing_cohere2_vision import (
        Cohere2VisionProcessor,
    )

    parts = parts_of("cohere2_vision.image_processing_cohere2_vision")
    names = parts.__dict__
    size = {"height": 512, "width": 512}
    stub = SimpleNamespace(min_patches=1, max_patches=12, size=size, crop_to_patches=True)
    stub.get_number_of_image_patches = names["get_number_of_image_patches"].__get__(stub)
    whole = SimpleNamespace(
        image_processor=stub, patch_size=16, _merge_kwargs=lambda: {"images_kwargs": {}}
    )
    rule = CoveringTiles(tile_size_px=512, patch_size_px=16, tokens_per_tile=256)

    def witness(width: int, height: int) -> Seen:
        found = Cohere2VisionProcessor._get_num_multimodal_tokens(
            whole, image_sizes=[(height, width)]
        )
        pictures = found["num_image_patches"][0]
        return found["num_image_tokens"][0], pictures, pictures * 32**2

    return rule, witness


def aya() -> Case:
    from transformers.models.aya_vision.processing_aya_vision import AyaVisionProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
        GotOcr2ImageProcessorPil,
    )

    whole = SimpleNamespace(
        image_processor=GotOcr2ImageProcessorPil(
            size={"height": 364, "width": 364}, crop_to_patches=True
        ),
        img_size=364,
        patch_size=28,
        _merge_kwargs=lambda: {"images_kwargs": {}},
    )
    rule = Tiles(tile_size_px=364, patch_size_px=14, tokens_per_tile=169, tile_markers=True)

    def witness(width: int, height: int) -> Seen:
        found = AyaVisionProcessor._get_num_multimodal_tokens(whole, image_sizes=[(height, width)])
        pictures = found["num_image_patches"][0]
        return found["num_image_tokens"][0], pictures, pictures * 26**2

    return rule, witness


def gemma3() -> Case:
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    processor = Gemma3ImageProcessorPil()
    rule = PanAndScan(image_size_px=896, patch_size_px=14, tokens_per_crop=256)

    def witness(width: int, height: int) -> Seen:
        blank = np.broadcast_to(np.zeros(1, np.uint8), (3, height, width))
        pictures = 1 + len(processor.pan_and_scan(blank, 256, 4, 1.2))
        return 256 * pictures, pictures, pictures * 64**2

    return rule, witness


def idefics2(split: bool = True) -> Case:
    from transformers.image_utils import SizeDict
    from transformers.models.idefics2 import image_processing_pil_idefics2 as pil

    processor = pil.Idefics2ImageProcessorPil()
    size = SizeDict(longest_edge=980, shortest_edge=378)
    rule = Quarters(
        longest_edge_px=980, shortest_edge_px=378, patch_size_px=14, tokens_per_crop=64,
        do_image_splitting=split,
    )  # fmt: skip

    def witness(width: int, height: int) -> Seen:
        blank = np.broadcast_to(np.zeros(1, np.uint8), (3, height, width))
        pictures = processor.split_images(blank) if split else [blank]
        if any(0 in picture.shape for picture in pictures):
            return None
        sizes = [pil.get_resize_output_image_size(picture, size) for picture in pictures]
        high, wide = (max(sides) // 14 for sides in zip(*sizes, strict=True))
        one = "f" + "i" * 64 + "f"
        text = (one * len(pictures)).replace("ff", "f")
        return len(text), len(pictures), len(pictures) * high * wide

    return rule, witness


def minicpm() -> Case:
    """4.6: slices of 16 patches a token."""
    from transformers.models.minicpmv4_6 import image_processing_pil_minicpmv4_6 as pil

    processor = pil.MiniCPMV4_6ImageProcessorPil()
    rule = Slices(scale_resolution_px=448, patch_size_px=14, merge_size=4)

    def witness(width: int, height: int) -> Seen:
        size = (height, width)
        grid = processor.get_sliced_grid(size, 9, 448)
        high, wide = processor.find_best_resize(size, 448, 14, "16x", allow_upscale=grid is None)
        patches = (high // 14) * (wide // 14)
        if grid is None:
            return patches // 16, 1, patches
        high, wide = processor.get_refine_size(size, grid, 448, 14, "16x", allow_upscale=True)
        slices = grid[0] * grid[1]
        one = (high // grid[0] // 14) * (wide // grid[1] // 14)
        return patches // 16 + slices * (one // 16), 1 + slices, patches + slices * one

    return rule, witness


def lfm2(thumbnail: bool = True) -> Case:
    """Settings of LFM2-VL-450M, with and without its thumbnail."""
    from transformers.models.lfm2_vl.processing_lfm2_vl import Lfm2VlProcessor

    parts = parts_of("lfm2_vl.image_processing_lfm2_vl")
    budget = {
        "downsample_factor": 2, "max_image_tokens": 256, "encoder_patch_size": 16
    }  # fmt: skip
    rule = LargeInTiles(tile_size_px=512, encoder_patch_size_px=16, use_thumbnail=thumbnail)
    layout = SimpleNamespace(_target_ratios=lambda *of: parts._target_ratios(None, *of))
    words = SimpleNamespace(
        image_start_token="<|s|>", image_end_token="<|e|>", image_token="<|i|>",
        image_thumbnail_token="<|t|>",
    )  # fmt: skip

    def witness(width: int, height: int) -> Seen:
        of = {"height": height, "width": width}
        wide, high = parts.smart_resize(None, **of, **budget, min_image_tokens=64)
        large = parts._is_image_too_large(None, **of, **budget, max_pixels_tolerance=2.0)
        across = down = 1
        if large:
            across, down, *_ = parts._get_grid_layout(layout, height, width, 2, 10, 512)
        whole = Lfm2VlProcessor._compute_tokens_for_image(None, [high, wide], 16, 2)
        text = Lfm2VlProcessor._build_image_tokens(words, down, across, 256, whole, thumbnail, True)
        patches = (high // 16) * (wide // 16)
        if not large:
            return text.count("<"), 1, patches
        tiles = across * down
        patches = tiles * 32**2 + thumbnail * patches
        return text.count("<"), tiles + thumbnail, patches

    return rule, witness


def phi4() -> Case:
    """The processor itself, its pictures replaced by their shapes."""
    resizing = SimpleNamespace(
        resize=lambda picture, size: torch.empty(3, *size),
        pad=lambda picture, sides, fill: torch.empty(
            3, picture.shape[-2] + sides[3], picture.shape[-1] + sides[2]
        ),
    )
    parts = parts_of(
        "phi4_multimodal.image_processing_phi4_multimodal",
        tvF=resizing, BatchFeature=lambda data, tensor_type: data,
    )  # fmt: skip
    square = SimpleNamespace(height=448, width=448)
    stub = SimpleNamespace(
        rescale_and_normalize=lambda picture, *_: picture,
        resize=lambda picture, size, **_: torch.empty(3, 448, 448),
    )
    for name in (
        "dynamic_preprocess", "find_closest_aspect_ratio", "pad_to_max_num_crops",
        "pad_mask_to_max_num_crops",
    ):  # fmt: skip
        setattr(stub, name, getattr(parts, name).__get__(stub))
    rule = MaskedTiles(tile_size_px=448, patch_size_px=14)

    def witness(width: int, height: int) -> Seen:
        try:
            found = parts._preprocess(
                stub, [torch.empty(3, height, width)], True, square, None, False, 1.0, False,
                None, None, 14, 36, None,
            )  # fmt: skip
        except ValueError:
            return None
        pictures = found["image_pixel_values"].shape[1]
        return found["num_img_tokens"][0], pictures, pictures * 32**2

    return rule, witness


CASES: dict[str, Callable[[], Case]] = {
    "GLM-4V": glm4v,
    "Kimi K2.5": kimi,
    "Llama 4": llama4,
    "Llama 4, largest canvas": lambda: llama4(to_max=True),
    "Cohere2 Vision": cohere2,
    "Aya Vision": aya,
    "Gemma 3, pan and scan": gemma3,
    "Idefics2": idefics2,
    "Idefics2, whole": lambda: idefics2(split=False),
    "MiniCPM-V 4.6": minicpm,
    "LFM2-VL": lfm2,
    "LFM2-VL, no thumbnail": lambda: lfm2(thumbnail=False),
    "Phi-4": phi4,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_rule_gives_what_the_processor_gives(case: Callable[[], Case]) -> None:
    rule, witness = case()
    ours: dict[tuple[int, int], Seen] = {}
    for size in SIZES:
        try:
            ours[size] = seen(rule.image(*size))
        except ScenarioError:
            ours[size] = None
    assert ours == {size: witness(*size) for size in SIZES}
    assert len({found and found[0] for found in ours.values()}) > 1 or isinstance(rule, Quarters)


@pytest.mark.parametrize(
    "rule",
    [
        partial(AnyResolution, grid_pinpoints_px=((28, 28),)),
        partial(Tiles, tokens_per_tile=4),
        partial(SplitImage, longest_edge_px=56, tokens_per_tile=4),
        partial(CanvasTiles, tokens_per_tile=4),
        partial(CoveringTiles, tokens_per_tile=4),
        MaskedTiles,
    ],
)
def test_a_tile_holds_a_patch(rule: Callable[..., Any]) -> None:
    rule(tile_size_px=14, patch_size_px=14)
    with pytest.raises(ValueError, match="`tile_size_px` must hold at least one patch"):
        rule(tile_size_px=13, patch_size_px=14)
