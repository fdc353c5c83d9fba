"""Qwen3-VL: features of earlier blocks are added behind the LLM's first layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from roofline.specs.catalog import load_component
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.base import Decoder
from roofline.torch_side.families.configs import (
    activation,
    connector_of,
    merge_size,
    text_config,
    whole_config,
)
from roofline.torch_side.families.llama_decoder import LlamaDecoder
from roofline.torch_side.families.qwen_vl import QwenVl, token_ids


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
    llm: ClassVar[str] = "qwen3_vl_text"
    frames_apart = True
    sizes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vision_config": ("depth", "hidden_size", "intermediate_size", "num_heads", "patch_size"),
        "text_config": QwenVl.text_sizes,
    }

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        vision = load_component(spec.vision, VisionEncoder)
        llm = load_component(spec.llm, LanguageModel)
        connector = connector_of(spec)
        return whole_config(
            spec,
            self.model_type,
            attention,
            vision_config={
                "depth": vision.num_hidden_layers,
                "hidden_size": vision.hidden_size,
                "intermediate_size": vision.intermediate_size,
                "out_hidden_size": llm.hidden_size,
                "num_heads": vision.num_attention_heads,
                "hidden_act": activation(vision.hidden_act),
                "in_channels": vision.num_channels,
                "patch_size": vision.patch_size_px,
                "temporal_patch_size": vision.temporal_patch_size,
                "spatial_merge_size": merge_size(spec),
                "num_position_embeddings": vision.position_rows,
                "deepstack_visual_indexes": list(getattr(connector, "taps", ())),
            },
            text_config=text_config(spec, self.llm).to_dict(),
            tie_word_embeddings=llm.tie_word_embeddings,
            **token_ids(spec),
        )

    def model_class(self) -> Any:
        import transformers

        return transformers.Qwen3VLForConditionalGeneration

    def decoder(self, model: Any) -> Decoder:
        taps = len(model.config.vision_config.deepstack_visual_indexes)
        return TappedDecoder(model.model.language_model, taps)

    def connector_class(self) -> Any:
        from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionPatchMerger

        return Qwen3VLVisionPatchMerger


class Qwen3VlMoe(Qwen3Vl):
    """`Qwen3VLMoeForConditionalGeneration`."""

    name = "qwen3_vl_moe"
    model_type = "qwen3_vl_moe"
    llm = "qwen3_vl_moe_text"

    def model_class(self) -> Any:
        import transformers

        return transformers.Qwen3VLMoeForConditionalGeneration


register(Qwen3Vl(), Qwen3VlMoe())
