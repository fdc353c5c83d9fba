"""Qwen2.5-VL: windows in the tower."""

from __future__ import annotations

from typing import Any

from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.qwen_vl import QwenVl


class Qwen25Vl(QwenVl):
    """`Qwen2_5_VLForConditionalGeneration`."""

    name = "qwen2_5_vl"
    model_type = "qwen2_5_vl"
    transformers_class = "Qwen2_5_VLForConditionalGeneration"

    def vision_fields(self, spec: Lmm, vision: VisionEncoder, out: int) -> dict[str, Any]:
        windows = vision.windows
        return super().vision_fields(spec, vision, out) | {
            "window_size": (windows.side if windows else 0) * vision.patch_size_px,
            "fullatt_block_indexes": list(windows.full_attention_layers) if windows else [],
        }


register(Qwen25Vl())
