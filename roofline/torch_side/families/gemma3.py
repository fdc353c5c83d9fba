"""Gemma 3: SigLIP whose patches are pooled, Gemma 3; a picture's tokens see each other."""

from __future__ import annotations

from math import isqrt
from typing import Any

from torch import Tensor

from roofline.specs.catalog import load_component
from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.base import Decoder
from roofline.torch_side.families.clip_tower import ClipTower, tower_config
from roofline.torch_side.families.configs import merge_size, text_config, whole_config
from roofline.torch_side.families.llama_decoder import LlamaDecoder
from roofline.torch_side.families.llava import Llava
from roofline.torch_side.families.visual import VisualInput, side_by_side


class Gemma3Decoder(LlamaDecoder):
    """A `Gemma3TextModel`."""

    def unranked(self, layer: Any) -> str:
        return "layers of Gemma 3 turn them by different angles"


class Gemma3(Llava):
    """`Gemma3ForConditionalGeneration`."""

    name = "gemma3"
    traced_apart = False
    model_type = "gemma3"
    transformers_class = "Gemma3ForConditionalGeneration"
    settled_arguments = ()
    token_types = ("token_type_ids",)

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        vision = load_component(spec.vision, VisionEncoder)
        along = isqrt(vision.patches) // merge_size(spec)
        text = text_config(spec, "gemma3_text")
        return whole_config(
            spec,
            self.model_type,
            attention,
            vision_config=tower_config(vision),
            text_config=text,
            mm_tokens_per_image=along**2,
            image_token_index=spec.image_token_index,
            boi_token_index=spec.pad_token_id,
            eoi_token_index=spec.pad_token_id,
            tie_word_embeddings=text.tie_word_embeddings,
        )

    def inputs(self, model: Any) -> list[VisualInput]:
        tower = ClipTower(model.model.vision_tower)
        along = isqrt(tower.patches // model.config.mm_tokens_per_image)
        return [
            VisualInput(
                ("pixel_values",),
                tower,
                model.config.image_token_id,
                self.connector(model),
                blocks=tower.blocks,
                merged=along**2,
                grouped=lambda rows: side_by_side(rows, along),
                last_norm=tower.last_norm,
            )
        ]

    def decoder(self, model: Any) -> Decoder:
        return Gemma3Decoder(model.model.language_model)

    def token_type_values(self, model: Any, ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": (ids == model.config.image_token_id).long()}


register(Gemma3())
