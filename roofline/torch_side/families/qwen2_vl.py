"""Qwen2-VL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.qwen_vl import QwenVl


class Qwen2Vl(QwenVl):
    """`Qwen2VLForConditionalGeneration`."""

    name = "qwen2_vl"
    model_type = "qwen2_vl"
    transformers_class = "Qwen2VLForConditionalGeneration"
    sizes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **QwenVl.sizes,
        "vision_config": ("depth", "embed_dim", "num_heads", "patch_size"),
    }

    def vision_fields(self, spec: Lmm, vision: VisionEncoder, out: int) -> dict[str, Any]:
        return {
            "embed_dim": vision.hidden_size,
            "hidden_size": out,
            "mlp_ratio": vision.intermediate_size // vision.hidden_size,
        }


register(Qwen2Vl())
