"""Frames to tokens, against the video processors of GLM-4V, GLM-4.6V and Qwen3-VL."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from roofline.specs.models.image_rules import NativeVolume

pytest.importorskip("transformers")

LENGTHS = (2, 3, 8, 15, 64, 301)
SIZES = [(1920, 1080), (640, 360), (17, 31), (720, 1280), (100, 1900), (448, 448), (3840, 2160)]
LIMITS = {
    "glm4v.video_processing_glm4v.Glm4vVideoProcessor": (14, 12544, 47040000),
    "glm46v.video_processing_glm46v.Glm46VVideoProcessor": (14, 12544, 100352000),
    "qwen3_vl.video_processing_qwen3_vl.Qwen3VLVideoProcessor": (16, 4096, 25165824),
}
"""Side of a patch; fewest and most pixels of a video."""


@pytest.mark.parametrize(("processor", "limits"), LIMITS.items(), ids=[*LIMITS])
def test_all_frames_share_the_pixels(processor: str, limits: tuple[int, int, int]) -> None:
    from tests.helpers.processor_parts import parts_of

    module, _, _ = processor.rpartition(".")
    patch, fewest, most = limits
    rule = NativeVolume(patch_size_px=patch, merge_size=2, min_pixels=fewest, max_pixels=most)

    settings = SimpleNamespace(
        size={"shortest_edge": fewest, "longest_edge": most},
        patch_size=patch, merge_size=2, temporal_patch_size=2, cap_pixels_per_frame=None,
    )  # fmt: skip
    count = parts_of(module).get_num_of_video_patches

    for width, height in SIZES:
        for frames in LENGTHS:
            found = rule.video(width, height, frames)
            patches = count(settings, frames, height, width, {})
            (view,) = found.views
            assert view.count * view.patches == patches, (width, height, frames)
            assert found.tokens == patches // 4
            assert view.count == -(-frames // 2)
