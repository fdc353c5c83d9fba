"""LLaVA-1.5: one CLIP or SigLIP tower, an MLP of two layers, Llama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from roofline.errors import SpecError
from roofline.specs.catalog import load_component, where
from roofline.specs.models import Lmm, MlpConnector, VisionEncoder
from roofline.torch_side.families import register
from roofline.torch_side.families.base import Decoder, Family, FamilyError
from roofline.torch_side.families.clip_tower import ClipTower, tower_config
from roofline.torch_side.families.configs import text_config
from roofline.torch_side.families.llama_decoder import OWNERS, LlamaDecoder
from roofline.torch_side.families.visual import VisualInput

_SHARED_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


class Llava(Family):
    """`LlavaForConditionalGeneration`."""

    name = "llava"
    model_type = "llava"
    transformers_class = "LlavaForConditionalGeneration"
    owners = OWNERS
    components: ClassVar[Mapping[str, str]] = {
        "vision_tower": "vision",
        "multi_modal_projector": "connector",
        "language_model": "llm",
        "lm_head": "llm",
    }
    settled_arguments: ClassVar[tuple[str, ...]] = (
        "vision_feature_layer",
        "vision_feature_select_strategy",
    )
    sizes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vision_config": (*_SHARED_SIZES, "image_size", "patch_size"),
        "text_config": (*_SHARED_SIZES, "num_key_value_heads"),
    }
    special_ids: ClassVar[tuple[str, ...]] = ("image_token_id", "pad_token_id")

    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        import transformers

        return transformers.LlavaConfig(
            **shared_config(spec, attention),
            vision_feature_select_strategy=spec.vision_feature_select_strategy,
        )

    def is_whole(self, model: Any) -> bool:
        return hasattr(getattr(model, "model", None), "vision_tower")

    def inputs(self, model: Any) -> list[VisualInput]:
        config = model.config
        full = config.vision_feature_select_strategy == "full"
        tower = self.tower(model.model.vision_tower)
        return [
            visual_input(
                config,
                tower,
                ("pixel_values",),
                config.image_token_id,
                self.connector(model),
                keeps_class_token=full and tower.class_token,
            )
        ]

    def connector(self, model: Any) -> nn.Module:
        projector: nn.Module = model.model.multi_modal_projector
        return projector

    def decoder(self, model: Any) -> Decoder:
        return LlamaDecoder(model.model.language_model)

    def tower(self, module: nn.Module) -> ClipTower:
        return ClipTower(module)

    def connector_class(self) -> Any:
        from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

        return LlavaMultiModalProjector


def shared_config(spec: Lmm, attention: str) -> dict[str, Any]:
    """What the configs of LLaVA and of those made like it have in common.

    Raises SpecError for a connector that the classes do not have.
    """
    vision = load_component(spec.vision, VisionEncoder)
    connector = load_component(spec.connector, MlpConnector)
    if connector.num_linear_layers != 2:
        fault = "LLaVA in transformers has a connector of two linear layers"
        raise SpecError(where(connector), [("num_linear_layers", fault)])
    if not vision.class_token and spec.vision_feature_select_strategy == "default":
        fault = f"must be full: {vision.name} has no class token to drop"
        raise SpecError(where(spec), [("vision_feature_select_strategy", fault)])
    return {
        "vision_config": tower_config(vision),
        "text_config": text_config(spec, "llama"),
        "image_token_index": spec.image_token_index,
        "image_seq_length": vision.patches,
        "vision_feature_layer": feature_layer(spec),
        "multimodal_projector_bias": connector.bias,
        "attn_implementation": attention,
    }


def feature_layer(spec: Lmm) -> int | list[int]:
    """The hidden states that are features, as configs of LLaVA and those made like it name them.

    Raises SpecError for features behind the tower's last norm.
    """
    layer = spec.vision_feature_layer
    if layer == "last":
        fault = "LLaVA in transformers takes hidden states ahead of the last norm: give an index"
        raise SpecError(where(spec), [("vision_feature_layer", fault)])
    return layer if isinstance(layer, int) else list(layer)


def visual_input(
    config: Any,
    tower: ClipTower,
    arguments: tuple[str, ...],
    placeholder: int,
    connector: nn.Module,
    *,
    keeps_class_token: bool,
    video: bool = False,
) -> VisualInput:
    """What a config says of the pixels that a tower gets.

    Raises FamilyError for features of several layers, or a class token to drop where there is none.
    """
    layer = config.vision_feature_layer
    if not isinstance(layer, int):
        raise FamilyError("features from several ViT layers are not supported: name one layer")
    if not tower.class_token and config.vision_feature_select_strategy == "default":
        raise FamilyError(
            f"{type(tower.module).__name__} has no class token: the config's "
            '`vision_feature_select_strategy` must be "full"'
        )
    return VisualInput(
        arguments,
        tower,
        placeholder,
        connector,
        blocks=layer % (tower.blocks + 1),  # hidden state 0 is the embeddings' output
        keeps_class_token=keeps_class_token,
        video=video,
    )


register(Llava())
