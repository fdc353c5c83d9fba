"""Video-LLaVA: LLaVA with a second tower, for videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from roofline.specs.catalog import load_component
from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.llava import Llava, shared_config, visual_input
from roofline.torch_side.families.visual import VisualInput


class VideoLlava(Llava):
    """`VideoLlavaForConditionalGeneration`. A spec's sample is a video."""

    name = "video-llava"
    model_type = "video_llava"
    transformers_class = "VideoLlavaForConditionalGeneration"
    components: ClassVar[Mapping[str, str]] = {
        "image_tower": "vision",
        "video_tower": "vision",
        "multi_modal_projector": "connector",
        "language_model": "llm",
        "lm_head": "llm",
    }
    special_ids = ("image_token_id", "video_token_id", "pad_token_id")

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        import transformers

        # images drop the class token whatever videos do: the released model's default
        return transformers.VideoLlavaConfig(
            **shared_config(spec, attention),
            vision_feature_select_strategy="default",
            video_token_index=spec.video_token_index,
            video_seq_length=spec.images * load_component(spec.vision, VisionEncoder).tokens,
        )

    def is_whole(self, model: Any) -> bool:
        return hasattr(getattr(model, "model", None), "video_tower")

    def inputs(self, model: Any) -> list[VisualInput]:
        config, inner = model.config, model.model
        full = config.vision_feature_select_strategy == "full"
        image = visual_input(
            config,
            self.tower(inner.image_tower),
            ("pixel_values", "pixel_values_images"),  # the second is the name of earlier versions
            config.image_token_id,
            self.connector(model),
            keeps_class_token=full,
        )
        video = visual_input(
            config,
            self.tower(inner.video_tower),
            ("pixel_values_videos",),
            config.video_token_id,
            self.connector(model),
            keeps_class_token=True,
            video=True,
        )
        return [image, video]

    def connector_class(self) -> Any:
        from transformers.models.video_llava.modeling_video_llava import (
            VideoLlavaMultiModalProjector,
        )

        return VideoLlavaMultiModalProjector


register(VideoLlava())
