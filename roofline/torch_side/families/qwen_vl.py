"""What the families of Qwen2-VL, Qwen2.5-VL and Qwen3-VL have in common: the visual side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from roofline.specs.catalog import load_component
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.families.base import Decoder, Family, FamilyError, PromptPlaces
from roofline.torch_side.families.configs import activation, merge_size, text_config, whole_config
from roofline.torch_side.families.llama_decoder import OWNERS, LlamaDecoder
from roofline.torch_side.families.qwen_tower import QwenTower
from roofline.torch_side.families.visual import Pictures, VisualInput

_IMAGE, _VIDEO = 1, 2
"""Types of tokens, 0 for text."""
_SQUARE_PX = 448
"""About the side of a square picture, where nothing but its looks is asked for."""


@dataclass(frozen=True)
class NativeInput(VisualInput):
    """Pictures, or videos, of any shape, as patches one after the other."""

    fixed = False

    tower: QwenTower
    grids: str = ""
    """Name of the keyword that says how many there are of each: frames, rows, columns."""
    runs_of_frames: bool = False
    """Whether each frame has a run of its own, and not each video."""

    @property
    def side_px(self) -> int:
        token = self.tower.patch_side * self.tower.merge
        return _SQUARE_PX // token * token

    def square(self, pixels: Tensor) -> Pictures:
        side = pixels.shape[-1] // self.tower.patch_side
        grids = torch.tensor([[1, side, side]])
        shown = self.pictures({self.arguments[0]: self.tower.cut(pixels[0]), self.grids: grids})
        assert shown is not None
        return replace(shown, runs=None)

    def noise(
        self, pictures: Sequence[tuple[int, int]], rule: Any, random: torch.Generator
    ) -> dict[str, Any]:
        grids = []
        for width, height in pictures:
            (view,) = rule.image(width, height).views
            grids.append([1, view.rows, view.columns])
        patches = sum(rows * columns for _, rows, columns in grids)
        pixels = torch.randn(patches, self.tower.patch_values, generator=random)
        return {self.arguments[0]: pixels, self.grids: torch.tensor(grids)}

    def pictures(self, given: Mapping[str, Any]) -> Pictures | None:
        pixels, grids = self.pixels(given), given.get(self.grids)
        if pixels is None:
            return None
        if grids is None:
            raise FamilyError(f"give `{self.grids}` with `{self.arguments[0]}`")
        merge, shapes, runs, first = self.tower.merge, [], [], 0
        for frames, rows, columns in grids.tolist():
            shape = rows // merge, columns // merge
            shapes += [shape] * frames
            tokens = shape[0] * shape[1]
            sizes = [tokens] * frames if self.runs_of_frames else [frames * tokens]
            for size in sizes:
                runs.append(torch.arange(first, first + size))
                first += size
        device = self.tower.module.device
        return Pictures(
            pixels.to(device, self.tower.module.dtype),
            shapes,
            [len(run) for run in runs],
            runs,
            grids.to(device),
        )


def token_ids(spec: Lmm) -> dict[str, int]:
    """Of what a prompt has around pictures and videos, and in their place."""
    return {
        "image_token_id": spec.image_token_index,
        "video_token_id": spec.video_token_index,
        "vision_start_token_id": spec.pad_token_id,
        "vision_end_token_id": spec.pad_token_id,
        "pad_token_id": spec.pad_token_id,
    }


class QwenVl(Family):
    """Positions along three axes, a tower of any resolution, a merger of patches side by side."""

    components: ClassVar[Mapping[str, str]] = {
        "merger": "connector",
        "deepstack_merger_list": "connector",
        "visual": "vision",
        "language_model": "llm",
        "lm_head": "llm",
    }
    sizes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vision_config": ("depth", "hidden_size", "intermediate_size", "num_heads", "patch_size"),
        "text_config": (
            *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
            "num_key_value_heads",
        ),
    }
    special_ids = ("image_token_id", "video_token_id", "pad_token_id")
    owners = OWNERS
    frames_apart = False
    """Whether a video's frames are runs of their own, with what is between them."""
    token_types = ("mm_token_type_ids",)
    traced_apart = False

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        vision = load_component(spec.vision, VisionEncoder)
        llm = load_component(spec.llm, LanguageModel)
        return whole_config(
            spec,
            self.model_type,
            attention,
            vision_config={
                "depth": vision.num_hidden_layers,
                "num_heads": vision.num_attention_heads,
                "hidden_act": activation(vision.hidden_act),
                "in_channels": vision.num_channels,
                "patch_size": vision.patch_size_px,
                "temporal_patch_size": vision.temporal_patch_size,
                "spatial_merge_size": merge_size(spec),
                **self.vision_fields(spec, vision, llm.hidden_size),
            },
            text_config=text_config(spec, f"{self.model_type}_text").to_dict(),
            tie_word_embeddings=llm.tie_word_embeddings,
            **token_ids(spec),
        )

    def vision_fields(self, spec: Lmm, vision: VisionEncoder, out: int) -> dict[str, Any]:
        """Of the tower's config beyond what all of them have. out: width behind the merger."""
        return {
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "out_hidden_size": out,
        }

    def inputs(self, model: Any) -> list[VisualInput]:
        tower, config = self.tower(model.model.visual), model.config
        kinds = (
            ("pixel_values_videos", "video_grid_thw", config.video_token_id, True),
            ("pixel_values", "image_grid_thw", config.image_token_id, False),
        )
        return [
            NativeInput(
                (pixels,),
                tower,
                placeholder,
                tower.connect,
                blocks=tower.blocks,
                video=video,
                merged=tower.merge**2,
                beside=(grids, "second_per_grid_ts") if video else (grids,),
                grids=grids,
                runs_of_frames=video and self.frames_apart,
            )
            for pixels, grids, placeholder, video in kinds
        ]

    def tower(self, module: nn.Module) -> Any:
        return QwenTower(module)

    def connector(self, model: Any) -> nn.Module:
        merger: nn.Module = model.model.visual.merger
        return merger

    def decoder(self, model: Any) -> Decoder:
        return LlamaDecoder(model.model.language_model)

    def is_whole(self, model: Any) -> bool:
        return hasattr(getattr(model, "model", None), "visual")

    def token_type_values(self, model: Any, ids: Tensor) -> dict[str, Tensor]:
        config = model.config
        types = _IMAGE * (ids == config.image_token_id) + _VIDEO * (ids == config.video_token_id)
        return {"mm_token_type_ids": types.int()}

    def places(self, model: Any, prompt: Mapping[str, Any]) -> PromptPlaces:
        ids, mask = prompt["input_ids"], prompt.get("attention_mask")
        types = prompt.get("mm_token_type_ids")
        if types is None:
            types = self.token_type_values(model, ids)["mm_token_type_ids"]
        names = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        beside = {name: prompt[name] for name in names if prompt.get(name) is not None}
        positions, offset = model.model.get_rope_index(
            ids, mm_token_type_ids=types, attention_mask=mask, **beside
        )
        lengths = ids.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
        return PromptPlaces(positions, offset.view(-1, 1) + lengths)

    def continue_at(self, model: Any, offset: Tensor) -> None:
        model.model.rope_deltas = offset
