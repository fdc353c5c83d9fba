"""PaliGemma and PaliGemma 2: SigLIP, one matrix, Gemma; a prompt sees all of itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roofline.specs.catalog import load_component
from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.clip_tower import ClipTower, tower_config
from roofline.torch_side.families.configs import text_config, whole_config
from roofline.torch_side.families.llava import Llava
from roofline.torch_side.families.visual import VisualInput


class PaliGemma(Llava):
    """`PaliGemmaForConditionalGeneration`."""

    name = "paligemma"
    traced_apart = False
    model_type = "paligemma"
    transformers_class = "PaliGemmaForConditionalGeneration"
    settled_arguments = ()
    token_types = ("token_type_ids",)

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        text = text_config(spec, "gemma", "gemma2")
        return whole_config(
            spec,
            self.model_type,
            self.attention_of(text, attention),
            vision_config=tower_config(load_component(spec.vision, VisionEncoder)),
            text_config=text,
            image_token_index=spec.image_token_index,
            projection_dim=text.hidden_size,
            hidden_size=text.hidden_size,
            tie_word_embeddings=text.tie_word_embeddings,
            pad_token_id=spec.pad_token_id,
        )

    def attention_of(self, text_config: Any, attention: str) -> Any:
        """Gemma 2 caps its logits, for which transformers has no fused kernel."""
        if text_config.model_type != "gemma2" or attention == "eager":
            return attention
        return {"vision_config": attention, "text_config": "eager"}

    def inputs(self, model: Any) -> list[VisualInput]:
        tower = ClipTower(model.model.vision_tower)
        return [
            VisualInput(
                ("pixel_values",),
                tower,
                model.config.image_token_id,
                self.connector(model),
                blocks=tower.blocks,
                last_norm=tower.last_norm,
            )
        ]

    def token_type_values(self, model: Any, ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": torch.zeros_like(ids)}


register(PaliGemma())
