"""Qwen3-VL: features of earlier blocks are added behind the LLM's first layers."""

from __future__ import annotations

from typing import Any

from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.base import Decoder
from roofline.torch_side.families.configs import connector_of
from roofline.torch_side.families.llama_decoder import LlamaDecoder
from roofline.torch_side.families.qwen_vl import QwenVl


class TappedDecoder(LlamaDecoder):
    """A `Qwen3VLTextModel`."""

    def __init__(self, module: Any, taps: int) -> None:
        super().__init__(module)
        self._taps = taps

    @property
    def tapped(self) -> int:
        return self._taps


class Qwen3Vl(QwenVl):
    """`Qwen3VLForConditionalGeneration`."""

    name = "qwen3_vl"
    model_type = "qwen3_vl"
    transformers_class = "Qwen3VLForConditionalGeneration"
    frames_apart = True

    def vision_fields(self, spec: Lmm, vision: VisionEncoder, out: int) -> dict[str, Any]:
        return super().vision_fields(spec, vision, out) | {
            "num_position_embeddings": vision.position_rows,
            "deepstack_visual_indexes": list(getattr(connector_of(spec), "taps", ())),
        }

    def decoder(self, model: Any) -> Decoder:
        taps = len(model.config.vision_config.deepstack_visual_indexes)
        return TappedDecoder(model.model.language_model, taps)


class Qwen3VlMoe(Qwen3Vl):
    """`Qwen3VLMoeForConditionalGeneration`."""

    name = "qwen3_vl_moe"
    model_type = "qwen3_vl_moe"
    transformers_class = "Qwen3VLMoeForConditionalGeneration"


register(Qwen3Vl(), Qwen3VlMoe())
