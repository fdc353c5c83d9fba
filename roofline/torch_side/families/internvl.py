"""InternVL as transformers has it: InternViT, pixel shuffle and an MLP, Qwen2 or Qwen3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from roofline.specs.catalog import load_component
from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.base import FamilyError
from roofline.torch_side.families.configs import merge_size, text_config, tower_sizes, whole_config
from roofline.torch_side.families.internvl_tower import InternVlTower
from roofline.torch_side.families.llava import Llava
from roofline.torch_side.families.tower import Tower
from roofline.torch_side.families.visual import Pictures, VisualInput, side_by_side


@dataclass(frozen=True)
class TilesInARow(VisualInput):
    """Tiles of pictures one after the other; which make a picture, the prompt tells: its
    placeholders stand together.
    """

    fixed = False

    def noise(
        self, pictures: Sequence[tuple[int, int]], rule: Any, random: torch.Generator
    ) -> dict[str, Any]:
        assert isinstance(self.tower, Tower)
        tiles = sum(
            1 if rule is None else sum(view.count for view in rule.image(width, height).views)
            for width, height in pictures
        )
        side = self.tower.image_size
        return {self.arguments[0]: torch.randn(tiles, 3, side, side, generator=random)}

    def pictures(self, given: Mapping[str, Any]) -> Pictures | None:
        pixels = self.pixels(given)
        if pixels is None:
            return None
        pixels = pixels.flatten(0, -4)
        sizes = _stretches(given.get("input_ids"), self.placeholder)
        if sum(sizes) != self.unreduced * len(pixels) or any(n % self.unreduced for n in sizes):
            sizes = [self.unreduced] * len(pixels)  # the prompt's fault is found where it is read
        starts = [0, *accumulate(sizes)]
        runs = [torch.arange(*ends) for ends in pairwise(starts)]
        return Pictures(pixels, [self._square] * len(pixels), sizes, runs)


def _stretches(ids: Tensor | None, placeholder: int) -> list[int]:
    """How many placeholders stand together, row by row."""
    if ids is None:
        return []
    here = nn.functional.pad((ids == placeholder).int().cpu(), (1, 1)).diff(dim=1)
    return [
        int(end - start)
        for row in here
        for start, end in zip(
            (row == 1).nonzero().flatten(), (row == -1).nonzero().flatten(), strict=True
        )
    ]


class InternVl(Llava):
    """`InternVLForConditionalGeneration`."""

    name = "internvl"
    traced_apart = False
    model_type = "internvl"
    transformers_class = "InternVLForConditionalGeneration"

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        merge, text = merge_size(spec), text_config(spec, "qwen2", "qwen3", "qwen3_moe", "llama")
        vision = load_component(spec.vision, VisionEncoder)
        return whole_config(
            spec,
            self.model_type,
            attention,
            vision_config=_tower_config(vision),
            text_config=text,
            image_token_id=spec.image_token_index,
            image_seq_length=vision.patches // merge**2,
            downsample_ratio=1 / merge,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            tie_word_embeddings=text.tie_word_embeddings,
        )

    def tower(self, module: nn.Module) -> Any:
        return InternVlTower(module)

    def inputs(self, model: Any) -> list[VisualInput]:
        config, inner = model.config, model.model
        if config.vision_feature_layer != -1:
            raise FamilyError("features of another layer than InternVL's last are not supported")
        tower, along = self.tower(inner.vision_tower), round(1 / config.downsample_ratio)

        return [
            TilesInARow(
                ("pixel_values",),
                tower,
                config.image_token_id,
                partial(_connected, inner, config.downsample_ratio),
                blocks=tower.blocks,
                merged=along**2,
                grouped=lambda rows: side_by_side(rows, along),
                last_norm=inner.vision_tower.layernorm,
            )
        ]


def _connected(inner: Any, ratio: float, features: Tensor) -> Tensor:
    """Pixel shuffle of whole tiles [B, N, C], and the projector: [B, N·ratio², d]."""
    side = isqrt(features.shape[1])
    square = features.view(len(features), side, side, -1)
    shuffled = inner.pixel_shuffle(square, scale_factor=ratio)
    tokens: Tensor = inner.multi_modal_projector(shuffled.flatten(1, 2))
    return tokens


def _tower_config(spec: VisionEncoder) -> Any:
    """InternViT's config."""
    import transformers

    both_sides = {"image_size": [spec.image_size_px] * 2, "patch_size": [spec.patch_size_px] * 2}
    return transformers.InternVLVisionConfig(
        **(tower_sizes(spec) | both_sides),
        norm_type=spec.norm,
        attention_bias=not {"q_proj", "k_proj", "v_proj"} & set(spec.without_bias),
        use_qk_norm=spec.qk_norm is not None,
        use_absolute_position_embeddings=True,
        use_mask_token=spec.mask_token,
        use_mean_pooling=spec.last_norm is None,
    )


class InternVlChat(InternVl):
    """InternVL2 and 2.5: `internvl_chat` on the hub, whose own code transformers has as its class.

    Their checkpoints load once they are converted to it.
    """

    name = "internvl_chat"


register(InternVl(), InternVlChat())
