"""Qwen2-VL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from roofline.specs.catalog import load_component
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.configs import activation, merge_size, text_config, whole_config
from roofline.torch_side.families.qwen_vl import QwenVl, token_ids


class Qwen2Vl(QwenVl):
    """`Qwen2VLForConditionalGeneration`."""

    name = "qwen2_vl"
    model_type = "qwen2_vl"
    sizes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vision_config": ("depth", "embed_dim", "num_heads", "patch_size"),
        "text_config": QwenVl.text_sizes,
    }

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        vision = load_component(spec.vision, VisionEncoder)
        llm = load_component(spec.llm, LanguageModel)
        return whole_config(
            spec,
            self.model_type,
            attention,
            vision_config={
                "depth": vision.num_hidden_layers,
                "embed_dim": vision.hidden_size,
                "hidden_size": llm.hidden_size,
                "num_heads": vision.num_attention_heads,
                "mlp_ratio": vision.intermediate_size // vision.hidden_size,
                "hidden_act": activation(vision.hidden_act),
                "in_channels": vision.num_channels,
                "patch_size": vision.patch_size_px,
                "temporal_patch_size": vision.temporal_patch_size,
                "spatial_merge_size": merge_size(spec),
            },
            text_config=text_config(spec, "qwen2_vl_text").to_dict(),
            tie_word_embeddings=llm.tie_word_embeddings,
            **token_ids(spec),
        )

    def model_class(self) -> Any:
        import transformers

        return transformers.Qwen2VLForConditionalGeneration

    def connector_class(self) -> Any:
        from transformers.models.qwen2_vl.modeling_qwen2_vl import PatchMerger

        return PatchMerger


register(Qwen2Vl())
