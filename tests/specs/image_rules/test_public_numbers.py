"""Rules of models without a class in transformers: numbers that follow from their own code."""

from __future__ import annotations

import pytest

from roofline.errors import ScenarioError
from roofline.specs.models.image_rules import HdTransform, MaskedTiles, NativeVolume, Slices
from roofline.specs.models.image_tokens import View

PHI = [
    # rows and columns of crops worked by hand with calc_hd_transform_size of Phi-3.5-vision's
    # image_processing_phi3_v.py: (rows·columns + 1)·144 + 1 + (rows + 1)·12
    (4, 336, 336, 757),  # 2 × 2
    (16, 336, 336, 2509),  # 4 × 4
    (4, 640, 480, 757),  # 2 × 2: 672 × 504 px
    (16, 640, 480, 1921),  # 3 rows of 4: 1344 × 1008 px
    (16, 480, 640, 1933),  # 4 rows of 3: a row more ends
    (16, 1920, 1080, 2353),  # 3 rows of 5: 1680 × 945 px
    (4, 1000, 100, 757 - 12),  # 1 row of 4
    (4, 100, 1000, 757 + 24),  # 4 rows of 1
    (1, 640, 480, 313),  # 1 × 1
]


@pytest.mark.parametrize(("crops", "width", "height", "tokens"), PHI)
def test_phi_3_5_vision(crops: int, width: int, height: int, tokens: int) -> None:
    found = HdTransform(crop_size_px=336, patch_size_px=14, num_crops=crops).image(width, height)
    assert found.tokens == tokens
    (view,) = found.views
    assert found.tokens - found.extra_tokens == view.count * 144
    assert (view.rows, view.columns) == (24, 24)


@pytest.mark.parametrize(
    ("width", "height", "slices"),
    [
        (448, 448, 0),
        (300, 200, 0),
        (449, 448, 2),  # a little more than one area: two slices or three
        (896, 448, 2),
        (1344, 448, 3),
        (448, 1344, 3),
        (1344, 1344, 9),
        (4032, 3024, 9),  # more areas than slices allowed
        (1280, 720, 6),  # 4.6 areas: of 4, 5 and 6 slices 3 × 2 is nearest to 16:9
    ],
)
def test_minicpm_v_2_6(width: int, height: int, slices: int) -> None:
    rule = Slices(scale_resolution_px=448, patch_size_px=14, tokens_per_slice=64)
    found = rule.image(width, height)
    assert found.tokens == 64 * (1 + slices)
    assert sum(view.count for view in found.views) == 1 + slices
    for view in found.views:  # about 448² pixels each
        assert 0.85 < view.patches / 32**2 < 1.15


@pytest.mark.parametrize("rule", [
    HdTransform(crop_size_px=336, patch_size_px=14, num_crops=16),
    MaskedTiles(tile_size_px=448, patch_size_px=14),
    NativeVolume(patch_size_px=14, merge_size=2, min_pixels=12544, max_pixels=9633792),
])  # fmt: skip
def test_a_line_of_pixels_is_refused(rule: HdTransform | MaskedTiles | NativeVolume) -> None:
    with pytest.raises(ScenarioError, match=r"90000x1 .*narrow"):
        rule.image(90_000, 1)


def test_a_video_of_one_frame_is_refused() -> None:
    rule = NativeVolume(patch_size_px=14, merge_size=2, min_pixels=12544, max_pixels=9633792)
    with pytest.raises(ScenarioError, match="2 frames or more, not 1"):
        rule.video(640, 480, 1)
    assert rule.image(640, 480).views == (View(34, 46),)
