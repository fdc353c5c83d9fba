"""Pictures to tokens: each rule against the processor of the model that has it, size by size."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from roofline import model_from_config
from roofline.errors import ScenarioError
from roofline.specs.models.image_rules import (
    AnyResolution,
    LongestEdge,
    NativeResolution,
    SplitImage,
    Tiles,
)

pytest.importorskip("transformers")

SIZES = [
    (1280, 720), (1920, 1080), (640, 480), (480, 640), (336, 336), (672, 672), (448, 448),
    (1000, 5), (5, 1000), (31, 17), (17, 31), (28, 28), (27, 29), (1, 1), (2, 3), (3840, 2160),
    (4032, 3024), (3024, 4032), (8000, 100), (100, 8000), (1024, 1024), (1025, 1023), (999, 333),
    (333, 999), (700, 699), (56, 56), (55, 57), (896, 448), (449, 447), (2000, 1999), (1500, 77),
    (512, 288), (384, 384), (385, 384), (768, 1152), (1152, 1152), (2305, 2303), (6000, 4000),
    (123, 456), (789, 1011), (25, 1), (79, 3), (1540, 1540), (1541, 700), (364, 364), (365, 364),
]  # fmt: skip
"""Width and height."""


def asked(
    processor: type[Any], image_processor: Any, **more: Any
) -> Callable[[int, int], tuple[int, int]]:
    """Tokens and pictures that a processor gives, which needs no tokenizer for that."""
    stub = SimpleNamespace(
        image_processor=image_processor,
        _merge_kwargs=lambda *_, **__: {"images_kwargs": more.pop("images_kwargs", {})},
        tokenizer=lambda *_, **__: {"input_ids": [0]},
        **more,
    )
    for name in ("_get_number_of_features", "_get_unpadded_features"):
        if hasattr(processor, name):
            setattr(stub, name, getattr(processor, name).__get__(stub))

    def count(width: int, height: int) -> tuple[int, int]:
        found = processor._get_num_multimodal_tokens(stub, image_sizes=[(height, width)])
        return found["num_image_tokens"][0], found["num_image_patches"][0]

    return count


def qwen2_vl() -> tuple[Any, Any]:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

    given = Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=12845056)
    rule = NativeResolution(patch_size_px=14, merge_size=2, min_pixels=3136, max_pixels=12845056)
    return rule, asked(Qwen2VLProcessor, given)


def qwen2_vl_small() -> tuple[Any, Any]:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

    most = 28 * 28 * 1280
    given = Qwen2VLImageProcessorPil(min_pixels=256 * 28 * 28, max_pixels=most)
    rule = NativeResolution(
        patch_size_px=14, merge_size=2, min_pixels=256 * 28 * 28, max_pixels=most
    )
    return rule, asked(Qwen2VLProcessor, given)


def qwen3_vl() -> tuple[Any, Any]:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    size = {"shortest_edge": 65536, "longest_edge": 16777216}
    given = Qwen2VLImageProcessorPil(size=size, patch_size=16)
    rule = NativeResolution(patch_size_px=16, merge_size=2, min_pixels=65536, max_pixels=16777216)
    return rule, asked(Qwen3VLProcessor, given)


def llava_next() -> tuple[Any, Any]:
    from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

    grids = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
    image = SimpleNamespace(image_grid_pinpoints=grids, size={"shortest_edge": 336})
    rule = AnyResolution(tile_size_px=336, patch_size_px=14, grid_pinpoints_px=grids)
    more = {"patch_size": 14, "num_additional_image_tokens": 1}
    return rule, asked(LlavaNextProcessor, image, vision_feature_select_strategy="default", **more)


def one_vision() -> tuple[Any, Any]:
    from transformers.models.llava_onevision.processing_llava_onevision import (
        LlavaOnevisionProcessor,
    )

    grids = tuple((384 * down, 384 * across) for down in range(1, 7) for across in range(1, 7))
    image = SimpleNamespace(image_grid_pinpoints=grids, size={"height": 384, "width": 384})
    rule = AnyResolution(tile_size_px=384, patch_size_px=14, grid_pinpoints_px=grids, most_tiles=9)
    more = {"num_image_tokens": 729, "vision_aspect_ratio": "anyres_max_9"}
    return rule, asked(
        LlavaOnevisionProcessor, image, vision_feature_select_strategy="full", **more
    )


def intern_vl(most: int = 12) -> tuple[Any, Any]:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.internvl.processing_internvl import InternVLProcessor

    size = {"height": 448, "width": 448}
    given = GotOcr2ImageProcessorPil(size=size, crop_to_patches=True, max_patches=most)
    rule = Tiles(tile_size_px=448, patch_size_px=14, tokens_per_tile=256, max_tiles=most)
    return rule, asked(InternVLProcessor, given, image_seq_length=256)


def intern_vl_of_a_tile() -> tuple[Any, Any]:
    return intern_vl(1)


def idefics3() -> tuple[Any, Any]:
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

    given = Idefics3ImageProcessorPil(
        size={"longest_edge": 1456}, max_image_size={"longest_edge": 364}
    )
    rule = SplitImage(longest_edge_px=1456, tile_size_px=364, patch_size_px=14, tokens_per_tile=169)
    return rule, asked(Idefics3Processor, given, image_seq_len=169)


def smol_vlm() -> tuple[Any, Any]:
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

    given = Idefics3ImageProcessorPil(
        size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}
    )
    rule = SplitImage(longest_edge_px=2048, tile_size_px=512, patch_size_px=16, tokens_per_tile=64)
    return rule, asked(Idefics3Processor, given, image_seq_len=64)


def pixtral(merge: int = 1, patch: int = 16, longest: int = 1024) -> tuple[Any, Any]:
    """Its processor needs torchvision, what it calls does not: a token a square, and one a row."""
    import numpy as np
    from transformers.models.pixtral.image_processing_pil_pixtral import (
        get_resize_output_image_size,
    )

    square = patch * merge

    def count(width: int, height: int) -> tuple[int, int]:
        size = (longest, longest), (square, square)
        blank = np.zeros((3, height, width), np.bool_)
        down, across = get_resize_output_image_size(blank, *size, "channels_first")
        return (across // square + 1) * (down // square), 1

    rule = LongestEdge(longest_edge_px=longest, patch_size_px=patch, merge_size=merge)
    return rule, count


def mistral3() -> tuple[Any, Any]:
    return pixtral(merge=2, patch=14, longest=1540)


RULES = [
    qwen2_vl, qwen2_vl_small, qwen3_vl, llava_next, one_vision, intern_vl, intern_vl_of_a_tile,
    idefics3, smol_vlm, pixtral, mistral3,
]  # fmt: skip


@pytest.mark.parametrize("made", RULES, ids=lambda made: made.__name__)
def test_counts_are_the_processor_s(made: Callable[[], tuple[Any, Any]]) -> None:
    rule, processor = made()
    compared = 0
    for width, height in SIZES:
        try:
            tokens, pictures = processor(width, height)
        except ValueError:  # too narrow
            with pytest.raises(ScenarioError, match="narrower than 1 to 200"):
                rule.image(width, height)
            continue
        found = rule.image(width, height)
        assert found.tokens == tokens, (width, height)
        compared += 1
        if isinstance(rule, NativeResolution):
            assert sum(view.patches for view in found.views) == pictures
        if isinstance(rule, Tiles):
            assert sum(view.count for view in found.views) == pictures
        if isinstance(rule, SplitImage):  # one that is not cut counts none there
            assert sum(view.count for view in found.views) == max(pictures, 1)
    assert compared >= 40


@pytest.mark.parametrize(
    ("made", "size", "tokens"),
    [
        # height x width 336x336, 480x640, 640x480, 672x672, 720x1280, 1080x1920 of LLaVA-NeXT
        (llava_next, (336, 336), 1176), (llava_next, (640, 480), 2340),
        (llava_next, (480, 640), 2352), (llava_next, (672, 672), 2928),
        (llava_next, (1280, 720), 1948), (llava_next, (1920, 1080), 1948),
        (one_vision, (384, 384), 1485), (one_vision, (640, 480), 2929),
        (one_vision, (1280, 720), 5967), (one_vision, (1920, 1080), 7269),
        (one_vision, (1152, 1152), 7371),
        (qwen2_vl, (1920, 1080), 2691), (qwen2_vl, (1280, 720), 1196),
    ],
)  # fmt: skip
def test_counts_worked_out_from_the_papers_formulas(
    made: Callable[[], tuple[Any, Any]], size: tuple[int, int], tokens: int
) -> None:
    rule, _ = made()

    assert rule.image(*size).tokens == tokens


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        ((1023, 1), 1), ((1024, 1), 1), ((1025, 1), None), ((1500, 1), None), ((1, 1500), None),
        ((2048, 2), 1), ((2049, 2), None), ((2, 2049), None), ((2, 1500), 64),
    ],
)  # fmt: skip
def test_a_side_that_scaling_leaves_nothing_of_is_refused(
    size: tuple[int, int], rows: int | None
) -> None:
    """Pixtral's own processor: down to 1024 px, a shorter side of less than one is none."""
    import numpy as np
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    width, height = size
    rule, _ = pixtral()
    processor = PixtralImageProcessorPil(
        size={"longest_edge": 1024}, patch_size={"height": 16, "width": 16}
    )
    blank = np.zeros((3, height, width), np.uint8)
    if rows is None:
        with pytest.raises(ValueError, match=r"height=0|width=0"):
            processor(blank, input_data_format="channels_first")
        with pytest.raises(ScenarioError, match=f"{width}x{height} is too narrow"):
            rule.image(width, height)
        return
    _, _, high, wide = np.asarray(
        processor(blank, input_data_format="channels_first")["pixel_values"]
    ).shape
    (view,) = rule.image(width, height).views
    assert (view.rows, view.columns) == (high // 16, wide // 16)
    assert view.rows == rows


def test_tiles_and_what_stands_between_them() -> None:
    """1280×720 is three tiles by two of InternVL, and a thumbnail; markers before and behind."""
    rule, _ = intern_vl()
    found = rule.image(1280, 720)

    (view,) = found.views
    assert (view.rows, view.columns) == (32, 32)
    assert found.extra_tokens == 2
    assert found.tokens == view.count * 256 + 2


def test_without_settings_of_pictures_those_of_the_config_classes_hold() -> None:
    """Where a config alone is given, and says nothing of grids itself."""
    from transformers import LlavaOnevisionConfig

    config = LlavaOnevisionConfig()
    said = config.to_dict()
    grids = said.pop("image_grid_pinpoints")
    rule = model_from_config(said).image_tokens

    assert isinstance(rule, AnyResolution)
    assert sorted(rule.grid_pinpoints_px) == sorted(tuple(grid) for grid in grids)
