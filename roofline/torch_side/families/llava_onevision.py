"""LLaVA-OneVision: LLaVA-NeXT with SigLIP and Qwen2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from roofline.errors import InputError
from roofline.specs.models import Lmm
from roofline.torch_side.families import register
from roofline.torch_side.families.llava_next import LlavaNext
from roofline.torch_side.families.visual import Pictures, VisualInput


@dataclass(frozen=True)
class PooledVideo(VisualInput):
    """Videos, whose frames the model pools by interpolation: no token is one patch's, or some's."""

    fixed = False

    def pictures(self, given: Mapping[str, Any]) -> Pictures | None:
        if self.pixels(given) is None:
            return None
        raise InputError(
            "LLaVA-OneVision pools the frames of a video by interpolation, and reducers need "
            "patches: give frames as pictures, or detach the reducer"
        )


class LlavaOneVision(LlavaNext):
    """`LlavaOnevisionForConditionalGeneration`."""

    name = "llava_onevision"
    model_type = "llava_onevision"
    transformers_class = "LlavaOnevisionForConditionalGeneration"
    llms = ("qwen2",)
    settled_arguments = (*LlavaNext.settled_arguments, "vision_aspect_ratio")
    special_ids = ("image_token_id", "video_token_id", "pad_token_id")

    def _more_ids(self, spec: Lmm) -> dict[str, int]:
        return {"video_token_index": spec.video_token_index}

    def inputs(self, model: Any) -> list[VisualInput]:
        from transformers.models.llava_onevision.modeling_llava_onevision import (
            image_size_to_num_patches,
        )

        inner, config = model.model, model.config

        def pack(features: list[Tensor], sizes: Tensor, learned: Tensor) -> Any:
            return inner.pack_image_features(
                features, sizes, learned, vision_aspect_ratio=config.vision_aspect_ratio
            )[0]

        picture = self._tiled(model, pack, image_size_to_num_patches)
        video = PooledVideo(
            ("pixel_values_videos",),
            picture.tower,
            config.video_token_id,
            picture.connect,
            blocks=picture.blocks,
            video=True,
            beside=("image_sizes_videos",),
        )
        return [video, picture]


register(LlavaOneVision())
