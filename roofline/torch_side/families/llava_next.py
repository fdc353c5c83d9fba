"""LLaVA-NeXT: LLaVA, shown a picture whole and as tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from roofline.specs.catalog import load_component
from roofline.specs.models import Lmm, MlpConnector, VisionEncoder
from roofline.specs.models.image_rules import AnyResolution
from roofline.torch_side.families import register
from roofline.torch_side.families.clip_tower import tower_config
from roofline.torch_side.families.configs import text_config, whole_config
from roofline.torch_side.families.llava import Llava, feature_layer, visual_input
from roofline.torch_side.families.tiled_input import TiledInput
from roofline.torch_side.families.visual import VisualInput


class LlavaNext(Llava):
    """`LlavaNextForConditionalGeneration`."""

    name = "llava_next"
    traced_apart = False
    model_type = "llava_next"
    transformers_class = "LlavaNextForConditionalGeneration"
    llms: ClassVar[tuple[str, ...]] = ("llama", "mistral")
    """Model types of LLMs that checkpoints of the class have."""
    components: ClassVar[Mapping[str, str]] = {
        **Llava.components,
        "image_newline": "connector",
    }

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        vision = load_component(spec.vision, VisionEncoder)
        connector = load_component(spec.connector, MlpConnector)
        return whole_config(
            spec,
            self.model_type,
            attention,
            vision_config=tower_config(vision),
            text_config=text_config(spec, *self.llms),
            image_token_index=spec.image_token_index,
            vision_feature_layer=feature_layer(spec),
            vision_feature_select_strategy=spec.vision_feature_select_strategy,
            multimodal_projector_bias=connector.bias,
            image_grid_pinpoints=self._grids(spec),
            tie_word_embeddings=False,
            **self._more_ids(spec),
        )

    def _more_ids(self, spec: Lmm) -> dict[str, int]:
        """Of tokens that only some of these classes have."""
        return {}

    @staticmethod
    def _grids(spec: Lmm) -> list[list[int]]:
        rule = spec.image_tokens
        return (
            [list(grid) for grid in rule.grid_pinpoints_px]
            if isinstance(rule, AnyResolution)
            else []
        )

    def inputs(self, model: Any) -> list[VisualInput]:
        from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

        inner, config = model.model, model.config

        def pack(features: list[Tensor], sizes: Tensor, learned: Tensor) -> Any:
            strategy = config.vision_feature_select_strategy
            return inner.pack_image_features(features, sizes, strategy, learned)[0]

        return [self._tiled(model, pack, image_size_to_num_patches)]

    def _tiled(self, model: Any, pack: Any, tiles_of: Any) -> TiledInput:
        config = model.config
        tower = self.tower(model.model.vision_tower)
        plain = visual_input(
            config,
            tower,
            ("pixel_values",),
            config.image_token_id,
            self.connector(model),
            keeps_class_token=False,  # the tiles' grid has no room for one
        )
        return TiledInput(
            arguments=plain.arguments,
            tower=tower,
            placeholder=plain.placeholder,
            connect=plain.connect,
            blocks=plain.blocks,
            beside=("image_sizes", "batch_num_images"),
            tiles_of=lambda size: int(
                tiles_of(list(size), config.image_grid_pinpoints, config.vision_config.image_size)
            ),
            pack=pack,
        )

    def learned_row(self, model: Any) -> Tensor:
        row: Tensor = model.model.image_newline
        return row


register(LlavaNext())
